"""Giving a reward guides with it, as its folder remembers; what is set wins, and it can be switched off."""

import json
import logging

import pytest
import torch

from lightning_realign import GuidanceConfig, Pipeline, RewardSource, SamplingConfig
from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.checkpoints.folder import CONFIG_FILE
from lightning_realign.checkpoints.guidance import SuitedGuidance
from lightning_realign.checkpoints.hub import export_model
from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.inference import GuidedGeneration
from lightning_realign.settings.guidance import FilledGuidance
from lightning_realign.settings.measuring import MeasuringConfig
from lightning_realign.settings.sources import GeneratorSource
from tests.helpers.published_mardm import write_mardm
from tests.helpers.published_momask import write_momask
from tests.inference.test_generation import make_trainer

TEXT = "a person walks"
FAST = SamplingConfig(steps=3, cfg_scale=2.0)
SUITED = GuidanceConfig(mu=4.0, scale="constant", location="x0", start=0.7)
DEFAULT = FilledGuidance(mu=10.0)


@pytest.fixture
def folder(bench, tmp_path):
    """The bench's reward, which remembers what suits it."""
    return export_model(bench.reward, tmp_path / "reward", SuitedGuidance(SUITED, 4))


def load(bench, reward=None, *guidance, sampling=FAST):
    return Pipeline.from_pretrained(bench.generator, reward, *guidance, sampling=sampling, device="cpu")


def made(pipeline, **more):
    (motion,) = pipeline.generate(TEXT, seconds=1.0, **more)
    return motion.features


def test_a_reward_guides_and_the_log_says_how(bench, caplog):
    """A checkpoint without the field `guidance` has the default."""
    with caplog.at_level(logging.INFO):
        pipeline = load(bench, bench.reward)
    assert pipeline.guidance == DEFAULT
    (line,) = [line for line in caplog.messages if "guided by" in line]
    assert line.startswith(f"guided by {bench.reward}: mu=10.0, ") and "scale=score, location=x_t" in line
    assert line.endswith("(default)")
    explicit = load(bench, bench.reward, GuidanceConfig(mu=10.0, scale="score", location="x_t"))
    assert torch.equal(made(pipeline), made(explicit))
    assert not torch.equal(made(pipeline), made(load(bench)))


def test_without_a_reward_nothing_guides_and_nothing_is_said(bench, caplog):
    with caplog.at_level(logging.INFO):
        pipeline = load(bench)
    assert pipeline.guidance == FilledGuidance() and "guid" not in caplog.text


def test_mu_is_the_inverse_temperature_that_an_entry_states(bench, tmp_path):
    content = torch.load(bench.reward, weights_only=True)
    content[SPEC_KEY]["temperature"] = 0.25
    torch.save(content, tmp_path / "reward.ckpt")
    assert load(bench, tmp_path / "reward.ckpt").guidance == FilledGuidance(mu=4.0)
    assert load_reward(export_model(tmp_path / "reward.ckpt", tmp_path / "folder")).temperature == 0.25


def test_the_folder_fills_and_what_is_set_replaces_only_itself(bench, folder, caplog):
    with caplog.at_level(logging.INFO):
        pipeline = load(bench, folder, sampling=SamplingConfig(cfg_scale=2.0))
    assert pipeline.guidance == SUITED.filled() and pipeline.sampling.steps == 4
    told = "mu=4.0, scale=constant, location=x0, start=0.7 (remembered)"
    assert told in caplog.text and f"sampling steps=4 (remembered by {folder})" in caplog.text
    sampling = SamplingConfig(steps=4, cfg_scale=2.0)
    assert torch.equal(made(pipeline), made(load(bench, bench.reward, SUITED, sampling=sampling)))
    stronger = load(bench, folder, GuidanceConfig(mu=6.0))
    assert stronger.guidance == GuidanceConfig(mu=6.0).over(SUITED).filled() and stronger.guidance.location == "x0"
    assert stronger.sampling.steps == 3
    fast = load(bench, folder, GuidanceConfig(preset="fast", every=3)).guidance
    assert (fast.start, fast.stop, fast.every, fast.mu, fast.preset) == (0.55, 0.0, 3, 4.0, "fast")
    assert load(bench, folder, GuidanceConfig(preset="best")).guidance.start == 1.0


@pytest.mark.parametrize("settings", [{"scale": "constant"}, {"location": "x0"}, {"scale": "score", "location": "x0"}])
def test_scale_and_location_need_their_mu(bench, folder, settings):
    for reward in (bench.reward, folder):
        with pytest.raises(ConfigError, match=r"guidance .* without mu: mu has another range there; set mu as well"):
            load(bench, reward, GuidanceConfig(**settings))
    assert load(bench, folder, GuidanceConfig(mu=2.0, **settings)).guidance.mu == 2.0


def test_switched_off_is_the_unguided_run_bit_for_bit(bench, folder):
    sampling = SamplingConfig(cfg_scale=2.0)
    plain = made(load(bench, sampling=sampling))
    off = (None, GuidanceConfig(mu=0.0, eta=0.0, physical={}), GuidanceConfig(mu=0.0))
    for guidance in off:
        assert torch.equal(made(load(bench, folder, guidance, sampling=sampling)), plain)
    assert not torch.equal(made(load(bench, folder, sampling=sampling)), plain)


def test_a_call_has_guidance_of_its_own(bench, folder):
    pipeline = load(bench, folder)
    assert torch.equal(made(pipeline, guidance=None), made(load(bench)))
    alone = made(load(bench, folder, GuidanceConfig(mu=9.0)))
    assert torch.equal(made(pipeline, guidance=GuidanceConfig(mu=9.0)), alone)
    assert pipeline.guidance == SUITED.filled()
    off = load(bench, folder, None)
    assert torch.equal(made(off), made(load(bench)))
    assert torch.equal(made(off, guidance=GuidanceConfig()), made(pipeline))


