"""Motions with their captions in memory: reading a split, cropping, and padding to batches."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from lightning_realign.data.clips import Clip, LeftOut, read_clips
from lightning_realign.data.formats import TEXT_FOLDER, Metadata
from lightning_realign.data.packed.packed import has_packed, read_packed
from lightning_realign.errors import DataError
from lightning_realign.types import MotionTextBatch

logger = logging.getLogger(__name__)

# Crops are multiples of this, as in the published loaders (the evaluator's encoder halves time twice).
CROP_UNIT = 4
# One crop in three is a unit shorter ("double" among single, single, double in the published loaders).
SHORTER_PROBABILITY = 1 / 3


@dataclass(frozen=True)
class Split:
    """The usable entries of a split (whole motions and parts of them) and what was left out."""

    entries: tuple[Clip, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Sample:
    """A motion [T, D] of a data set with one caption. attributes: as in `MotionTextBatch`."""

    id: str
    motion: NDArray[np.float32]
    caption: str
    attributes: Mapping[str, Any] | None


def load_split(root: Path, name: str, metadata: Metadata, num_features: int) -> Split:
    """Read the motions and captions that `<name>.txt` lists, from packed files where there are any.

    Motions that are quarantined, missing, unreadable, not [T, num_features], not finite, or outside
    `metadata.min_length <= T < metadata.max_length` are left out, counted in one warning and listed at debug level.
    A caption with start and end tags becomes an entry of its own, cropped to them and with the same limits. Its name is
    `<letter>_<id>`, as in the published loaders (there the letter is random; here it counts).

    Raises:
        DataError: a folder or the list is missing or empty, a caption line is malformed, the packed files are stale or
            damaged, or nothing is usable.
    """
    lengths = range(metadata.min_length, metadata.max_length)
    packed = has_packed(root, name)
    clips = read_packed(root, name, num_features) if packed else read_clips(root, name, num_features, lengths)
    listed = 0
    entries: list[Clip] = []
    left_out: list[LeftOut] = []
    with _no_garbage():
        for clip in clips:
            listed += 1
            if isinstance(clip, Clip) and clip.whole and clip.captions and len(clip.motion) in lengths:
                entries.append(clip)
                continue
            for item in [clip] if isinstance(clip, LeftOut) else _entries(root, clip, metadata):
                if isinstance(item, Clip):
                    entries.append(item)
                else:
                    left_out.append(item)
    _report(root / f"{name}.txt", listed, entries, left_out)
    return Split(tuple(entries), tuple(left_out))


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Pause the collection of garbage. While many objects are made that all stay, it would double the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _entries(root: Path, clip: Clip, metadata: Metadata) -> Iterator[Clip | LeftOut]:
    """The entries of one motion, or the reasons why there are none."""
    # The published loaders apply the limits to the whole motion before they cut parts out of it.
    if problem := _length_problem(clip.id, len(clip.motion), metadata):
        yield problem
        return
    if not clip.captions:
        path = root / TEXT_FOLDER / f"{clip.id}.txt"
        yield LeftOut(clip.id, "without captions", f"{path} has no captions")
        return
    whole = tuple(caption for caption in clip.captions if caption.is_whole)
    if whole:
        yield clip.part(clip.id, whole)
    parts = [caption for caption in clip.captions if not caption.is_whole]
    for number, caption in enumerate(parts):
        part_id = f"{_letters(number)}_{clip.id}"
        frames = slice(int(caption.start * metadata.tag_fps), int(caption.end * metadata.tag_fps))
        part = clip.part(part_id, (caption,), frames)
        yield _length_problem(part_id, len(part.motion), metadata) or part


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


def _report(path: Path, listed: int, entries: Sequence[Clip], left_out: Sequence[LeftOut]) -> None:
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
    """The samples of a split.

    In training, caption and crop are drawn at random. They depend on (seed, epoch, index) alone, never on workers or on
    what was drawn before, so that a resumed run gets the same samples as an uninterrupted one.
    """

    def __init__(
        self,
        entries: Sequence[Clip],
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
            seed: seed of captions and crops.
            attributes: true attributes by entry id; ids without any get None.
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
    # Filled in NumPy, since torch warns of read-only arrays, which packed files are mapped to.
    motion = np.zeros((len(samples), max(lengths), samples[0].motion.shape[1]), dtype=np.float32)
    for row, sample in enumerate(samples):
        motion[row, : lengths[row]] = sample.motion
    return MotionTextBatch(
        motion=torch.from_numpy(motion),
        lengths=torch.tensor(lengths, dtype=torch.int64),
        ids=tuple(sample.id for sample in samples),
        captions=tuple(sample.caption for sample in samples),
        attributes=tuple(sample.attributes for sample in samples),
    )
