"""Clips whose motions and captions are in mapped files. A process that gets such a clip copies nothing.

Forked workers share their parent's pages. Spawned ones (macOS, Windows, Python 3.14) get the data set pickled; here,
the pickle holds places in files, not the content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from lightning_realign.data.clips import Clip
from lightning_realign.data.formats import Caption
from lightning_realign.errors import DataError


@dataclass(frozen=True)
class MappedFile:
    """A file mapped for reading: a .npy file as its array, any other file as bytes. Raises what `numpy.load` raises."""

    path: Path
    content: NDArray[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.path.suffix == ".npy":
            mapped = np.load(self.path, mmap_mode="r", allow_pickle=False)
        elif self.path.stat().st_size:
            mapped = np.memmap(self.path, dtype=np.uint8, mode="r")
        else:  # an empty file cannot be mapped
            mapped = np.zeros(0, dtype=np.uint8)
        # As an ordinary array, since slices of NumPy's memmap are several times slower.
        object.__setattr__(self, "content", np.asarray(mapped))

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedFile, (self.path,)


@dataclass(frozen=True)
class MappedClip(Clip):
    """A clip whose motion is `len(motion)` rows of a mapped array, from row `first`."""

    rows: MappedFile = field(kw_only=True)
    first: int = field(kw_only=True)

    @classmethod
    def cut(
        cls, name: str, rows: MappedFile, first: int, length: int, captions: Sequence[Caption], whole: bool = False
    ) -> MappedClip:
        """The clip of some rows of a file."""
        return cls(name, rows.content[first : first + length], captions, whole, rows=rows, first=first)

    def part(self, name: str, captions: Sequence[Caption], frames: slice = slice(None)) -> MappedClip:
        """See `Clip.part`."""
        start, stop, _ = frames.indices(len(self.motion))
        return self.cut(name, self.rows, self.first + start, max(stop - start, 0), captions)

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedClip.cut, (self.id, self.rows, self.first, len(self.motion), self.captions, self.whole)


class MappedCaptions(Sequence[Caption]):
    """The captions of one motion: a piece of a mapped file, which is read when a caption is needed."""

    __slots__ = ("_count", "_end", "_file", "_remedy", "_start")

    def __init__(self, file: MappedFile, start: int, end: int, count: int, remedy: str) -> None:
        """The `count` captions in bytes `start` to `end`; `remedy` is what to do if they are damaged."""
        self._file, self._start, self._end, self._count, self._remedy = file, start, end, count, remedy

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Caption: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Caption, ...]: ...

    def __getitem__(self, index: int | slice) -> Caption | tuple[Caption, ...]:
        return self._read()[index]

    def __iter__(self) -> Iterator[Caption]:
        return iter(self._read())

    def _read(self) -> tuple[Caption, ...]:
        try:
            entries = json.loads(self._file.content[self._start : self._end].tobytes())
            return tuple(Caption(text, tuple(tokens), start, end) for text, tokens, start, end in entries)
        except (ValueError, TypeError):
            raise DataError(f"{self._file.path}: captions at byte {self._start} are damaged; {self._remedy}") from None


def caption_line(captions: Sequence[Caption]) -> bytes:
    """Captions in the form that `MappedCaptions` reads."""
    entries = [[caption.text, caption.tokens, caption.start, caption.end] for caption in captions]
    return f"{json.dumps(entries, ensure_ascii=False)}\n".encode()
