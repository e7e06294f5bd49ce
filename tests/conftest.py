"""Fixtures shared by all tests."""

import os
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.tiny_models import use_hashed_text


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory):
    """A cache of the tests' own, W&B offline, and one thread: tiny networks gain nothing from more."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
    os.environ["REALIGN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["WANDB_MODE"] = "offline"
    # W&B redirects the console of its process, and those callbacks outlive a run that a test ends early.
    os.environ["WANDB_CONSOLE"] = "off"


@pytest.fixture(autouse=True)
def _closed_wandb_run():
    """No test leaves W&B to the next one.

    An open run could then neither be ended nor replaced, and the service takes relative paths from the folder in which
    it was started.
    """
    yield
    wandb = sys.modules.get("wandb")
    if wandb is not None:
        if wandb.run is not None:
            wandb.finish()
        wandb.teardown()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real test data; users don't have it, so tests that need it skip."""
    folder = os.environ.get("REALIGN_TEST_DATA")
    if not folder:
        pytest.skip("REALIGN_TEST_DATA is not set: the real motion capture for tests is not here")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def cli_bench(tmp_path_factory):
    """Tiny data sets and checkpoints for runs of the command line."""
    from tests.helpers.cli_bench import Bench

    return Bench.make(tmp_path_factory.mktemp("cli_bench"))


@pytest.fixture(scope="session")
def hashed_cache(tmp_path_factory) -> Path:
    """Features of `HashedText`, kept apart from those of real encoders."""
    return tmp_path_factory.mktemp("hashed")


@pytest.fixture
def checkout(tmp_path, monkeypatch, hashed_cache) -> Path:
    """The current folder, as a fresh checkout has it; text features come from hashes."""
    from tests.helpers.cli_bench import new_checkout

    for name in ("REALIGN_RUN_DIR", "REALIGN_SWEEP_POINT", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.argv", ["train.py"])
    use_hashed_text(monkeypatch, hashed_cache)
    monkeypatch.chdir(new_checkout(tmp_path))
    return tmp_path
