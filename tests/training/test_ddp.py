"""Two ranks train on the same loss as one process with the joint batch."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from lightning_realign.types import MotionTextBatch
from tests.helpers.ddp_run import make_data, make_module, run

ROOT = Path(__file__).resolve().parents[2]


def two_ranks(root, cache, folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.helpers.ddp_run", str(root), cache, str(folder)]
    ranks = [
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ | variables | {"LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-2000:]
    gradients = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return gradients, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def distance(found, expected):
    """Relative difference of all gradients together."""
    names = sorted(expected)
    flat = [torch.cat([gradients[name].flatten() for name in names]) for gradients in (found, expected)]
    return ((flat[0] - flat[1]).norm() / flat[1].norm()).item()


@pytest.fixture(scope="module")
def joint(tiny_root, text_cache, tmp_path_factory):
    return run(tiny_root, text_cache, tmp_path_factory.mktemp("joint"), ranks=1)[0]


def test_two_ranks_have_the_gradient_of_the_joint_batch(tiny_root, text_cache, tmp_path, joint):
    gradients, records = two_ranks(tiny_root, text_cache, tmp_path)
    for rank in range(2):
        assert distance(gradients[rank], joint.gradients) < 1e-4
        # The second and third loss follow updates of the weights.
        assert records[rank]["contrastive"] == pytest.approx(joint.contrastive, rel=1e-3)
    for name, figure in joint.figures.items():
        # The contrastive loss of validation has the negatives of its own batch, which are fewer on two ranks.
        if name not in ("val/loss", "val/contrastive"):
            assert records[0]["figures"][name] == pytest.approx(figure, rel=1e-3), name
    assert records[0]["figures"] == records[1]["figures"]


def part_of(batch, rank):
    """What one of two ranks has of a joint batch."""
    rows = {field.name: getattr(batch, field.name)[rank::2] for field in fields(MotionTextBatch)}
    return replace(batch, **rows)


def test_gathering_matters(tiny_root, text_cache, joint):
    """Shows that the test above could fail: the mean of two ranks' own losses has another gradient."""
    module, data = make_module(text_cache), make_data(tiny_root)
    data.setup("fit")
    module.normaliser.set(data.normaliser.mean, data.normaliser.std)
    batch = next(iter(data.train_dataloader()))

    def gradients(parts):
        module.zero_grad()
        losses = []
        for part in parts:
            states = module.states(part)
            losses.append(module.terms(part, states, module.draw(part, states), gather=False)["loss"])
        torch.stack(losses).mean().backward()
        return {name: parameter.grad.clone() for name, parameter in module.named_parameters()}

    assert distance(gradients([batch]), joint.gradients) < 1e-4
    assert distance(gradients([part_of(batch, 0), part_of(batch, 1)]), joint.gradients) > 0.05
