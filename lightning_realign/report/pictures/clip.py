"""A motion in a picture: what a prediction file holds, in metres and standing on the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion.bvh.pose import check_joints
from lightning_realign.motion.predictions import read_prediction
from lightning_realign.motion.skeleton.joint_names import Side, joint_side


@dataclass(frozen=True)
class ShownMotion:
    """A motion of T frames, ready to be shown.

    joints: [T, J, 3] in metres, y up, the lowest point at y = 0. bones: pairs (parent, child). sides: the side of the
    body of each bone. head: the joint that is shown as a head, or -1. text: the caption. title: the title of its panel.
    fps: frames per second.
    """

    joints: NDArray[np.float64]
    bones: tuple[tuple[int, int], ...]
    sides: tuple[Side, ...]
    head: int
    text: str
    title: str
    fps: float

    @property
    def seconds(self) -> float:
        """The time from the first frame to the last."""
        return (len(self.joints) - 1) / self.fps

    def index(self, time: float) -> int:
        """The frame shown at a time in seconds; the last one stays after the end."""
        return min(int(time * self.fps + 1e-6), len(self.joints) - 1)


def load_clip(path: Path, title: str) -> ShownMotion:
    """Read a prediction file.

    Raises:
        DataError: the file or one of its fields cannot be used, or its joints are NaN or infinite.
    """
    read = read_prediction(path)
    skeleton = read.skeleton
    if read.text is None:
        raise DataError(f"{path}: field 'text' is missing; give a file written by predict or generate")
    check_joints(path, read.joints, skeleton)
    joints = read.joints.astype(np.float64) * skeleton.metres_per_unit
    joints[..., 1] -= joints[..., 1].min()
    bones = tuple((parent, child) for child, parent in enumerate(skeleton.parents) if parent >= 0)
    return ShownMotion(
        joints=joints,
        bones=bones,
        sides=tuple(joint_side(skeleton.joints[child]) for _, child in bones),
        head=next((index for index, joint in enumerate(skeleton.joints) if joint.lower() == "head"), -1),
        text=read.text,
        title=title,
        fps=read.fps,
    )


def default_titles(files: Sequence[Path]) -> list[str]:
    """The files' stems, with the folder in front if two stems are the same."""
    stems = [file.stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{file.resolve().parent.name}/{file.stem}" for file in files]


def load_clips(files: Sequence[Path], titles: Sequence[str] | None = None) -> list[ShownMotion]:
    """Read several prediction files.

    Raises:
        ConfigError: no file, or another number of titles than of files.
        DataError: a file cannot be used.
    """
    if not files:
        raise ConfigError("files: none given; name at least one .npz file")
    if titles is not None and len(titles) != len(files):
        raise ConfigError(f"titles: {len(titles)} given for {len(files)} files; give one title per file, or none")
    names = default_titles(files) if titles is None else titles
    return [load_clip(file, title) for file, title in zip(files, names, strict=True)]
