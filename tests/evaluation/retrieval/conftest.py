"""A tiny data set, and a tiny system of each kind for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.checkpoints.evaluator import evaluator_spec
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.evaluation.judges import load_evaluator
from lightning_realign.models import EvaluatorArchitecture, MotionTextEvaluator
from lightning_realign.text.word_vectors import Vocabulary
from tests.helpers.support import write_tiny_dataset
from tests.helpers.tiny_models import dataset_normaliser, use_hashed_text, write_reward

COUNT = 41


def write_evaluator(path: Path, root: Path, skeleton: str = "humanml3d") -> Path:
    """A random evaluator of Guo et al.'s architecture that knows a few words."""
    torch.manual_seed(5)
    normaliser = dataset_normaliser(root, skeleton)
    vocabulary = Vocabulary.of({"a": ("a/DET", "person/NOUN", "walks/VERB", "turns/VERB", "left/ADV", "slowly/ADV")}, 1)
    size = len(normaliser.mean)
    network = MotionTextEvaluator(size, len(vocabulary), **vars(EvaluatorArchitecture(16, 24, 24, 24, 16, 32)))
    parts = {"network": network, "normaliser": normaliser}
    state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    spec = evaluator_spec(network, vocabulary, "plain", skeleton=skeleton, fingerprint="tiny")
    torch.save({"state_dict": state, SPEC_KEY: spec}, path)
    return path


def embedded(kind: str, path: Path, root: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, text and motion embeddings of the test split, one sample at a time and without any RetrievalSystem."""
    data = HumanML3DDataModule(root, batch_size=1)
    data.setup("test")
    evaluator = load_evaluator(kind, path)
    evaluator.prepare(data.caption_tokens("test"))
    ids, text, motion = [], [], []
    for batch in data.test_dataloader():
        ids += batch.ids
        text.append(evaluator.embed_text(batch.captions)[0].numpy())
        motion.append(evaluator.embed_motion(batch.motion, batch.lengths)[0].numpy())
    return ids, np.stack(text), np.stack(motion)


@dataclass(frozen=True)
class Bench:
    """Paths: the data set, the systems by kind, the cache of text features."""

    data: Path
    systems: dict[str, Path]
    cache: Path


@pytest.fixture(scope="session")
def _retrieval_bench(tmp_path_factory) -> Bench:
    folder = tmp_path_factory.mktemp("retrieval")
    data = write_tiny_dataset(folder / "data", train=10, val=4, test=COUNT)
    reward = write_reward(folder / "reward.ckpt", dataset_normaliser(data, "humanml3d"))
    systems = {"tmr": reward, "guo": write_evaluator(folder / "evaluator.ckpt", data)}
    return Bench(data, systems | {"embeddings": folder / "embeddings.npz"}, folder / "cache")


@pytest.fixture
def bench(_retrieval_bench, monkeypatch) -> Bench:
    use_hashed_text(monkeypatch, _retrieval_bench.cache)
    exported = _retrieval_bench.systems["embeddings"]
    if not exported.exists():
        ids, text, motion = embedded("tmr", _retrieval_bench.systems["tmr"], _retrieval_bench.data)
        np.savez(exported, ids=np.array(ids), text=text, motion=motion)
    return _retrieval_bench
