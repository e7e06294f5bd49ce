"""Guided generation over a data set: predictions, tables, and their independence of ranks and batches."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.evaluation.motion_metrics import METRICS
from lightning_realign.generators import load_generator
from lightning_realign.inference.writer import PredictionWriter
from lightning_realign.models import StepAwareRewardModel
from lightning_realign.motion import load_skeleton, recover_joints
from lightning_realign.rewards.index import load_or_build_index
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.sources import JudgeSource
from tests.helpers.guided_toys import plain_sampling
from tests.helpers.settings import generation

SETTINGS = {"mu": 3.0, "eta": 2.0, "steps": 4, "cfg_scale": 2.0}
TEST_IDS = {f"{number:06d}" for number in range(14, 21)}

LEFT = (("table", "json"), ("samples", "safetensors"))

SCRIPT = """
import sys
import lightning as L
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.inference.writer import PredictionWriter
from lightning_realign.settings.sources import JudgeSource
from tests.helpers.settings import generation

data, generator, reward, out = sys.argv[1:]
few = {"replications": 2, "predict_replications": 2, "multimodality_captions": 3, "multimodality_repeats": 10}
judges = {"second": JudgeSource("tmr", reward)}
settings = {"mu": 3.0, "eta": 2.0, "steps": 4, "cfg_scale": 2.0, **few, "judges": judges}
model = generation(generator, reward, **settings, protocol="published")
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", logger=False, inference_mode=False, default_root_dir=out,
    use_distributed_sampler=False, enable_progress_bar=False, callbacks=[PredictionWriter(out + "/motions")],
)
trainer.predict(model, datamodule=HumanML3DDataModule(data, batch_size=2), return_predictions=False)
trainer.test(model, datamodule=HumanML3DDataModule(data, batch_size=2), verbose=False)
"""


def make_trainer(folder: Path, **settings) -> L.Trainer:
    settings = {"inference_mode": False, "logger": False, **settings}
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def predict(bench, folder: Path, batch_size: int = 3, **settings) -> dict[str, dict[str, np.ndarray]]:
    model = generation(bench.generator, bench.reward, **{**SETTINGS, **settings})
    trainer = make_trainer(folder, callbacks=[PredictionWriter(str(folder / "motions"))])
    data = HumanML3DDataModule(bench.data, batch_size=batch_size)
    assert trainer.predict(model, datamodule=data, return_predictions=False) is None
    return read(folder / "motions")


def read(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    files = {}
    for path in folder.iterdir():
        with np.load(path, allow_pickle=False) as archive:
            files[path.name.removesuffix(".npz")] = dict(archive)
    return files


def run_test(bench, folder: Path, batch_size: int = 3, **settings) -> dict:
    model = generation(bench.generator, bench.reward, **{**SETTINGS, "replications": 2, **settings})
    trainer = make_trainer(folder)
    logged = trainer.test(model, datamodule=HumanML3DDataModule(bench.data, batch_size=batch_size), verbose=False)
    return {**json.loads((folder / "table-test.json").read_text()), "logged": logged[0]}


def assert_same_systems(first: dict, second: dict) -> None:
    assert first["systems"].keys() == second["systems"].keys()
    for system, metrics in first["systems"].items():
        assert metrics.keys() == second["systems"][system].keys()
        for metric in metrics.keys() - {"seconds", "peak_memory"}:
            np.testing.assert_allclose(
                metrics[metric]["values"], second["systems"][system][metric]["values"], atol=1e-5
            )


def test_prediction_files_are_complete(bench, tmp_path):
    skeleton = load_skeleton("humanml3d")
    files = predict(bench, tmp_path)
    assert files.keys() == TEST_IDS
    data = HumanML3DDataModule(bench.data, batch_size=7)
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    for sample, caption, length in zip(batch.ids, batch.captions, batch.lengths.tolist(), strict=True):
        fields = files[sample]
        assert fields["features"].shape == (length, 263)
        assert fields["joints"].shape == (length, 22, 3)
        torch.testing.assert_close(
            torch.from_numpy(fields["joints"]), recover_joints(torch.from_numpy(fields["features"]), skeleton)
        )
        assert (fields["text"].item(), fields["fps"].item()) == (caption, 20.0)
        assert fields["skeleton"].item() == "humanml3d"
        assert (fields["mu"].item(), fields["eta"].item(), fields["seed"].item()) == (3.0, 2.0, 1234)
        assert fields["timesteps"].shape == fields["rewards"].shape == (4,)
        assert np.isfinite(fields["rewards"]).all()


def test_predictions_do_not_depend_on_the_batch(bench, tmp_path):
    first, second = predict(bench, tmp_path / "a", batch_size=7), predict(bench, tmp_path / "b", batch_size=2)
    for sample, fields in first.items():
        np.testing.assert_allclose(fields["features"], second[sample]["features"], atol=2e-4)


def test_replications_differ_and_are_numbered(bench, tmp_path):
    files = predict(bench, tmp_path, predict_replications=2)
    assert files.keys() == {f"{sample}_r{replication}" for sample in TEST_IDS for replication in range(2)}
    single = predict(bench, tmp_path / "single", replications=2)
    for sample in TEST_IDS:
        np.testing.assert_array_equal(files[f"{sample}_r0"]["features"], single[sample]["features"])
        assert np.abs(files[f"{sample}_r1"]["features"] - single[sample]["features"]).max() > 1e-3


def test_without_mu_and_eta_it_is_the_generator_bit_for_bit(bench, tmp_path):
    files = predict(bench, tmp_path, mu=0.0, eta=0.0, batch_size=7)
    data = HumanML3DDataModule(bench.data, batch_size=7)
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    generator = load_generator(bench.generator, sampling=SamplingConfig(cfg_scale=2.0))
    motions = plain_sampling(generator, batch.captions, batch.lengths, batch.ids, steps=4)
    guided = predict(bench, tmp_path / "guided", batch_size=7)
    for row, sample in enumerate(batch.ids):
        plain = motions[row, : batch.lengths[row]].numpy()
        np.testing.assert_array_equal(files[sample]["features"], plain)
        assert np.isnan(files[sample]["rewards"]).all()
        assert np.abs(guided[sample]["features"] - plain).max() > 1e-3


def test_table_has_systems_intervals_and_cost(bench, tmp_path):
    table = run_test(bench, tmp_path)
    assert table["systems"].keys() == {"real", "reconstruction", "unguided", "guided"}
    guided, real = table["systems"]["guided"], table["systems"]["real"]
    values = np.array(guided["reward"]["values"])
    assert values.shape == (2,)
    assert guided["reward"]["mean"] == pytest.approx(values.mean())
    assert guided["reward"]["ci95"] == pytest.approx(1.96 * values.std(ddof=0) / np.sqrt(2))
    assert real["reward"]["ci95"] is None
    # Each of four steps evaluates the network with and without the text.
    assert guided["denoiser_calls"]["values"] == [8, 8]
    assert not {"denoiser_calls", "seconds"} & real.keys()
    assert table["systems"]["reconstruction"]["denoiser_calls"]["mean"] == 0
    assert guided["blown_up"]["mean"] == 0
    assert len(guided["seconds"]["values"]) == 2 and min(guided["seconds"]["values"]) > 0
    assert 0 <= guided["oracle_accuracy"]["mean"] <= 1
    assert guided["reward"]["mean"] > table["systems"]["unguided"]["reward"]["mean"]
    assert (table["settings"]["guidance"]["mu"], table["settings"]["split"]) == (3.0, "test")
    assert table["logged"]["test/guided/reward"] == pytest.approx(guided["reward"]["mean"], abs=1e-6)
    assert "test/guided/oracle_accuracy_ci95" in table["logged"]


def test_table_does_not_depend_on_the_batch(bench, tmp_path):
    assert_same_systems(run_test(bench, tmp_path / "a", batch_size=7), run_test(bench, tmp_path / "b", batch_size=2))


def test_validation_uses_its_own_split_and_prefix(bench, tmp_path):
    model = generation(bench.generator, bench.reward, **SETTINGS, systems=["unguided"], replications=1)
    data = HumanML3DDataModule(bench.data, batch_size=4)
    (logged,) = make_trainer(tmp_path).validate(model, datamodule=data, verbose=False)
    assert logged.keys() == {f"val/unguided/{name}" for name in METRICS}


def test_without_reward_the_table_has_no_reward(bench, tmp_path):
    model = generation(bench.generator, steps=4, cfg_scale=1.0, replications=2)
    make_trainer(tmp_path).test(model, datamodule=HumanML3DDataModule(bench.data), verbose=False)
    systems = json.loads((tmp_path / "table-test.json").read_text())["systems"]
    assert systems.keys() == {"real", "reconstruction", "unguided"}
    assert "reward" not in systems["unguided"]


def test_two_ranks_write_and_measure_the_same(bench, tmp_path):
    one, ranks = tmp_path / "one", tmp_path / "ranks"
    files = predict(bench, one, predict_replications=2)
    sizes = {"multimodality_captions": 3, "multimodality_repeats": 10}
    judges = {"second": JudgeSource("tmr", bench.reward)}
    table = run_test(bench, one, protocol="published", judges=judges, **sizes)
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    subprocess.run(
        [sys.executable, str(script), str(bench.data), bench.generator, bench.reward, str(ranks)],
        check=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    written = read(ranks / "motions")
    assert written.keys() == files.keys()
    for name, fields in written.items():
        np.testing.assert_allclose(fields["features"], files[name]["features"], atol=2e-4)
    assert_same_systems(table, json.loads((ranks / "table-test.json").read_text()))


def test_both_stages_leave_their_table_beside_the_metrics(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("REALIGN_RUN_DIR", str(tmp_path / "record"))
    model = generation(bench.generator, bench.reward, **SETTINGS, systems=["real"])
    data = HumanML3DDataModule(bench.data)
    make_trainer(tmp_path).validate(model, datamodule=data, verbose=False)
    make_trainer(tmp_path).test(model, datamodule=data, verbose=False)
    names = {path.name for path in (tmp_path / "record").iterdir()}
    assert names == {f"{name}-{split}.{ext}" for split in ("val", "test") for name, ext in LEFT}


def test_seconds_are_per_motion(bench, tmp_path, monkeypatch):
    """A clock that goes on by one second whenever it is read: a batch takes one, whatever its size."""
    ticks = itertools.count()
    monkeypatch.setattr("lightning_realign.evaluation.cost.time.perf_counter", lambda: float(next(ticks)))
    table = run_test(bench, tmp_path, batch_size=7, systems=["unguided"])
    assert table["systems"]["unguided"]["seconds"]["values"] == pytest.approx([1 / 7, 1 / 7])


def test_the_retrieved_motion_is_recorded(bench, tmp_path, monkeypatch):
    encoded, original = [], StepAwareRewardModel.encode_text
    monkeypatch.setattr(
        StepAwareRewardModel, "encode_text", lambda self, *given: encoded.append(1) or original(self, *given)
    )
    files = predict(bench, tmp_path, batch_size=7, predict_replications=2)
    # Once to fill the cache, once for the batch: retrieval, guidance and both replications share it.
    assert len(encoded) <= 2
    reward = load_reward(bench.reward)
    data = HumanML3DDataModule(bench.data)
    data.setup("test")
    index = load_or_build_index(reward, data, progress=False)
    for fields in files.values():
        match = index.query(DualAlignmentReward(reward).text_latents([fields["text"].item()]))
        assert fields["reference"].item() == match.ids[0]
        assert fields["reference_reward"].item() == pytest.approx(match.rewards[0].item(), abs=1e-5)
    for fields in predict(bench, tmp_path / "plain", eta=0.0).values():
        assert fields["reference"].item() == "" and np.isnan(fields["reference_reward"])


def test_stochastic_ddim_takes_the_posterior_scale(bench, tmp_path):
    with pytest.raises(ConfigError, match="ddim_eta above 0"):
        predict(bench, tmp_path / "refused", scale="posterior")
    still = predict(bench, tmp_path / "still", mu=0.0, eta=0.0)
    moved = predict(bench, tmp_path / "moved", scale="posterior", ddim_eta=0.5)
    assert all(np.abs(moved[sample]["features"] - still[sample]["features"]).max() > 1e-3 for sample in TEST_IDS)


def test_motions_that_blow_up_are_counted(bench, tmp_path, recwarn):
    predict(bench, tmp_path / "fine")
    assert not [warning for warning in recwarn if "NaN or infinite" in str(warning.message)]
    predict(bench, tmp_path / "strong", mu=1e38, scale="constant")
    (warning,) = [str(warning.message) for warning in recwarn if "NaN or infinite" in str(warning.message)]
    assert warning.startswith("7 of 7 motions") and "max_norm" in warning and "lower mu" in warning


def test_inference_mode_is_refused(bench, tmp_path):
    model = generation(bench.generator, bench.reward, **SETTINGS)
    trainer, data = make_trainer(tmp_path, inference_mode=True), HumanML3DDataModule(bench.data)
    for run in (trainer.predict, trainer.test, trainer.validate):
        with pytest.raises(ConfigError, match="inference_mode=False"):
            run(model, datamodule=data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mu": 1.0}, "reward path is not set"),
        ({"eta": -1.0}, "reward path is not set"),
        ({"replications": 0}, "measuring replications is 0"),
        ({"predict_replications": 0}, "predict_replications is 0"),
        ({"systems": []}, "systems is"),
        ({"systems": ["guided"]}, "mu and eta are 0"),
        ({"systems": ["wrong"]}, "list one or more of real, reconstruction, unguided, guided"),
        ({"every": 0}, "every=0"),
    ],
)
def test_contradictions_are_refused_before_anything_is_read(settings, message):
    with pytest.raises(ConfigError, match=message):
        generation("missing.ckpt", **settings)


def test_swapped_checkpoints_are_named(bench, tmp_path):
    model = generation(bench.reward, bench.generator, **SETTINGS)
    with pytest.raises(CheckpointError, match="reward"):
        make_trainer(tmp_path).predict(model, datamodule=HumanML3DDataModule(bench.data))


def test_hyper_parameters_are_plain_and_read_safely(bench, tmp_path):
    judges = {"second": JudgeSource("tmr", bench.reward)}
    model = generation(bench.generator, bench.reward, mu=2.5, eta=1.5, candidates=2, judges=judges)
    assert model.hparams["guidance"]["mu"] == 2.5 and model.hparams["search"]["candidates"] == 2
    assert model.hparams["judges"]["second"]["kind"] == "tmr" and model.hparams["probes"] == []
    torch.save(dict(model.hparams), tmp_path / "settings.ckpt")
    assert torch.load(tmp_path / "settings.ckpt", weights_only=True) == dict(model.hparams)
    assert not model.state_dict()


def test_index_is_shared_through_the_cache(bench, tmp_path):
    model = generation(bench.generator, bench.reward, **SETTINGS, index_cache=str(tmp_path / "index"))
    data = HumanML3DDataModule(bench.data)
    predictions = make_trainer(tmp_path).predict(model, datamodule=data)
    assert {sample for batch in predictions for kept in batch for sample in kept.ids} == TEST_IDS
    (file,) = (tmp_path / "index").iterdir()
    stamp = file.stat().st_mtime_ns
    index = load_or_build_index(model.pipeline.reward.bundle, data, tmp_path / "index", progress=False)
    assert file.stat().st_mtime_ns == stamp
    assert index.ids == tuple(f"{number:06d}" for number in range(10))
