"""`train.py` on two processes: `--trainer.strategy=ddp`, and `torchrun` on one and on two machines."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.cli_bench import ROOT, TINY_REWARD, realign

REWARD, GUIDED = "configs/reward/synthetic.yaml", "configs/guided/synthetic.yaml"
TWO = ("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp")
WHOLE = ("--trainer.limit_test_batches=1.0", "--trainer.limit_predict_batches=1.0")


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(*commands):
    """Start the commands together in the current folder and wait for all to end well."""
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    for process in started:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output[-3000:]


def torchrun(*options):
    return ["-m", "torch.distributed.run", *options, "train.py", "fit"]


def metrics(folder):
    (file,) = folder.rglob("metrics.json")
    return json.loads(file.read_text())["metrics"]


def motions(folder):
    found = {}
    for path in (folder / "motions").glob("*.npz"):
        with np.load(path, allow_pickle=False) as content:
            found[path.stem] = dict(content)
    return found


@pytest.fixture
def fitting(cli_bench, checkout):
    """Options of a fit of one batch per rank; a first run, in this process, has put the text features in the cache."""
    options = ["--config", REWARD, *cli_bench.options(REWARD, "fit"), *TINY_REWARD]
    realign("fit", *options, "--trainer.default_root_dir=alone")
    return options


def global_steps(folder):
    return {path.name: torch.load(path, weights_only=True)["global_step"] for path in folder.glob("*.ckpt")}


def test_fit_and_test(fitting, cli_bench):
    launch(["train.py", "fit", *fitting, *TWO, "--trainer.default_root_dir=both"])
    assert global_steps(Path("both")) == global_steps(Path("alone")) == {"best.ckpt": 1, "last.ckpt": 1}
    assert metrics(Path("both")).keys() == metrics(Path("alone")).keys()
    test = ["test", "--config", REWARD, *cli_bench.options(REWARD, "test"), *TINY_REWARD, *WHOLE]
    test += ["--ckpt_path", "alone/last.ckpt"]
    realign(*test, "--trainer.default_root_dir=tested_alone")
    launch(["train.py", *test, *TWO, "--trainer.default_root_dir=tested_both"])
    alone, both = metrics(Path("tested_alone")), metrics(Path("tested_both"))
    assert alone.keys() == both.keys()
    # The contrastive loss has the negatives of its own batch, which is another one on two ranks.
    own = {"test/contrastive", "test/loss"}
    # Pools of 32 are null: there are too few motions.
    compared = {name: value for name, value in alone.items() if name not in own and value is not None}
    assert len(compared) > 20
    assert {name: both[name] for name in compared} == pytest.approx(compared, rel=1e-4)


def test_predict(cli_bench, checkout):
    options = ["predict", "--config", GUIDED, *cli_bench.options(GUIDED, "predict"), *WHOLE]
    realign(*options, "--trainer.default_root_dir=alone")
    launch(["train.py", *options, *TWO, "--trainer.default_root_dir=both"])
    alone, both = motions(Path("alone")), motions(Path("both"))
    assert len(alone) == 8 and alone.keys() == both.keys()
    for sample, fields in alone.items():
        np.testing.assert_allclose(both[sample]["joints"], fields["joints"], atol=1e-4)
        np.testing.assert_allclose(both[sample]["rewards"], fields["rewards"], atol=1e-4)


def test_torchrun_on_one_machine(fitting):
    run = torchrun("--nproc-per-node=2", f"--master-port={free_port()}")
    launch([*run, *fitting, *TWO, "--trainer.default_root_dir=both"])
    assert global_steps(Path("both")) == {"best.ckpt": 1, "last.ckpt": 1}


@pytest.mark.slow
def test_torchrun_on_two_machines(fitting):
    place = ["--nproc-per-node=1", "--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    options = [*fitting, "--trainer.strategy=ddp", "--trainer.num_nodes=2", "--trainer.default_root_dir=both"]
    launch(*([*torchrun(*place, f"--node-rank={rank}"), *options] for rank in range(2)))
    assert global_steps(Path("both")) == {"best.ckpt": 1, "last.ckpt": 1}
