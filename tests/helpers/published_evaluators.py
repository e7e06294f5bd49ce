"""The files of a published evaluator, with random weights and a few words, in the published formats."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lightning_realign.models import MotionTextEvaluator
from lightning_realign.motion import load_skeleton

WORDS = ("sos", "eos", "unk", "a", "person", "walk", "slowly", "left", "man", "to", "the", "wave")
ENCODERS = ("movement_encoder", "motion_encoder", "text_encoder")


@dataclass(frozen=True)
class Published:
    """Where the files are, and the network whose weights they hold."""

    path: Path
    statistics: Path
    glove: Path
    network: MotionTextEvaluator
    mean: np.ndarray
    std: np.ndarray
    table: np.ndarray


def write_glove(folder: Path, words=WORDS, seed: int = 0) -> np.ndarray:
    """The three files; rows are shuffled, so that the index matters. Returns the vectors [V, 300] in words' order."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(words))
    data = random.standard_normal((len(words), 300))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "our_vab_data.npy", data)
    rows = {word: int(row) for word, row in zip(words, order, strict=True)}
    (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(list(words)))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps(rows))
    return data[order]


def write_published(folder: Path, skeleton: str = "humanml3d", seed: int = 0) -> Published:
    """`finest.tar` as the published training saves it, its statistics, and the word vectors."""
    torch.manual_seed(seed)
    features = load_skeleton(skeleton).num_features
    network = MotionTextEvaluator(features, len(WORDS)).eval()
    kind, meta = ("t2m", "Comp_v6_KLD01") if skeleton == "humanml3d" else ("kit", "Comp_v6_KLD005")
    path = folder / kind / "text_mot_match" / "model" / "finest.tar"
    path.parent.mkdir(parents=True)
    content = {name: getattr(network, name).state_dict() for name in ENCODERS}
    for name in ("text", "motion"):
        trained = getattr(network, f"{name}_encoder")
        content[f"opt_{name}_encoder"] = torch.optim.Adam(trained.parameters()).state_dict()
    torch.save({**content, "epoch": 215, "iter": 91234}, path)
    random = np.random.default_rng(seed)
    mean, std = random.standard_normal(features) * 0.1, random.uniform(0.5, 1.5, features)
    std[:4] /= 25
    std[-4:] = 0.014
    statistics = folder / kind / meta / "meta"
    statistics.mkdir(parents=True)
    np.save(statistics / "mean.npy", mean)
    np.save(statistics / "std.npy", std)
    return Published(path, statistics, folder / "glove", network, mean, std, write_glove(folder / "glove"))
