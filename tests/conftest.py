"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory):
    """Text features and indexes computed by tests go to a folder of their own."""
    os.environ["REALIGN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["WANDB_MODE"] = "offline"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real test data; users don't have it, so tests that need it skip."""
    folder = os.environ.get("REALIGN_TEST_DATA")
    if not folder:
        pytest.skip("REALIGN_TEST_DATA is not set: the real motion capture for tests is not here")
    return Path(folder).resolve()
