"""HumanML3D's augmentation: every motion also has its mirror image `M<id>`, with swapped sides in the captions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_realign.data.build.sources import MotionSource
from lightning_realign.errors import DataError
from lightning_realign.motion.mirror import mirror_joints, mirror_partners

PREFIX = "M"

_SIDE_WORDS = {"left": "right", "lefts": "rights"}
for _ending in ("ward", "wards", "hand", "hander", "handed", "handedly", "foot", "footed", "most", "side", "y", "ies"):
    _SIDE_WORDS[f"left{_ending}"] = f"right{_ending}"
_SWAPPED = {**_SIDE_WORDS, **{right: left for left, right in _SIDE_WORDS.items()}}
# Frequent misspellings; their mirror images are spelt right.
_SWAPPED.update(dict.fromkeys(("rigth", "rigt", "rihgt"), "left"), **dict.fromkeys(("letf", "lefft", "leftt"), "right"))

# What stands between two words: blanks or hyphens in a caption, and in tokens also the part of speech.
_GAP = r"(?:/[A-Z]+)?[ \t-]+"
_SIDES = re.compile(
    # Idioms in which `right` is no side. The same idioms with `left` stay, too, so that mirroring twice changes nothing.
    rf"(?P<idiom>\ball{_GAP}(?:left|right)\b|\b(?:left|right){_GAP}(?:away|angles?|angled|triangles?)\b)"
    rf"|(?P<counter>\b(?:counter|anti)(?:{_GAP})?clock(?:{_GAP})?wise)\b"
    rf"|(?P<clock>\bclock(?:{_GAP})?wise)\b"
    rf"|\b(?P<side>{'|'.join(sorted(_SWAPPED, key=len, reverse=True))})\b",
    re.IGNORECASE,
)


def mirror_words(text: str) -> str:
    """Swap the words for left and right, and clockwise and counterclockwise, in captions, tokens or whole lines.

    Only whole words are swapped: "upright" and "leftover" stay, and so do "right away", "right angle" and "all right".
    Case is kept. Mirroring twice gives the original, except that all spellings of "counterclockwise" become this one.

    >>> mirror_words("Turns left, counter-clockwise#turn/VERB left/ADV counterclockwise/ADV#0.0#0.0")
    'Turns right, clockwise#turn/VERB right/ADV clockwise/ADV#0.0#0.0'
    """
    return _SIDES.sub(_swap, text)


def _swap(match: re.Match[str]) -> str:
    word = match[0]
    if match["idiom"]:
        return word
    turned = "clockwise" if match["counter"] else "counterclockwise"
    swapped = _SWAPPED[word.lower()] if match["side"] else turned
    if word.isupper() and len(word) > 1:
        return swapped.upper()
    return swapped.capitalize() if word[0].isupper() else swapped


class MirroredSource:
    """A source of motions and their mirror images, which are in the same split as their originals.

    Args:
        source: the motions.

    Raises:
        ConfigError: the skeleton's joints are not in left and right pairs.
        DataError: the source has mirror images already.
    """

    def __init__(self, source: MotionSource) -> None:
        mirror_partners(source.skeleton)
        self._source = source
        self.where = source.where
        self.skeleton = source.skeleton
        self.labels = source.labels
        self.lines = source.lines
        note = f"{PREFIX}<id> is the mirror image of <id>: joints and captions with left and right swapped"
        self.metadata = replace(source.metadata, extra={**source.metadata.extra, "mirrored": note})
        listed = {motion_id for ids in source.splits.values() for motion_id in ids}
        self._original = {f"{PREFIX}{motion_id}": motion_id for motion_id in sorted(listed)}
        if twice := sorted(listed & self._original.keys()):
            raise DataError(
                f"{source.where}: {twice[0]!r} is there beside {self._original[twice[0]]!r}, so the motions are "
                "mirrored already; leave --mirror out, or rename it"
            )
        # Each image comes after its original, which is then still in memory.
        self.splits: Mapping[str, Sequence[str]] = {
            split: [name for motion_id in ids for name in (motion_id, f"{PREFIX}{motion_id}")]
            for split, ids in source.splits.items()
        }
        self._last: tuple[str, Path, NDArray[Any]] | None = None

    @property
    def pos_tagger(self) -> str:
        """The source's."""
        return self._source.pos_tagger

    def captions(self, motion_id: str) -> bytes:
        """The motion's caption file, or its original's with the sides swapped."""
        original = self._original.get(motion_id)
        if original is None:
            return self._source.captions(motion_id)
        return mirror_words(self._source.captions(original).decode("utf-8-sig")).encode()

    def joints(self, motion_id: str) -> tuple[Path, NDArray[Any]]:
        """The motion's file, and the motion or the mirror image of its original."""
        original = self._original.get(motion_id, motion_id)
        if self._last is None or self._last[0] != original:
            self._last = (original, *self._source.joints(original))
        _, path, joints = self._last
        shape = (self.skeleton.num_joints, 3)
        # An array of another shape is returned as it is, so that the build refuses it as it refuses the original.
        if motion_id == original or joints.ndim != 3 or joints.shape[1:] != shape:
            return path, joints
        return path, mirror_joints(torch.from_numpy(joints.astype(np.float64)), self.skeleton).numpy()

    def surplus(self) -> Mapping[str, str]:
        """The source's, without the images that are made here."""
        return {name: why for name, why in self._source.surplus().items() if name not in self._original}

    def files(self) -> Iterable[Path]:
        """The source's."""
        return self._source.files()
