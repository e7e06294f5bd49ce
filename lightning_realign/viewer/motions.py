"""The motions of a page, read from files, and which of them belong side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_realign.data.formats import read_captions
from lightning_realign.data.synthetic import diagnose
from lightning_realign.errors import DataError
from lightning_realign.files.reading import read_json
from lightning_realign.motion.export import load_joints
from lightning_realign.motion.kinematics import is_finite_motion
from lightning_realign.motion.predictions import read_prediction
from lightning_realign.motion.skeleton.skeleton import Skeleton

REAL, UNGUIDED, GUIDED = "real", "unguided", "guided"
_ORDER = (REAL, UNGUIDED, GUIDED)
_SUFFIXES = (".npz", ".npy")


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a motion in a few words, and whether that is good; None where it is neither."""

    text: str
    right: bool | None = None


@dataclass(frozen=True)
class ViewedMotion:
    """One motion of a page.

    name: its id; motions of one id belong side by side. metres: joints [T, J, 3]. system: what made it, such as
    `guided`; may be empty. caption: may be empty. rewards: [S], NaN at a step without guidance; may be empty. trace:
    the clean motions [T, J, 3] in metres that were predicted at each step; may be empty.
    """

    name: str
    metres: NDArray[Any]
    skeleton: Skeleton
    fps: float
    system: str = ""
    caption: str = ""
    verdict: Verdict | None = None
    rewards: Sequence[float] = ()
    trace: Sequence[NDArray[Any]] = ()


@dataclass(frozen=True)
class ReadMotions:
    """Motions that can be shown, and the files that cannot since they hold NaN or infinity."""

    motions: tuple[ViewedMotion, ...]
    left_out: tuple[Path, ...]


def motion_files(places: Sequence[Path]) -> list[Path]:
    """The .npz and .npy files among `places` and in the folders among them, each once.

    Of a folder that has none, those in the folders in it count (`unguided`, `guided`).

    Raises:
        DataError: a place that is not there, or a folder without motions.
    """
    files: dict[Path, Path] = {}
    for place in places:
        found = list(_files_of(place)) if place.is_dir() else [place]
        if not found:
            raise DataError(
                f"{place}: no .npz or .npy file in the folder or the folders in it; give a folder of motions"
            )
        files |= {file.resolve(): file for file in found}
    return list(files.values())


def _files_of(folder: Path) -> Iterator[Path]:
    inside = sorted(folder.iterdir())
    here = [path for path in inside if path.suffix in _SUFFIXES]
    yield from here or (path for place in inside if place.is_dir() for path in _sorted_motions(place))


def _sorted_motions(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)


def read_motions(files: Sequence[Path], data: Path | None = None) -> ReadMotions:
    """Read the motions of files.

    A prediction's system is the name of its folder, where that is `unguided`, `guided` or `real`, or where the files
    lie in several folders. The system of a motion of a data set is `real`.

    Args:
        files: predictions (.npz), or arrays (.npy) of features or joints.
        data: the folder of a data set whose oracle judges the motions by its `attributes.json`.

    Raises:
        DataError: a file that cannot be used, no motion that can be shown, or a data set without an oracle.
    """
    attributes = {} if data is None else read_json(data / "attributes.json", "the oracle's attributes file")
    several = len({file.resolve().parent for file in files}) > 1
    motions, left_out = [], []
    for file in files:
        motion = _read(file, several, attributes)
        if motion is None:
            left_out.append(file)
        else:
            motions.append(motion)
    if not motions:
        raise DataError(f"{files[0]}: the joints are NaN or infinite; no motion is left to show, check how it was made")
    return ReadMotions(tuple(motions), tuple(left_out))


def _read(file: Path, several: bool, attributes: dict[str, Any]) -> ViewedMotion | None:
    """The motion of a file; None if it is not finite."""
    folder, captions = file.resolve().parent, _captions_of(file)
    system = folder.name if folder.name in _ORDER or several else ""
    caption, rewards = "", np.empty(0)
    trace: Sequence[NDArray[Any]] = ()
    if file.suffix == ".npz":
        read = read_prediction(file)
        joints, skeleton, fps = read.joints, read.skeleton, read.fps
        caption, rewards = read.text or "", read.rewards.reshape(-1)
        trace = () if read.trace is None else list(read.trace)
    else:
        joints, skeleton, fps = load_joints(file)
        if captions:
            system, caption = REAL, captions[0]
    if joints.ndim != 3 or not len(joints) or joints.shape[1:] != (skeleton.num_joints, 3):
        expected = f"[T, {skeleton.num_joints}, 3] of skeleton {skeleton.name!r}"
        raise DataError(f"{file}: joints have shape {joints.shape}, not {expected}; write the file again")
    if not is_finite_motion(torch.from_numpy(np.asarray(joints, dtype=np.float64))):
        return None
    steps = [step * skeleton.metres_per_unit for step in trace if np.isfinite(step).all()]
    return ViewedMotion(
        file.stem,
        joints * skeleton.metres_per_unit,
        skeleton,
        fps,
        system,
        caption,
        _oracle(file.stem, joints, skeleton, attributes),
        rewards.tolist(),
        steps if len(steps) == len(trace) else (),
    )


def _captions_of(file: Path) -> list[str]:
    """The captions of a data set's motion; none for other files."""
    captions = file.resolve().parent.parent / "texts" / f"{file.stem}.txt"
    return [caption.text for caption in read_captions(captions)] if captions.is_file() else []


def _oracle(name: str, joints: NDArray[Any], skeleton: Skeleton, attributes: dict[str, Any]) -> Verdict | None:
    """What the oracle says; None where the data set has no attributes of this sample."""
    asked = attributes.get(name, attributes.get(name.rpartition("_r")[0]))
    if asked is None:
        return None
    wrong = diagnose(torch.from_numpy(joints), skeleton, asked)
    return Verdict(wrong or "does what was asked", wrong is None)


def groups(motions: Sequence[ViewedMotion]) -> list[list[int]]:
    """The places of motions by id, in the order of the first: real ones, unguided, guided, and others as they come."""
    found: dict[str, list[int]] = {}
    for place, motion in enumerate(motions):
        found.setdefault(motion.name, []).append(place)
    rank = {system: place for place, system in enumerate(_ORDER)}
    return [sorted(places, key=lambda place: rank.get(motions[place].system, len(rank))) for places in found.values()]
