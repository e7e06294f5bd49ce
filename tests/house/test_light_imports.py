"""Importing the package, asking for help and generating from prompts load what they need and nothing else."""

import os
import subprocess
import sys

import pytest
import torch

import lightning_realign
from lightning_realign.motion import Normaliser, load_skeleton
from tests.helpers.cli_bench import ROOT
from tests.helpers.tiny_models import write_generator, write_reward

# What training, measuring and other encoders need, and the compiler of torch, which some libraries load unasked.
UNNEEDED = (
    *("lightning", "torchmetrics", "wandb", "matplotlib", "scipy", "transformers", "sentence_transformers"),
    *("diffusers", "roma", "torch._dynamo"),
)
HEAVY = ("torch", *UNNEEDED)
SETTINGS = [name for name in lightning_realign.__all__ if name.endswith(("Config", "Source"))]
COMMAND = """
import runpy, sys
sys.argv = ["lightning_realign", *{arguments}]
try:
    runpy.run_module("lightning_realign", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
"""


def loaded(code, names, folder):
    """Those of `names` that are imported once a fresh interpreter has run `code` in `folder`."""
    report = f"\nimport sys\nprint('LOADED', *(name for name in {names} if name in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "REALIGN_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code + report], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()[-1].split()
    assert first == "LOADED"
    return rest


@pytest.mark.parametrize(
    "code",
    [
        "import lightning_realign",
        f"from lightning_realign import __version__, {', '.join(SETTINGS)}",
        COMMAND.format(arguments=["--help"]),
        COMMAND.format(arguments=["generate", "--help"]),
    ],
    ids=["import", "settings", "help", "help of a tool"],
)
def test_nothing_heavy_is_imported(code, tmp_path):
    assert loaded(code, HEAVY, tmp_path) == []
    assert not any(tmp_path.iterdir())


def test_the_public_names_of_inference_need_torch_alone(tmp_path):
    names = [name for name in lightning_realign.__all__ if name != "GuidedGeneration"]
    assert loaded(f"from lightning_realign import {', '.join(names)}", HEAVY, tmp_path) == ["torch"]
    assert "lightning" in loaded("from lightning_realign import GuidedGeneration", HEAVY, tmp_path)


def test_generating_needs_torch_alone(tmp_path):
    """Guided, from the command line, the embedded text encoder included."""
    features = load_skeleton("humanml3d").num_features
    normaliser = Normaliser(features)
    normaliser.set(torch.zeros(features).numpy(), torch.ones(features).numpy())
    generator = write_generator(tmp_path / "generator.ckpt", normaliser)
    reward = write_reward(tmp_path / "reward.ckpt", normaliser)
    words = ["generate", "a person walks", "--generator.path", str(generator), "--out", "out"]
    guided = ["--reward.path", str(reward), "--guidance.mu", "1", "--sampling.steps", "2", "--device", "cpu"]
    assert loaded(COMMAND.format(arguments=[*words, *guided]), UNNEEDED, tmp_path) == []
    assert len(list((tmp_path / "out").glob("a-person-walks-*.npz"))) == 1