def test_the_weights_that_remain_guide_without_mu(bench, tmp_path):
    suited = GuidanceConfig(mu=3.0, location="x0", physical={"jerk": 1e-3})
    folder = export_model(bench.reward, tmp_path / "reward", SuitedGuidance(suited))
    left = load(bench, folder, GuidanceConfig(mu=0.0)).guidance
    assert left == FilledGuidance(location="x0", physical={"jerk": 1e-3}) and left.active
    assert load(bench, folder, GuidanceConfig(physical={"foot_skating": 1.0})).guidance.physical == {
        "foot_skating": 1.0
    }


def run_test(bench, folder, tmp_path, guidance):
    measuring = MeasuringConfig(replications=2, multimodality_captions=0)
    model = GuidedGeneration(
        GeneratorSource(str(bench.generator)),
        RewardSource(str(folder)),
        guidance,
        SamplingConfig(cfg_scale=1.0),
        measuring=measuring,
    )
    make_trainer(tmp_path).test(model, datamodule=HumanML3DDataModule(bench.data, batch_size=4), verbose=False)
    return model, json.loads((tmp_path / "table-test.json").read_text())


def test_the_receipt_has_the_filled_values(bench, folder, tmp_path):
    model, receipt = run_test(bench, folder, tmp_path, GuidanceConfig(mu=5.0))
    settings = receipt["settings"]
    assert "guided" in receipt["systems"] and settings["sampling"]["steps"] == 4
    expected = {"mu": 5.0, "eta": 0.0, "scale": "constant", "location": "x0", "start": 0.7, "every": 1, "physical": {}}
    assert settings["guidance"].items() >= expected.items() and model.hparams["guidance"] == settings["guidance"]
    assert model.hparams_initial["guidance"] == settings["guidance"]
    again = Pipeline(model.generator, model.reward_source, GuidanceConfig(**settings["guidance"]), FAST)
    assert again.guidance == model.guidance


def test_an_unguided_table_has_no_guided_system(bench, folder, tmp_path):
    """Whether it is guided is only known once the reward has been read: mu alone says it may be."""
    for name, guidance in (("none", None), ("zero", GuidanceConfig(mu=0.0))):
        _, receipt = run_test(bench, folder, tmp_path / name, guidance)
        assert "guided" not in receipt["systems"] and receipt["settings"]["guidance"]["mu"] == 0.0
        assert receipt["settings"]["sampling"]["steps"] is None


def remembering(folder, value):
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text())
    config[SPEC_KEY]["guidance"] = value
    path.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], r"field 'guidance' is '\[1\]', expected its settings"),
        ({"mu": "high"}, "field 'guidance.mu' is 'high', expected a number"),
        ({"mu": True}, "field 'guidance.mu' is 'True', expected a number"),
        ({"every": 1.5}, "field 'guidance.every' is '1.5', expected an integer"),
        ({"strength": 1.0}, "field 'guidance.strength' is no setting of guidance"),
        ({"steps": 0}, "field 'guidance': sampling steps is 0"),
        ({"start": 0.2, "stop": 0.4}, "field 'guidance': guidance window"),
        ({"scale": "constant"}, "field 'guidance': guidance scale='constant' without mu"),
        ({"mu": 1.0, "scale": "os.system"}, "field 'guidance': 'os.system' is a part of your own"),
        ({"mu": 1.0, "physical": {"a.b": 1.0}}, "field 'guidance': 'a.b' is a part of your own"),
        ({"mu": 1.0, "scale": "linear"}, "field 'guidance': guidance scale='linear' is unknown"),
        ({"mu": 1.0, "physical": {"jerk": 1.0}}, "field 'guidance': guidance physical=.* use location x0"),
    ],
)
def test_a_folder_that_remembers_nonsense(bench, folder, value, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load(bench, remembering(folder, value))
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_export_writes_and_keeps_what_suits(bench, folder, tmp_path):
    written = json.loads((folder / CONFIG_FILE).read_text())[SPEC_KEY]["guidance"]
    assert written == {"mu": 4.0, "scale": "constant", "location": "x0", "start": 0.7, "steps": 4}
    assert "mu 4.0, scale constant" in (folder / "README.md").read_text()
    again = load_reward(export_model(folder, tmp_path / "again"))
    assert again.suited == load_reward(folder).suited == SuitedGuidance(SUITED, 4)
    assert load_reward(bench.reward).suited == SuitedGuidance()
    with pytest.raises(ConfigError, match="guidance suits a reward"):
        export_model(bench.generator, tmp_path / "generator", SuitedGuidance(SUITED))
    assert not (tmp_path / "generator").exists()


def test_masked_generators_have_defaults_of_their_own(bench, tmp_path, caplog):
    """One that denoises is guided at the clean motion; one that does not is left alone, and the reward may rank."""
    steps = SamplingConfig(steps=2, cfg_scale=1.0)
    momask = GeneratorSource(str(write_momask(tmp_path / "momask")), "momask")
    with caplog.at_level(logging.INFO):
        plain = Pipeline(momask, RewardSource(str(bench.reward)), sampling=steps)
    assert plain.guidance == FilledGuidance() and "guided by" not in caplog.text
    mardm = GeneratorSource(str(write_mardm(tmp_path / "t2m")), "mardm")
    guided = Pipeline(mardm, RewardSource(str(bench.reward)), sampling=steps)
    assert guided.guidance == FilledGuidance(mu=10.0, location="x0")
