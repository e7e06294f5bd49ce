"""Small data sets for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from lightning_realign.data.formats import Caption
from lightning_realign.files.atomic import save_array_atomic, write_lines_atomic, write_text_atomic
from lightning_realign.motion import Skeleton, extract_features, feature_statistics, load_skeleton

_VERBS = ("walks", "runs", "jumps", "turns", "waves", "kicks", "bows", "claps")
_MANNERS = ("slowly", "quickly", "happily", "carefully", "twice", "again")
_PLACES = ("forward", "backward", "left", "right", "around")


def random_joints(skeleton: Skeleton, frames: int, random: np.random.Generator) -> torch.Tensor:
    """A figure [frames, J, 3] in its rest pose that wobbles and wanders smoothly."""
    rest = torch.zeros(skeleton.num_joints, 3, dtype=torch.float64)
    offsets = torch.tensor(skeleton.raw_offsets, dtype=torch.float64)
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            rest[joint] = rest[parent] + offsets[joint] * skeleton.target_lengths[joint]
    height = float(rest[:, 1].max() - rest[:, 1].min())
    wobble = gaussian_filter1d(random.standard_normal((frames, skeleton.num_joints, 3)), 6, axis=0) * 0.1
    wander = gaussian_filter1d(random.standard_normal((frames, 1, 3)), 12, axis=0) * [1.5, 0.05, 1.5]
    return rest + height * torch.from_numpy(wobble + wander)


def random_caption(random: np.random.Generator) -> Caption:
    """A caption of a few words, with tokens, for the whole motion."""
    verb, manner, place = (str(random.choice(words)) for words in (_VERBS, _MANNERS, _PLACES))
    tokens = ("a/DET", "person/NOUN", f"{verb}/VERB", f"{manner}/ADV", f"{place}/ADV")
    return Caption(f"a person {verb} {manner} {place}", tokens)


def write_tiny_dataset(
    root: Path, skeleton: str = "humanml3d", train: int = 24, val: int = 8, test: int = 12, seed: int = 0
) -> Path:
    """Write a data set in HumanML3D's layout: smooth random motions, two captions each, Mean/Std and metadata.json.

    Returns:
        root.
    """
    spec, random = load_skeleton(skeleton), np.random.default_rng(seed)
    motions = []
    numbers = iter(range(train + val + test))
    for split, size in (("train", train), ("val", val), ("test", test)):
        names = [f"{next(numbers):06d}" for _ in range(size)]
        write_lines_atomic(root / f"{split}.txt", names)
        for name in names:
            frames = int(random.integers(spec.min_length, spec.min_length + 40))
            features = extract_features(random_joints(spec, frames + 1, random), spec).float().numpy()
            save_array_atomic(root / "new_joint_vecs" / f"{name}.npy", features)
            write_lines_atomic(root / "texts" / f"{name}.txt", (random_caption(random).line() for _ in range(2)))
            if split == "train":
                motions.append(features)
    mean, std = feature_statistics(motions, spec)
    save_array_atomic(root / "Mean.npy", mean.astype(np.float32))
    save_array_atomic(root / "Std.npy", std.astype(np.float32))
    metadata = {
        "name": "tiny",
        "fps": spec.fps,
        "skeleton": spec.name,
        "min_length": spec.min_length,
        "max_length": 200,
    }
    write_text_atomic(root / "metadata.json", json.dumps(metadata))
    return root
