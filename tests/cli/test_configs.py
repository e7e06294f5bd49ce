"""Every configuration runs a step on tiny data, by the very launch lines in its header."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.inference import GuidedGeneration
from tests.helpers.cli_bench import ROOT, launch_lines, realign, slow_if

FOLDERS = ("reward", "evaluator", "generator", "guided", "demo", "retrieval")
CONFIGS = sorted(path for folder in FOLDERS for path in (ROOT / "configs" / folder).glob("*.yaml"))
PUBLISHED = [path for path in CONFIGS if "family:" in path.read_text()]  # test_published_configs runs them
GUIDED = [path for path in CONFIGS if "generator:" in path.read_text() and path not in PUBLISHED]
RETRIEVAL = [path for path in CONFIGS if path.parent.name == "retrieval"]  # tests/retrieval runs them
SAMPLES = ROOT / "configs" / "guided" / "samples.yaml"
TRAINING = [path for path in CONFIGS if path not in [*GUIDED, *PUBLISHED, *RETRIEVAL, SAMPLES]]


# Their twins in HumanML3D's form run the same code; the whole chain in KIT-ML's form has a test of its own.
TWINS = {path for path in TRAINING if path.stem.endswith("_kit")}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def stages(path: Path) -> list[str]:
    return [line[0] for line in launch_lines(path)]


def test_every_file_is_known_and_headed_by_its_launch_line():
    fragments = {*(ROOT / "configs" / "data").glob("*.yaml"), ROOT / "configs" / "wandb.yaml"}
    assert {*CONFIGS, *fragments} == set((ROOT / "configs").rglob("*.yaml"))
    assert {(ROOT / "configs" / "data" / yaml.safe_load(path.read_text())["data"]).resolve() for path in CONFIGS} == {
        path for path in fragments if path.parent.name == "data"
    }
    for path in CONFIGS:
        for line in launch_lines(path):
            assert line[1:3] == ["--config", name(path)], path
    assert all(stages(path)[0] == "fit" for path in TRAINING)
    assert all({"predict", "test"} == set(stages(path)) for path in [*GUIDED, *PUBLISHED])


@pytest.mark.parametrize("path", slow_if(TWINS.__contains__, TRAINING), ids=name)
def test_training_fits_and_is_tested_from_its_checkpoint(path, cli_bench, checkout):
    fit, *others = launch_lines(path)
    run = realign(*fit, *cli_bench.options(name(path), "fit"))
    assert run.trainer.global_step == 1
    folder = Path(yaml.safe_load(path.read_text())["trainer"]["default_root_dir"])
    (record,) = folder.glob("logs/version_0/metrics.json")
    assert any(figure.startswith("val/") for figure in json.loads(record.read_text())["metrics"])
    assert "model.class_path" in (folder / "logs/version_0/hparams.yaml").read_text()
    checkpoints = sorted(folder.glob("*.ckpt"))
    assert checkpoints
    weights = torch.load(checkpoints[0], weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in weights.values())
    test = others[0] if others else ["test", "--config", name(path), "--ckpt_path", str(checkpoints[0])]
    assert Path(test[test.index("--ckpt_path") + 1]) in checkpoints
    tested = realign(*test, *cli_bench.options(name(path), "test"))
    # A handful of motions has no pool of 32.
    figures = {figure: value for figure, value in tested.trainer.callback_metrics.items() if "pool32" not in figure}
    assert figures and all(map(torch.isfinite, figures.values()))


@pytest.mark.parametrize("path", GUIDED, ids=name)
def test_guided_validates_tests_and_predicts(path, cli_bench, checkout):
    lines = [*launch_lines(path), ["validate", "--config", name(path)]]
    runs = {line[0]: realign(*line, *cli_bench.options(name(path), line[0])) for line in lines}
    for stage, prefix in (("validate", "val"), ("test", "test")):
        figures = runs[stage].trainer.callback_metrics
        assert {f"{prefix}/{row}/oracle_accuracy" for row in ("real", "unguided", "guided")} <= figures.keys()
        assert figures[f"{prefix}/guided/reward"] != figures[f"{prefix}/unguided/reward"]
    folder = Path(yaml.safe_load(path.read_text())["trainer"]["default_root_dir"])
    assert len(list((folder / "motions").glob("*.npz"))) == 2
    model = runs["test"].model
    assert isinstance(model, GuidedGeneration) and model.guidance.filled().active


def test_the_kit_form_goes_through_a_whole_chain(cli_bench, checkout):
    """VAE, denoiser and reward model fitted in KIT-ML's form, then motions generated from those very checkpoints."""
    for config in ("generator/vae_synthetic_kit", "generator/mld_synthetic_kit", "reward/synthetic_kit"):
        options = [
            option for option in cli_bench.options(f"configs/{config}.yaml", "fit") if "init_args.vae" not in option
        ]
        realign("fit", "--config", f"configs/{config}.yaml", *options)
    config = "configs/guided/synthetic_kit.yaml"
    options = [option for option in cli_bench.options(config, "predict") if option not in cli_bench.networks("kit")]
    run = realign("predict", "--config", config, *options)
    assert run.model.pipeline.skeleton.name == "kit"
    assert len(list(Path("runs/guided/synthetic_kit/motions").glob("*.npz"))) == 2


