"""A motion to be drawn: what a prediction file holds, in metres and standing on the floor."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import Skeleton, skeleton_of_reference
from lightning_realign.motion.skeleton.joint_names import Side, joint_side

_REQUIRED = ("joints", "text", "fps", "skeleton")


@dataclass(frozen=True)
class Clip:
    """A motion of T frames.

    joints: [T, J, 3] in metres, y up, the lowest point at y = 0. bones: pairs (parent, child). sides: per bone the side
    of the body it belongs to. head: the joint drawn as a head, or -1. text: the caption. title: what the panel is
    called. fps: frames per second.
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


def read_fields(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a prediction file, without unpickling anything.

    Raises:
        DataError: the file is missing, is no .npz archive, or lacks a field that every prediction has.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            fields = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"{path}: the prediction file is missing; check the path") from None
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile):
        raise DataError(f"{path}: not a readable .npz archive; give a file written by predict or generate") from None
    missing = [name for name in _REQUIRED if name not in fields]
    if missing:
        raise DataError(f"{path}: field {missing[0]!r} is missing; give a file written by predict or generate")
    return fields


def _checked_joints(path: Path, joints: NDArray[Any], skeleton: Skeleton) -> NDArray[np.float64]:
    """The joints in metres, standing on y = 0."""
    if joints.ndim != 3 or joints.shape[1:] != (skeleton.num_joints, 3) or len(joints) == 0:
        raise DataError(
            f"{path}: field 'joints' has shape {list(joints.shape)}, expected [T, {skeleton.num_joints}, 3] "
            f"for skeleton {skeleton.name!r}; generate the file again"
        )
    if not np.issubdtype(joints.dtype, np.number) or not np.isfinite(joints).all():
        raise DataError(f"{path}: field 'joints' has non-finite values; generate the file again")
    metres = joints.astype(np.float64) / (1000.0 if skeleton.unit == "millimetre" else 1.0)
    metres[..., 1] -= metres[..., 1].min()
    return metres


def load_clip(path: Path, title: str) -> Clip:
    """Read a prediction file.

    Raises:
        DataError: the file or one of its fields cannot be used.
    """
    fields = read_fields(path)
    try:
        skeleton = skeleton_of_reference(str(fields["skeleton"]))
    except ConfigError as error:
        raise DataError(f"{path}: field 'skeleton': {error}") from None
    fps = float(fields["fps"]) if fields["fps"].size == 1 else float("nan")
    if not (np.isfinite(fps) and fps > 0):
        raise DataError(
            f"{path}: field 'fps' is {fields['fps']}, expected one positive number; generate the file again"
        )
    bones = tuple((parent, child) for child, parent in enumerate(skeleton.parents) if parent >= 0)
    return Clip(
        joints=_checked_joints(path, fields["joints"], skeleton),
        bones=bones,
        sides=tuple(joint_side(skeleton.joints[child]) for _, child in bones),
        head=next((index for index, joint in enumerate(skeleton.joints) if joint.lower() == "head"), -1),
        text=str(fields["text"]),
        title=title,
        fps=fps,
    )


def default_titles(files: Sequence[Path]) -> list[str]:
    """The files' stems; with the folder in front where two stems are the same."""
    stems = [file.stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{file.resolve().parent.name}/{file.stem}" for file in files]


def load_clips(files: Sequence[Path], titles: Sequence[str] | None = None) -> list[Clip]:
    """Read several prediction files.

    Raises:
        ConfigError: no file, or another number of titles than of files.
        DataError: a file cannot be used.
    """
    if not files:
        raise ConfigError("files: none given to draw; name at least one .npz file")
    if titles is not None and len(titles) != len(files):
        raise ConfigError(f"titles: {len(titles)} given for {len(files)} files; give one title per file, or none")
    names = default_titles(files) if titles is None else titles
    return [load_clip(file, title) for file, title in zip(files, names, strict=True)]
