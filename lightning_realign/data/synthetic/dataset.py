"""Writing the synthetic data set in HumanML3D's layout, with the true attributes of every motion."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lightning_realign.data.synthetic.body import load_body, to_joints
from lightning_realign.data.synthetic.captions import caption_lines
from lightning_realign.data.synthetic.grammar import SPLITS, Action, draw_actions, to_attributes
from lightning_realign.data.synthetic.moves import perform
from lightning_realign.data.synthetic.tracks import Array
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.files.atomic import atomic_folder, save_array_atomic, write_lines_atomic, write_text_atomic
from lightning_realign.motion import Skeleton, extract_features, load_skeleton, recover_joints
from lightning_realign.motion.normaliser import feature_statistics

# A motion of L frames is used if min_length <= L < MAX_LENGTH, as for the published sets.
MAX_LENGTH = 200


@dataclass(frozen=True)
class SyntheticMotion:
    """A motion and what is true of it. joints: [T, J, 3] in the skeleton's unit. captions: lines of a caption file."""

    joints: Array
    actions: tuple[Action, ...]
    captions: list[str]


def make_motion(skeleton: Skeleton, seed: int, split: str, index: int) -> SyntheticMotion:
    """Motion `index` of a split. It depends on the arguments alone."""
    rng = np.random.default_rng((seed, SPLITS.index(split), index, 7))
    actions = draw_actions(seed, split, index)
    joints = to_joints(perform(actions, skeleton.fps, rng), load_body(skeleton.name), skeleton.fps)
    return SyntheticMotion(joints, actions, caption_lines(actions, rng, 4))


def features_of(motions: list[SyntheticMotion], skeleton: Skeleton) -> Iterable[tuple[list[int], NDArray[np.float32]]]:
    """The features of motions, in one batch for each length: the motions' indices and their features [B, T-1, D]."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, motion in enumerate(motions):
        by_length[len(motion.joints)].append(index)
    for length in sorted(by_length):
        indices = by_length[length]
        joints = torch.from_numpy(np.stack([motions[index].joints for index in indices]).astype(np.float32))
        yield indices, extract_features(joints, skeleton, uniform=False).numpy()


def _write_motions(
    folder: Path, ids: list[str], motions: list[SyntheticMotion], skeleton: Skeleton, bar: tqdm[NoReturn]
) -> None:
    for name in ("new_joint_vecs", "new_joints", "texts"):
        (folder / name).mkdir()
    for indices, features in features_of(motions, skeleton):
        joints = recover_joints(torch.from_numpy(features), skeleton).numpy()
        for row, index in enumerate(indices):
            save_array_atomic(folder / "new_joint_vecs" / f"{ids[index]}.npy", features[row])
            save_array_atomic(folder / "new_joints" / f"{ids[index]}.npy", joints[row])
            write_lines_atomic(folder / "texts" / f"{ids[index]}.txt", motions[index].captions)
        bar.update(len(indices))


def _write_lists(folder: Path, splits: dict[str, list[str]], skeleton: Skeleton, seed: int) -> None:
    for split, ids in splits.items():
        write_lines_atomic(folder / f"{split}.txt", ids)
    write_lines_atomic(folder / "all.txt", [identity for ids in splits.values() for identity in ids])
    training = (
        np.load(folder / "new_joint_vecs" / f"{identity}.npy", allow_pickle=False) for identity in splits["train"]
    )
    mean, std = feature_statistics(training, skeleton)
    save_array_atomic(folder / "Mean.npy", np.asarray(mean, dtype=np.float32))
    save_array_atomic(folder / "Std.npy", np.asarray(std, dtype=np.float32))
    metadata = {
        "name": "synthetic",
        "fps": skeleton.fps,
        "skeleton": skeleton.name,
        "unit": skeleton.unit,
        "min_length": skeleton.min_length,
        "max_length": MAX_LENGTH,
        "seed": seed,
        "source": "lightning_realign.data.synthetic",
    }
    write_text_atomic(folder / "metadata.json", json.dumps(metadata, indent=2) + "\n")


def _make(folder: Path, skeleton: Skeleton, counts: dict[str, int], seed: int, progress: bool) -> None:
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    ids = [f"{number:06d}" for number in range(len(jobs))]
    with tqdm(total=2 * len(jobs), desc=f"synthetic {skeleton.name}", unit="step", disable=not progress) as bar:
        motions = []
        for split, index in jobs:
            motions.append(make_motion(skeleton, seed, split, index))
            bar.update()
        _write_motions(folder, ids, motions, skeleton, bar)
    splits: dict[str, list[str]] = {split: [] for split in counts}
    for identity, (split, _) in zip(ids, jobs, strict=True):
        splits[split].append(identity)
    attributes = {identity: to_attributes(motion.actions) for identity, motion in zip(ids, motions, strict=True)}
    write_text_atomic(folder / "attributes.json", json.dumps(attributes, indent=0) + "\n")
    _write_lists(folder, splits, skeleton, seed)


def make_dataset(
    out: Path,
    skeleton: str = "humanml3d",
    train: int = 1200,
    val: int = 60,
    test: int = 240,
    seed: int = 1234,
    progress: bool = True,
) -> None:
    """Make a synthetic data set in the folder `out`, which appears complete or not at all.

    The files depend on the arguments alone, byte for byte. `out` gets HumanML3D's layout (new_joint_vecs, new_joints,
    texts, split lists, Mean.npy, Std.npy), metadata.json, and attributes.json: id -> {"actions": [...]}.

    Args:
        out: the folder to make; it must not exist yet, or be empty.
        skeleton: "humanml3d" (263-d, 20 fps, metres) or "kit" (251-d, 12.5 fps, millimetres).
        train: number of training motions.
        val: number of validation motions.
        test: number of test motions.
        seed: seed of all random choices.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: a split is empty, the seed is negative, or the skeleton is unknown.
        DataError: `out` is already there.
    """
    counts = {"train": train, "val": val, "test": test}
    for split, count in counts.items():
        if count < 1:
            raise ConfigError(f"synthetic data set: {split} is {count}; ask for at least 1 motion in every split")
    if seed < 0:
        raise ConfigError(f"synthetic data set: seed is {seed}; use a number from 0 up")
    spec = load_skeleton(skeleton)
    load_body(spec.name)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: it already exists and is not an empty folder; remove it or choose another one")
    with atomic_folder(out) as temporary:
        _make(temporary, spec, counts, seed, progress)
