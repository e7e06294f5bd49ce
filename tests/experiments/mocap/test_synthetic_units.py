"""The study's part on the synthetic set: what its commands say, in which order, and with which files."""

import contextlib
import io
from pathlib import Path

import pytest
import yaml

from experiments.mocap.plan.chosen import read_chosen
from experiments.mocap.plan.study import CONFIGS, DEFAULT_OUT, Study
from experiments.mocap.plan.synthetic import EQUAL_COMPUTE, JUDGES, MOTION_REWARD, synthetic_units, variants
from experiments.mocap.plan.units import FOLDER
from experiments.mocap.workflow.engine import in_order
from tests.helpers.cli_bench import ROOT, realign
from tests.helpers.study_commands import module_of

CHOSEN = read_chosen(ROOT / CONFIGS / "chosen.yaml").generators["synthetic"]
PLANNED = {unit.name: unit for unit in synthetic_units(Study(Path("raw"), DEFAULT_OUT), CHOSEN)}
ABLATIONS = ("best", "best_guided", "physical", "motion_reward", "strong", "through", "exact", "travel", "steer")
UNITS = f"{DEFAULT_OUT}/units"
EPOCHS = {
    "synthetic_vae": 36,
    "synthetic_mld": 120,
    "synthetic_reward": 80,
    MOTION_REWARD: 80,
    "synthetic_judge_guo": 60,
    "synthetic_judge_tmr": 40,
}


def parsed(unit):
    """A unit's configuration as the parser of `train.py` understands it."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        realign(*unit.arguments(Path("there"))[2:], "--print_config")
    assert ended.value.code == 0
    config = yaml.safe_load(out.getvalue())
    assert config["data"]["init_args"]["root"] == f"{UNITS}/synthetic_data/data"
    assert not [folder for folder in ("demo", "reward", "tmr", "evaluator") if f"runs/{folder}" in out.getvalue()]
    return config


@pytest.fixture(autouse=True)
def repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])


def test_the_units_are_those_of_the_demo_and_come_after_what_they_need():
    assert [unit.name for unit in in_order(list(PLANNED.values()))] == list(PLANNED)
    tests = ("test_synthetic", *(f"test_synthetic_{name}" for name in ABLATIONS))
    assert list(PLANNED) == ["synthetic_data", *EPOCHS, *tests]
    assert {name for name in PLANNED if PLANNED[name].resume == "checkpoint"} == set(EPOCHS)
    assert PLANNED["synthetic_mld"].needs == PLANNED["synthetic_reward"].needs == ("synthetic_data", "synthetic_vae")
    for name in tests:
        reward = MOTION_REWARD if name.endswith("motion_reward") else "synthetic_reward"
        assert set(PLANNED[name].needs) == {"synthetic_data", "synthetic_mld", reward, *JUDGES}
        assert PLANNED[name].files == (CONFIGS / "synthetic.yaml",)
    # As the demo makes it, but for the place.
    made = " ".join(PLANNED["synthetic_data"].command)
    tool = made.replace(f"{FOLDER}/data", "runs/demo/data").removeprefix("python -m lightning_realign ")
    assert f"realign {tool}\n" in (ROOT / "configs/demo/run.sh").read_text()


@pytest.mark.parametrize("name", EPOCHS)
def test_a_training_has_the_demos_data_and_a_place_of_its_own(name):
    config = parsed(PLANNED[name])
    trainer, kept = config["trainer"], [config[f"{name}_checkpoint"] for name in ("best", "last")]
    assert (trainer["max_epochs"], trainer["default_root_dir"]) == (EPOCHS[name], "there")
    assert {entry["dirpath"] for entry in kept} == {"there"}
    assert [entry["filename"] for entry in kept] == ["best", "last"]
    settings = config["model"]["init_args"]
    if "synthetic_vae" in PLANNED[name].needs:
        assert settings["vae"] == f"{UNITS}/synthetic_vae/last.ckpt"
    if name in ("synthetic_reward", MOTION_REWARD):
        # The two differ in what they read, and in nothing else of how they learn.
        assert settings["space"] == ("motion" if name == MOTION_REWARD else "latent")
        optimiser = settings["optimiser"]
        assert (settings["noise"]["omega"], optimiser["learning_rate"], optimiser["warmup_steps"]) == (0.5, 1e-3, 100)


@pytest.mark.parametrize("name", ["test_synthetic", "test_synthetic_steer"])
def test_a_test_run_has_the_studys_networks_and_judges(name):
    settings = parsed(PLANNED[name])["model"]["init_args"]
    expected = {"guo": f"{UNITS}/{JUDGES[0]}/best.ckpt", "tmr": f"{UNITS}/{JUDGES[1]}/best.ckpt"}
    assert {judge: entry["path"] for judge, entry in settings["judges"].items()} == expected
    assert settings["generator"]["path"] == f"{UNITS}/synthetic_mld/last.ckpt"
    assert settings["reward"]["path"] == f"{UNITS}/synthetic_reward/last.ckpt"
    if name == "test_synthetic":
        demo = yaml.safe_load((ROOT / "configs/demo/guided.yaml").read_text())["model"]["init_args"]
        for section in ("guidance", "sampling"):
            assert demo.get(section, {}).items() <= settings[section].items()
        measuring = settings["measuring"]
        assert (measuring["replications"], measuring["multimodality_captions"]) == (20, 100)
    else:
        measuring, search = settings["measuring"], settings["search"]
        assert (measuring["replications"], measuring["multimodality_captions"]) == (5, 0)
        assert (settings["guidance"]["mu"], search["particles"]["count"]) == (0, EQUAL_COMPUTE)
        assert settings["sampling"]["ddim_eta"] == 1


def test_every_ablation_is_a_setting_that_the_product_knows():
    found = variants(CHOSEN)
    assert tuple(found) == ABLATIONS
    for name, variant in found.items():
        module = module_of(PLANNED[f"test_synthetic_{name}"])
        assert module.systems == variant.systems and module.systems[-1] == "guided", name
        # No ablation is the main run again.
        assert {**CHOSEN, **variant.settings} != CHOSEN
    assert module_of(PLANNED["test_synthetic_strong"]).guidance.mu == 3 * CHOSEN["guidance.mu"]
    exact = module_of(PLANNED["test_synthetic_exact"]).guidance
    assert (exact.scale, exact.location, exact.mu) == ("score", "x_t", 10.0)


def test_another_folder_is_everywhere(tmp_path):
    study = Study(Path("raw"), tmp_path / "study")
    study.write_own()
    for unit in synthetic_units(study, CHOSEN):
        assert str(DEFAULT_OUT) not in unit.line(study.out) and "runs/" not in unit.line(study.out)
    text = (study.out / "configs/synthetic.yaml").read_text()
    assert str(DEFAULT_OUT) not in text and str(study.out / "units" / JUDGES[0] / "best.ckpt") in text


def test_the_oracle_stands_in_a_run(cli_bench, checkout):
    (checkout / "experiments").symlink_to(ROOT / "experiments")
    judge = f"{{kind: tmr, path: {cli_bench.reward['humanml3d']}}}"
    run = realign(
        *PLANNED["test_synthetic_best"].arguments(checkout / "run")[2:],
        *cli_bench.options("configs/demo/guided.yaml", "test"),
        f"--model.init_args.judges={{guo: {judge}, tmr: {judge}}}",
    )
    metrics = run.trainer.callback_metrics
    assert {"test/real/oracle_accuracy", "test/guided/oracle_accuracy", "test/guided/reward"} <= set(metrics)
    assert metrics["test/real/oracle_accuracy"] == 1