def test_judges_are_named_on_the_command_line(cli_bench, checkout):
    config, reward = "configs/guided/synthetic.yaml", cli_bench.reward["humanml3d"]
    run = realign(
        "test",
        *("--config", config, *cli_bench.options(config, "test")),
        f"--model.init_args.judges={{second: {{kind: tmr, path: {reward}}}}}",
    )
    assert run.trainer.callback_metrics["test/guided/second/MM-Dist"] > 0
    (record,) = Path("runs/guided/synthetic").rglob("table-test.json")
    assert json.loads(record.read_text())["settings"]["judges"]["second"]["path"] == str(reward)


def test_weights_and_biases_is_added_by_a_second_configuration(cli_bench, checkout, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = "configs/guided/synthetic.yaml"
    options = [*cli_bench.options(config, "test"), "--model.init_args.guidance.mu=2.75"]
    run = realign("test", "--config", config, "--config", "configs/wandb.yaml", *options)
    try:
        assert [type(logger).__name__ for logger in run.trainer.loggers] == ["CSVLogger", "WandbLogger"]
        experiment = run.trainer.loggers[1].experiment
        assert experiment.config["model.init_args.guidance.mu"] == 2.75
        assert experiment.summary["test/guided/reward"] == pytest.approx(
            run.trainer.callback_metrics["test/guided/reward"].item()
        )
    finally:
        wandb.finish()
    (log,) = Path("runs/guided/synthetic/wandb").glob("offline-run-*/run-*.wandb")
    (record,) = Path("runs/guided/synthetic").rglob("table-test.json")
    systems = json.loads(record.read_text())["systems"]
    history = finished_history(log, "test/metrics/path")
    for system, metrics in systems.items():
        for metric, value in metrics.items():
            assert history[f"test/{system}/{metric}"] == pytest.approx(value["mean"], rel=1e-5), metric
    table = json.loads((log.parent / "files" / history["test/metrics/path"]).read_text())
    for line in table["data"]:
        cells = dict(zip(table["columns"], line, strict=True))
        for metric, value in systems[cells["system"]].items():
            assert cells[metric] == pytest.approx(value["mean"]) and cells[f"{metric}_ci95"] == value["ci95"]
    assert [line[0] for line in table["data"]] == list(systems)
    assert list(Path("runs/guided/synthetic/logs").glob("version_0/metrics.csv"))


def offline_records(path: Path) -> Iterator[bytes]:
    """The records in the file of an offline W&B run: a log of LevelDB's format (32 KiB blocks) behind a header."""
    content, place, record = path.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        if place + 7 + size > len(content):  # still being written
            return
        record += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            yield record
            record = b""


def offline_history(path: Path) -> dict[str, Any]:
    """The last value of everything that an offline W&B run logged, read from its file."""
    from wandb.proto.wandb_internal_pb2 import Record

    history: dict[str, Any] = {}
    for content in offline_records(path):
        for item in Record.FromString(content).history.item:
            history[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return history


def finished_history(path: Path, last: str, seconds: float = 60.0) -> dict[str, Any]:
    """That history, once the value that is logged last is there: W&B's own process may write after `finish`."""
    end = time.monotonic() + seconds
    while last not in (history := offline_history(path)) and time.monotonic() < end:
        time.sleep(0.2)
    return history


def test_motions_made_elsewhere_get_their_row(cli_bench, checkout):
    root, config = cli_bench.data["humanml3d"], name(SAMPLES)
    data = HumanML3DDataModule(root)
    data.setup("test")
    folder = Path("made")
    folder.mkdir()
    for sample in data.samples("test", data.ids("test")):
        np.save(folder / f"{sample.id}.npy", sample.motion)
    judges = f"--model.init_args.judges={{tmr: {{kind: tmr, path: {cli_bench.reward['humanml3d']}}}}}"
    options = [*cli_bench.options(config, "test"), judges, "--model.init_args.measuring.replications=1"]
    run = realign(*launch_lines(SAMPLES)[0], *options, f"--model.init_args.folder={folder}")
    figures = run.trainer.callback_metrics
    assert figures["test/samples/tmr/FID"] == pytest.approx(0, abs=1e-6)
    assert figures["test/samples/jerk"] == pytest.approx(figures["test/real/jerk"])
