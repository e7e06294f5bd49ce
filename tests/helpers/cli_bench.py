"""What the tests of the command lines share: tiny data sets and checkpoints, and runs of `train.py` in this process."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_realign.cli.train import RealignCLI, main
from lightning_realign.data.synthetic import make_dataset
from tests.helpers.tiny_models import dataset_normaliser, write_generator, write_reward, write_vae

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"train": 16, "val": 8, "test": 8}
TINY_RUN = (
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.limit_predict_batches=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
TINY_FIT = ("--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1", "--trainer.log_every_n_steps=1")
TINY_SAMPLING = ("--model.init_args.sampling.steps=2", "--model.init_args.measuring.replications=1")
TINY_REWARD = (
    "--model.init_args.network={width: 32, layers: 3, heads: 2, feedforward: 48, patch: 4}",
    "--model.init_args.noise.validation_timesteps=[0, 300]",
)


@dataclass(frozen=True)
class Bench:
    """Data sets and checkpoints by skeleton; both data sets are in the published layout, with true attributes."""

    data: dict[str, Path]
    generator: dict[str, Path]
    reward: dict[str, Path]
    vae: dict[str, Path]

    @classmethod
    def make(cls, folder: Path) -> Bench:
        bench = cls({}, {}, {}, {})
        for skeleton in ("humanml3d", "kit"):
            root = folder / skeleton
            make_dataset(root, skeleton, **SIZES, seed=1234, progress=False)
            normaliser = dataset_normaliser(root, skeleton)
            bench.data[skeleton] = root
            for kind, write in (("generator", write_generator), ("reward", write_reward), ("vae", write_vae)):
                getattr(bench, kind)[skeleton] = write(folder / f"{kind}_{skeleton}.ckpt", normaliser, skeleton)
        return bench

    def options(self, config: str | Path, stage: str) -> list[str]:
        """What makes a run of a configuration (by its path from the repository) tiny."""
        content = yaml.safe_load((ROOT / config).read_text())
        source = Path(content["data"]).stem
        skeleton = "kit" if "kit" in source else "humanml3d"
        options = [*TINY_RUN, f"--data.init_args.root={self.data[skeleton]}", "--data.init_args.batch_size=2"]
        if source.startswith(("synthetic", "demo")):
            options += [f"--data.init_args.{split}={size}" for split, size in SIZES.items()]
        else:
            options.append("--data.init_args.num_workers=0")
        if stage == "fit":
            options += TINY_FIT
        settings = content["model"]["init_args"]
        if "generator" in settings:
            options += [*TINY_SAMPLING, *self.networks(skeleton)]
        if content["model"]["class_path"].endswith("EvaluatorTraining"):
            options.append("--model.init_args.pool=2")
        if "vae" in settings:
            options.append(f"--model.init_args.vae={self.vae[skeleton]}")
        return options

    def networks(self, skeleton: str = "humanml3d") -> list[str]:
        """The tiny generator and reward model, as options of a guided run."""
        return [
            f"--model.init_args.generator.path={self.generator[skeleton]}",
            f"--model.init_args.reward.path={self.reward[skeleton]}",
        ]


def new_checkout(folder: Path) -> Path:
    """A folder from which `train.py` finds the repository's configurations, and where its results go."""
    for name in ("configs", "sweeps", "train.py"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def changed(source: Path, folder: Path) -> Path:
    """A copy of a data set, to be spoilt."""
    shutil.copytree(source, folder)
    return folder


def realign(*args: str) -> RealignCLI:
    """`python train.py ARGS` in this process."""
    return main([str(arg) for arg in args])


def launch_lines(config: Path) -> list[list[str]]:
    """The arguments of the launch lines in a file's header: `# python train.py ARGS  # comment`."""
    lines = config.read_text().splitlines()
    return [shlex.split(line.removeprefix("# "), comments=True)[2:] for line in lines if line.startswith("# python")]


def one_error_line(capsys) -> str:
    """The one line of standard error that reports a mistake; progress and warnings are not reports."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and lines[-1] == errors[0], lines
    assert "Traceback" not in "".join(lines)
    return errors[0]


def files_in(folder: Path) -> set[str]:
    """All files below a folder, without following links."""
    return {str(Path(place, name).relative_to(folder)) for place, _, names in os.walk(folder) for name in names}


def slow_if(slow: Callable[[Path], bool], paths: Iterable[Path]) -> list[Any]:
    """Parameters of a test, those for which `slow` holds left to `make test-all`."""
    return [pytest.param(path, marks=pytest.mark.slow) if slow(path) else path for path in paths]
