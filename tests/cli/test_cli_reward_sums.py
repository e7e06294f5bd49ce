"""Sums of rewards on the command lines: a run and its recorded configuration, a sweep's point, and `generate`."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml

from lightning_realign.__main__ import main
from tests.helpers.cli_bench import one_error_line, realign

GUIDED = "configs/guided/synthetic.yaml"


@pytest.fixture
def options(cli_bench, checkout):
    tiny = cli_bench.options(GUIDED, "test")
    few = [
        "--model.init_args.guidance.location=x0",
        "--model.init_args.measuring.systems=[guided]",
        "--model.init_args.judges=null",
    ]
    return ["--config", GUIDED, *tiny, *few, f"--trainer.default_root_dir={checkout / 'run'}"]


def test_a_configuration_goes_round(cli_bench, options, checkout, monkeypatch):
    monkeypatch.setenv("REALIGN_RUN_DIR", str(checkout / "run"))
    monkeypatch.setenv("REALIGN_SWEEP_POINT", json.dumps({"model.init_args.guidance.physical.jerk": 1e-4}))
    other = shutil.copy(cli_bench.reward["humanml3d"], checkout / "other.ckpt")
    first = realign(
        "test",
        *options,
        f"--model.init_args.reward.ensemble=['{other}']",
        "--model.init_args.guidance.physical.jerk=1e-4",
        "--model.init_args.guidance.physical.foot_skating=0.5",
    )
    assert dict(first.model.hparams["guidance"]["physical"]) == {"jerk": 1e-4, "foot_skating": 0.5}
    assert list(first.model.hparams["reward"]["ensemble"]) == [str(other)]
    (recorded,) = (checkout / "run").glob("config-test-*.yaml")
    written = yaml.safe_load(recorded.read_text())["model"]["init_args"]
    assert written["guidance"]["physical"] == {"jerk": 1e-4, "foot_skating": 0.5} and written["reward"]["ensemble"] == [
        str(other)
    ]
    kept = shutil.copy(recorded, checkout / "again.yaml")
    second = realign("test", "--config", str(kept), "--model.init_args.guidance.physical.foot_skating=0")
    assert dict(second.model.hparams["guidance"]["physical"]) == {"jerk": 1e-4, "foot_skating": 0.0}
    rows = [run.trainer.callback_metrics["test/guided/jerk"].item() for run in (first, second)]
    assert np.isfinite(rows).all() and rows[0] != rows[1]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("guidance.physical.skating=1", "physical='skating' is unknown; use one of foot_skating, jerk, penetration"),
        ("guidance.physical={jerk: much}", "physical"),
        ("reward.ensemble=[nowhere.ckpt]", "nowhere.ckpt"),
    ],
)
def test_mistakes_are_one_line(options, option, message, capsys):
    with pytest.raises(SystemExit):
        realign("test", *options, f"--model.init_args.{option}")
    assert message in one_error_line(capsys)


def test_prompts_take_sums_too(cli_bench, checkout):
    ckpt, reward = (str(getattr(cli_bench, kind)["humanml3d"]) for kind in ("generator", "reward"))
    common = ["generate", "a person walks", "--generator.path", ckpt, "--sampling.steps", "3", "--seconds", "2"]
    common += ["--guidance.location", "x0"]
    runs = {
        "plain": [],
        "physical": ["--guidance.physical.jerk", "0.001"],
        "reward": ["--reward.path", reward, "--guidance.mu", "5"],
        "ensemble": ["--reward.path", reward, "--guidance.mu", "5", "--reward.ensemble", f'["{reward}"]'],
        "both": ["--reward.path", reward, "--guidance.mu", "5", "--guidance.physical", '{"jerk": 0.001}'],
    }
    made = {}
    for name, words in runs.items():
        main([*common, *words, "--out", name])
        (file,) = (checkout / name).glob("*.npz")
        with np.load(file, allow_pickle=False) as content:
            made[name] = content["features"]
    np.testing.assert_allclose(made["ensemble"], made["reward"], atol=1e-5)
    for one, other in (("plain", "physical"), ("plain", "reward"), ("reward", "both"), ("physical", "both")):
        assert np.abs(made[one] - made[other]).max() > 1e-5
