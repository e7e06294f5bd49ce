"""Motions with their captions in memory: reading a split, cropping, and padding to batches."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from lightning_realign.data.formats import (
    MOTION_FOLDER,
    TEXT_FOLDER,
    Caption,
    Metadata,
    load_motion,
    read_captions,
    read_split,
)
from lightning_realign.errors import DataError
from lightning_realign.types import MotionTextBatch

logger = logging.getLogger(__name__)

# Crops are whole multiples of this, as the published loaders have them (the evaluator's encoder halves time twice).
CROP_UNIT = 4
# One crop in three is a unit shorter ("double" among single, single, double in the published loaders).
SHORTER_PROBABILITY = 1 / 3


@dataclass(frozen=True)
class Entry:
    """One motion [L, D] (float32, the data set's units) and the captions that describe it."""

    id: str
    motion: NDArray[np.float32]
    captions: tuple[Caption, ...]


@dataclass(frozen=True)
class LeftOut:
    """A listed motion, or a sub-caption of it, that is not used. kind: missing, unreadable, too short, too long, ..."""

    id: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Split:
    """The usable entries of a split, and what was left out."""

    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Sample:
    """One drawn motion [T, D] and caption; attributes as in `MotionTextBatch`."""

    id: str
    motion: NDArray[np.float32]
    caption: str
    attributes: Mapping[str, Any] | None


def load_split(root: Path, name: str, metadata: Metadata, num_features: int) -> Split:
    """Read the motions and captions that `<name>.txt` lists.

    Motions that are missing, unreadable, not [T, num_features], not finite, or outside
    `metadata.min_length <= T < metadata.max_length` are left out, counted in one warning and listed at debug level.
    A caption with start/end tags becomes an entry of its own, cropped to them and held to the same limits, named
    `<letter>_<id>` as in the published loaders (there the letter is random; here it counts).

    Raises:
        DataError: if a folder or the list is missing or empty, a caption line is malformed, or nothing is usable.
    """
    names = read_split(root / f"{name}.txt")
    for folder in (MOTION_FOLDER, TEXT_FOLDER):
        if not (root / folder).is_dir():
            raise DataError(f"{root / folder} is not a folder; a data set has {MOTION_FOLDER}/ and {TEXT_FOLDER}/")
    entries: list[Entry] = []
    left_out: list[LeftOut] = []
    for motion_id in names:
        for item in _read_entries(root, motion_id, metadata, num_features):
            if isinstance(item, Entry):
                entries.append(item)
            else:
                left_out.append(item)
    _report(root / f"{name}.txt", len(names), entries, left_out)
    return Split(tuple(entries), tuple(left_out))


def _read_entries(root: Path, motion_id: str, metadata: Metadata, num_features: int) -> Iterator[Entry | LeftOut]:
    """The entries of one listed id, or the reasons why there are none."""
    motion_path = root / MOTION_FOLDER / f"{motion_id}.npy"
    text_path = root / TEXT_FOLDER / f"{motion_id}.txt"
    for path in (motion_path, text_path):
        if not path.is_file():
            yield LeftOut(motion_id, "missing", f"{path} is missing")
            return
    try:
        motion = load_motion(motion_path, num_features)
    except DataError as error:
        yield LeftOut(motion_id, "unreadable", str(error))
        return
    # The published loaders hold the whole motion to the limits before they cut sub-captions out of it.
    if problem := _length_problem(motion_id, len(motion), metadata):
        yield problem
        return
    captions = read_captions(text_path)
    if not captions:
        yield LeftOut(motion_id, "without captions", f"{text_path} has no captions")
    whole = tuple(caption for caption in captions if caption.is_whole)
    if whole:
        yield Entry(motion_id, motion, whole)
    parts = [caption for caption in captions if not caption.is_whole]
    for number, caption in enumerate(parts):
        part_id = f"{_letters(number)}_{motion_id}"
        part = motion[int(caption.start * metadata.tag_fps) : int(caption.end * metadata.tag_fps)]
        yield _length_problem(part_id, len(part), metadata) or Entry(part_id, part, (caption,))


def _letters(number: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    letters = ""
    while number >= 0:
        number, letter = divmod(number, 26)
        letters = chr(ord("A") + letter) + letters
        number -= 1
    return letters


def _length_problem(motion_id: str, length: int, metadata: Metadata) -> LeftOut | None:
    if length < metadata.min_length:
        return LeftOut(motion_id, "too short", f"{length} frames, the minimum is {metadata.min_length}")
    if length >= metadata.max_length:
        return LeftOut(motion_id, "too long", f"{length} frames, the limit is below {metadata.max_length}")
    return None


def _report(path: Path, listed: int, entries: Sequence[Entry], left_out: Sequence[LeftOut]) -> None:
    if not left_out:
        return
    counts = ", ".join(f"{count} {kind}" for kind, count in Counter(item.kind for item in left_out).most_common())
    first = f"{left_out[0].id}: {left_out[0].reason}"
    if not entries:
        raise DataError(f"{path}: none of {listed} listed motions can be used ({counts}); first, {first}")
    logger.warning("%s: %d of %d listed motions left out (%s); first, %s", path, len(left_out), listed, counts, first)
    for item in left_out:
        logger.debug("%s: left out %s (%s): %s", path, item.id, item.kind, item.reason)


def training_crop(length: int, max_frames: int, random: np.random.Generator) -> tuple[int, int]:
    """Start and number of frames of a random crop of a motion of `length` frames.

    The crop has (L // 4) * 4 frames, or a unit of 4 less in one case of three, and starts anywhere it fits.
    """
    units = length // CROP_UNIT
    if units > 1 and random.random() < SHORTER_PROBABILITY:
        units -= 1
    frames = min(units * CROP_UNIT, max_frames)
    return int(random.integers(0, length - frames + 1)), frames


def fixed_crop(length: int, max_frames: int) -> tuple[int, int]:
    """Start and number of frames of the evaluation crop: the first (L // 4) * 4 frames."""
    return 0, min(length // CROP_UNIT * CROP_UNIT, max_frames)


class MotionTextDataset(Dataset[Sample]):
    """Draws samples from entries.

    A training item depends on (seed, epoch, index) alone, never on workers or on what was drawn before, so that a
    resumed run sees what an uninterrupted one would have seen.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        training: bool,
        max_frames: int,
        seed: int = 0,
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Samples of `entries`.

        Args:
            entries: the motions.
            training: random captions and crops; otherwise the first caption and the fixed crop.
            max_frames: the most frames of a crop.
            seed: of captions and crops.
            attributes: by entry id; ids without any get None.
        """
        self.entries = entries
        self.training = training
        self.max_frames = max_frames
        self.seed = seed
        self.attributes = attributes or {}

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """The sample of an index, or of (epoch, index); the epoch matters in training only."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        entry = self.entries[index]
        if self.training:
            random = np.random.default_rng((self.seed, epoch, index))
            caption = entry.captions[int(random.integers(len(entry.captions)))]
            start, frames = training_crop(len(entry.motion), self.max_frames, random)
        else:
            caption = entry.captions[0]
            start, frames = fixed_crop(len(entry.motion), self.max_frames)
        return Sample(entry.id, entry.motion[start : start + frames], caption.text, self.attributes.get(entry.id))


def collate(samples: Sequence[Sample]) -> MotionTextBatch:
    """Stack samples to a batch, zero-padded to its longest motion."""
    lengths = [len(sample.motion) for sample in samples]
    motion = torch.zeros(len(samples), max(lengths), samples[0].motion.shape[1])
    for row, sample in enumerate(samples):
        motion[row, : lengths[row]] = torch.from_numpy(sample.motion)
    return MotionTextBatch(
        motion=motion,
        lengths=torch.tensor(lengths, dtype=torch.int64),
        ids=tuple(sample.id for sample in samples),
        captions=tuple(sample.caption for sample in samples),
        attributes=tuple(sample.attributes for sample in samples),
    )
