"""Captions of motions, from a CSV file or a folder of HumanML3D text files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Protocol

from lightning_realign.data.build.caption_lines import CaptionLines
from lightning_realign.data.formats import SPLITS
from lightning_realign.errors import DataError


class CaptionSource(Protocol):
    """Captions by motion id.

    names: ids with captions. splits: ids per split, empty if unknown. lines: completes the captions, and knows where
    the tokens of the captions read so far come from.
    """

    names: Set[str]
    splits: Mapping[str, Sequence[str]]
    lines: CaptionLines

    def files(self) -> Iterable[Path]:
        """The files that hold the captions."""
        ...

    def captions(self, motion_id: str) -> bytes:
        """The caption file of a motion.

        Raises:
            DataError: the motion has no captions, or they are malformed.
        """
        ...


class CaptionFolder:
    """HumanML3D text files `ID.txt`. A line may also be a bare caption, which gets tokens."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.names: Set[str] = {path.stem for path in root.glob("*.txt")}
        self.splits: Mapping[str, Sequence[str]] = {}
        self.lines = CaptionLines()

    def files(self) -> Iterable[Path]:
        """All of them."""
        return (self._root / f"{name}.txt" for name in sorted(self.names))

    def captions(self, motion_id: str) -> bytes:
        """The file, checked."""
        return self.lines.read(self._root / f"{motion_id}.txt")


class CaptionTable:
    """A CSV file with the columns `name`, `caption` and maybe `split`. A motion may have several rows, one per caption.

    A name may end in `.bvh`. A caption is bare text, which gets tokens from a tagger, or text with tokens as in
    HumanML3D's files.

    Args:
        path: the file.

    Raises:
        DataError: it is missing, is no such table, or has a wrong row.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines = CaptionLines()
        self._rows_of: dict[str, list[str]] = {}
        self._split_of: dict[str, str] = {}
        rows, has_splits = self._rows()
        for number, row in rows:
            self._add(number, row, has_splits)
        if not self._rows_of:
            raise DataError(f"{path}: the table has no caption; write rows of name,caption")
        self.names: Set[str] = self._rows_of.keys()
        self.splits: Mapping[str, Sequence[str]] = {}
        if has_splits:
            self.splits = {split: [name for name, own in self._split_of.items() if own == split] for split in SPLITS}
            empty = [split for split, names in self.splits.items() if not names]
            if empty:
                raise DataError(f"{path}: no motion is in split {empty[0]!r}; list some, or leave the column out")

    def files(self) -> Iterable[Path]:
        """The table."""
        return (self._path,)

    def captions(self, motion_id: str) -> bytes:
        """The motion's rows as a caption file."""
        if motion_id not in self._rows_of:
            raise DataError(f"{self._path}: no caption for {motion_id!r}; add a row")
        return "".join(f"{line}\n" for line in self._rows_of[motion_id]).encode()

    def _rows(self) -> tuple[list[tuple[int, dict[str, str]]], bool]:
        """Line number and cells of every row, and whether there is a column of splits."""
        try:
            reader = csv.DictReader(io.StringIO(self._path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
            header = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            rows = [(reader.line_num, {key: cell or "" for key, cell in row.items() if key}) for row in reader]
        except FileNotFoundError:
            raise DataError(f"{self._path}: the captions are missing; check the path") from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{self._path}: the captions are no CSV table ({error}); save it as UTF-8 CSV") from None
        if not {"name", "caption"} <= set(header):
            raise DataError(f"{self._path}: the columns are {', '.join(header)}; begin with name,caption[,split]")
        return rows, "split" in header

    def _add(self, number: int, row: Mapping[str, str], has_splits: bool) -> None:
        where = f"{self._path}, line {number}"
        name = re.sub(r"\.bvh$", "", row["name"].strip(), flags=re.IGNORECASE)
        if not name or Path(name).name != name:
            raise DataError(f"{where}: name is {row['name']!r}; write the file's name without its folder")
        self._rows_of.setdefault(name, []).append(self.lines.complete(row["caption"], self._path, number))
        if not has_splits:
            return
        split = row["split"].strip().lower()
        if split not in SPLITS:
            raise DataError(f"{where}: split is {row['split']!r}; write one of {', '.join(SPLITS)}")
        if self._split_of.setdefault(name, split) != split:
            raise DataError(f"{where}: {name!r} is also in split {self._split_of[name]!r}; keep it in one of them")
