"""The wheel is whole: installed outside the clone, it has its configurations and sweeps, and trains by them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.cli_bench import ROOT

pytestmark = pytest.mark.wheel
BUILT_FROM = ("lightning_realign", "configs", "sweeps", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
TINY = (
    "--data.init_args.train=16",
    "--data.init_args.val=8",
    "--data.init_args.test=8",
    "--model.init_args.network={width: 32, layers: 3, heads: 2, feedforward: 48, patch: 4}",
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.enable_progress_bar=false",
)


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=380, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds the installed package alone; what it depends on is found in this process's environment."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copy(path, source / name)
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", wheels, source)
    (wheel,) = wheels.glob("*.whl")
    run(*PIP, "install", "--no-deps", "--no-index", "--target", target, wheel)
    return target


@pytest.fixture
def realign(installed, tmp_path):
    """Run the installed command in an empty folder."""

    def call(*words):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        return run(sys.executable, installed / "bin" / "realign", *words, cwd=tmp_path, env=environment)

    return call


def test_the_package_is_whole(installed):
    package = installed / "lightning_realign"
    for folder, inside in (("lightning_realign", ""), ("configs", "_configs"), ("sweeps", "_sweeps")):
        suffixes = {".yaml"} if inside else {".py", ".yaml", ".typed"}
        files = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.suffix in suffixes}
        assert files, folder
        missing = [str(file) for file in files if not (package / inside / file).is_file()]
        assert not missing, missing
    static = "viewer/static"
    names = {path.name for path in (ROOT / "lightning_realign" / static).iterdir()}
    assert {path.name for path in (package / static).iterdir()} == names


def test_configurations_are_listed_and_copied(realign, tmp_path):
    listed = realign("configs")
    assert "configs/reward/synthetic.yaml" in listed and "sweeps/mu_eta.yaml" in listed
    realign("configs", "--copy", "reward/synthetic.yaml", "--out", "mine")
    copies = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.yaml")}
    assert copies == {"mine/reward/synthetic.yaml", "mine/data/synthetic.yaml"}


@pytest.mark.parametrize("name", ["reward/synthetic.yaml", "configs/reward/synthetic.yaml"])
def test_a_configuration_is_found_by_name(name, realign):
    shown = realign("fit", "--config", name, "--print_config")
    assert "class_path: lightning_realign.training.RewardTraining" in shown
    assert "root: runs/data/synthetic" in shown


def test_training_outside_the_clone(realign, tmp_path):
    realign("fit", "--config", "reward/synthetic.yaml", *TINY)
    assert {path.name for path in (tmp_path / "runs/reward/synthetic").glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}


def test_a_sweep_outside_the_clone(realign, tmp_path):
    sweep = (ROOT / "sweeps" / "omega.yaml").read_text()
    assert "values: [0.0, 0.25, 0.5, 0.75, 1.0]" in sweep
    options = "\n".join(f"  - '{option}'" for option in TINY)
    tiny = sweep.replace("values: [0.0, 0.25, 0.5, 0.75, 1.0]", "values: [0.5]").replace("  - ${args}", options)
    (tmp_path / "tiny.yaml").write_text(f"{tiny.rstrip()}\n  - ${{args}}\n")
    assert "t2m_R@1" in realign("sweep", "tiny.yaml")


def test_the_toy_says_where_it_is(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "lightning_realign", "toy"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: toy: ") and "clone the repository" in line


def test_the_clone_is_not_in_the_way(installed, tmp_path):
    code = "import lightning_realign; print(lightning_realign.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    assert Path(run(sys.executable, "-c", code, cwd=tmp_path, env=environment).strip()).is_relative_to(installed)


def test_modules_of_the_current_folder_are_found(installed, tmp_path):
    """A scale of one's own is imported; only then is the checkpoint missed."""
    (tmp_path / "my_scales.py").write_text(
        "from lightning_realign.guidance.scales import ConstantScale\n\n\nclass Mine(ConstantScale):\n    pass\n"
    )
    words = (
        "generate",
        "a person walks",
        "--model",
        "nowhere.ckpt",
        "--guidance.scale",
        "my_scales.Mine",
        "--out",
        "o",
    )
    done = subprocess.run(
        [sys.executable, installed / "bin" / "realign", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: nowhere.ckpt: no such checkpoint file")
