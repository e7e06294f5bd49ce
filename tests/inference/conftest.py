"""A tiny data set with attributes, and the checkpoints of a tiny generator and reward model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from lightning_realign.files.atomic import write_text_atomic
from tests.helpers.support import write_tiny_dataset
from tests.helpers.tiny_models import dataset_normaliser, use_hashed_text, write_generator, write_reward

STAND = {"actions": [{"family": "stand"}]}


@dataclass(frozen=True)
class Bench:
    """Paths: the data set, the two checkpoints, the cache."""

    data: Path
    generator: str
    reward: str
    cache: Path


@pytest.fixture(scope="session")
def _bench(tmp_path_factory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    data = write_tiny_dataset(folder / "data", train=10, val=4, test=7)
    ids = [f"{number:06d}" for number in range(10 + 4 + 7)]
    write_text_atomic(data / "attributes.json", json.dumps(dict.fromkeys(ids, STAND)))
    normaliser = dataset_normaliser(data, "humanml3d")
    generator = write_generator(folder / "generator.ckpt", normaliser)
    reward = write_reward(folder / "reward.ckpt", normaliser)
    return Bench(data, str(generator), str(reward), folder / "cache")


@pytest.fixture
def bench(_bench, monkeypatch) -> Bench:
    use_hashed_text(monkeypatch, _bench.cache)
    return _bench
