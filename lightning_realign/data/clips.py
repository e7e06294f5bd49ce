"""The motions that a split lists, with all captions of their files, read from the data set's own files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_realign.data.formats import (
    MOTION_FOLDER,
    TEXT_FOLDER,
    Caption,
    load_motion,
    read_captions,
    read_quarantine,
    read_split,
)
from lightning_realign.errors import DataError


@dataclass(frozen=True)
class Clip:
    """A motion [T, D] (float32, in the data set's units) and captions that describe it.

    whole: whether all captions are known to describe the whole motion, so that none has to be read to find out.
    """

    id: str
    motion: NDArray[np.float32]
    captions: Sequence[Caption]
    whole: bool = False

    def part(self, name: str, captions: Sequence[Caption], frames: slice = slice(None)) -> Clip:
        """A clip of some of the frames, or of all with other captions."""
        return Clip(name, self.motion[frames], captions)


@dataclass(frozen=True)
class LeftOut:
    """A listed motion, or a part of one, that is not used. kind: missing, unreadable, too short, too long, ..."""

    id: str
    kind: str
    reason: str


def read_clips(root: Path, name: str, num_features: int, lengths: range | None = None) -> Iterator[Clip | LeftOut]:
    """Read the motions and captions that `<name>.txt` lists, in its order; unusable ones come as `LeftOut`.

    Args:
        root: the data set's folder.
        name: the split.
        num_features: D.
        lengths: the captions of motions of other lengths are not read; None reads all.

    Raises:
        DataError: a folder or the list is missing or empty, or a caption line is malformed.
    """
    names = read_split(root / f"{name}.txt")
    for folder in (MOTION_FOLDER, TEXT_FOLDER):
        if not (root / folder).is_dir():
            raise DataError(f"{root / folder} is not a folder; a data set has {MOTION_FOLDER}/ and {TEXT_FOLDER}/")
    quarantine = read_quarantine(root)
    for motion_id in names:
        if motion_id in quarantine:
            yield LeftOut(motion_id, "quarantined", quarantine[motion_id])
        else:
            yield _read_clip(root, motion_id, num_features, lengths)


def _read_clip(root: Path, motion_id: str, num_features: int, lengths: range | None) -> Clip | LeftOut:
    motion_path = root / MOTION_FOLDER / f"{motion_id}.npy"
    text_path = root / TEXT_FOLDER / f"{motion_id}.txt"
    for path in (motion_path, text_path):
        if not path.is_file():
            return LeftOut(motion_id, "missing", f"{path} is missing")
    try:
        motion = load_motion(motion_path, num_features)
    except DataError as error:
        return LeftOut(motion_id, "unreadable", str(error))
    wanted = lengths is None or len(motion) in lengths
    return Clip(motion_id, motion, tuple(read_captions(text_path)) if wanted else ())
