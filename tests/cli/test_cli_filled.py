"""What a reward fills in on the command line of the trainer: the saved configuration, a sweep's point, null."""

from __future__ import annotations

from pathlib import Path

import yaml

from lightning_realign.checkpoints.guidance import SuitedGuidance
from lightning_realign.checkpoints.hub import export_model
from lightning_realign.settings.guidance import FilledGuidance, GuidanceConfig
from lightning_realign.settings.plain import plain
from tests.helpers.cli_bench import realign

CONFIG = "configs/guided/synthetic.yaml"


def test_the_saved_configuration_has_what_the_reward_filled(cli_bench, checkout):
    """And runs again as it did; a sweep's 0 is no open setting."""
    remembers = SuitedGuidance(GuidanceConfig(mu=3.0, eta=0.0, scale="constant", location="x0"), 3)
    folder = export_model(cli_bench.reward["humanml3d"], checkout / "reward", remembers)
    (checkout / "open.yaml").write_text("model: {init_args: {guidance: {mu: null, scale: null, location: null}}}")
    given = [*cli_bench.options(CONFIG, "predict"), f"--model.init_args.reward.path={folder}"]
    given += ["--config", "open.yaml", "--model.init_args.sampling.steps=null"]
    realign("predict", "--config", CONFIG, *given)
    (saved,) = Path("runs").rglob("config-predict-*.yaml")
    settings = yaml.safe_load(saved.read_text())["model"]["init_args"]
    expected = {"mu": 3.0, "scale": "constant", "location": "x0", "start": 1.0, "every": 1}
    assert settings["guidance"].items() >= expected.items() and settings["sampling"]["steps"] == 3
    again = realign("predict", "--config", str(saved))
    assert plain(again.model.guidance) == settings["guidance"]


def test_a_swept_zero_wins_over_what_the_reward_remembers(cli_bench, checkout, monkeypatch):
    folder = export_model(cli_bench.reward["humanml3d"], checkout / "reward", SuitedGuidance(GuidanceConfig(mu=3.0)))
    given = [*cli_bench.options(CONFIG, "predict"), f"--model.init_args.reward.path={folder}"]
    monkeypatch.setenv("REALIGN_SWEEP_POINT", '{"model.init_args.guidance.mu": 0}')
    run = realign("predict", "--config", CONFIG, *given, "--model.init_args.guidance.mu=0")
    assert run.model.guidance.mu == 0 and not run.model.guidance.active
    assert run.model.hparams["guidance"]["mu"] == 0


def test_null_switches_guidance_off(cli_bench, checkout):
    run = realign(
        "predict", "--config", CONFIG, *cli_bench.options(CONFIG, "predict"), "--model.init_args.guidance=null"
    )
    assert run.model.guidance == FilledGuidance()
