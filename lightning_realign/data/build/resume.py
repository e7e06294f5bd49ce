"""A build that can be stopped at any time and continued: its folder, and the journal of what is done.

Beside the output `NAME` lies `.NAME.partial/` (the lock is POSIX's):

    data/        becomes the output by one renaming
    source       a hash of everything that the data set depends on
    done.jsonl   one line per finished motion, with sizes and checksums of its files
    lock         held by the process that builds
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from lightning_realign.files.atomic import write_lines_atomic, write_text_atomic
from lightning_realign.data.build.sources import MotionSource
from lightning_realign.errors import DataError

logger = logging.getLogger(__name__)

# Raised whenever the same source would give other files than before.
_FORMAT = 1


@dataclass(frozen=True)
class Done:
    """A finished motion.

    files: size and CRC-32 by name within the data set; empty if the motion is left out. left_out: why it is left out;
    None if it is not. origins: where the tokens of the captions read up to this motion come from.
    """

    files: Mapping[str, tuple[int, int]]
    left_out: str | None
    origins: tuple[str, ...]


def partial_folder(out: Path) -> Path:
    """The folder in which a data set is built before it is complete."""
    return out.parent / f".{out.name}.partial"


def source_identity(source: MotionSource) -> str:
    """A hash of all that a data set depends on: settings, lists, libraries, and name, size and time of every file."""
    digest = hashlib.sha256()
    settings = (_FORMAT, np.__version__, torch.__version__, source.where, source.where.resolve(), source.metadata)
    lists = [(split, list(ids)) for split, ids in source.splits.items()]
    digest.update(repr((*settings, source.skeleton, lists, sorted(source.surplus().items()))).encode())
    for path in source.files():
        try:
            status = path.stat()
        except OSError:
            digest.update(f"{path} none\n".encode())
        else:
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class PartialBuild:
    """The folder of one build. This process holds its lock, see `open_partial`."""

    def __init__(self, out: Path) -> None:
        self.folder = partial_folder(out)
        self.data = self.folder / "data"
        self._out = out
        self._record = self.folder / "source"
        self._journal = self.folder / "done.jsonl"

    def resume(self, identity: str) -> dict[str, Done]:
        """The motions that a stopped build has done, by id. If it had another source, there are none, and it starts over.

        Files that belong to no finished motion are removed: the build may have been stopped while it wrote them.
        """
        known = self._record.read_text() if self._record.is_file() else None
        if known != identity:
            if known is not None:
                logger.warning(
                    "%s: source or settings have changed since its build was stopped; it starts over", self._out
                )
            self._clear()
            self.data.mkdir()
            write_text_atomic(self._record, identity)
            return {}
        lines = self._journal.read_text().splitlines() if self._journal.is_file() else []
        done = dict(entry for line in lines if (entry := self._read(line)) is not None)
        kept = {self.data / name for item in done.values() for name in item.files}
        for path in self.data.rglob("*"):
            if path.is_file() and path not in kept:
                path.unlink()
        write_lines_atomic(self._journal, (_line(motion_id, item) for motion_id, item in done.items()))
        return done

    def add(self, motion_id: str, files: Mapping[str, bytes], left_out: str | None, origins: tuple[str, ...]) -> None:
        """Write a motion's files, by name within the data set, and then a line of the journal."""
        for name, content in files.items():
            path = self.data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        sums = {name: (len(content), zlib.crc32(content)) for name, content in files.items()}
        # The journal comes last, so that all motions in it are complete.
        with self._journal.open("a") as journal:
            journal.write(_line(motion_id, Done(sums, left_out, origins)) + "\n")

    def finish(self) -> None:
        """Make it the output. There must be none yet, or an empty folder."""
        self.data.replace(self._out)
        self.discard()

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _clear(self) -> None:
        """Empty the folder except for the lock. The source's hash goes first, so that no half build is continued."""
        for path in (self._record, self._journal):
            path.unlink(missing_ok=True)
        if self.data.is_dir():
            shutil.rmtree(self.data)

    def _read(self, line: str) -> tuple[str, Done] | None:
        """A line of the journal; None if it was cut short, or the files are not the ones that it lists."""
        try:
            motion_id, files, left_out, origins = json.loads(line)
        except ValueError:
            return None
        for name, (size, checksum) in files.items():
            path = self.data / name
            if not path.is_file() or path.stat().st_size != size or zlib.crc32(path.read_bytes()) != checksum:
                return None
        return motion_id, Done({name: tuple(sums) for name, sums in files.items()}, left_out, tuple(origins))


def _line(motion_id: str, item: Done) -> str:
    entry: list[Any] = [motion_id, dict(item.files), item.left_out, list(item.origins)]
    return json.dumps(entry)


@contextmanager
def open_partial(out: Path) -> Iterator[PartialBuild]:
    """The folder in which `out` is built, locked for this process.

    Raises:
        DataError: `out` holds something, or another process builds it.
    """
    _check_output(out)
    partial = PartialBuild(out)
    with _locked(partial.folder, out):
        # Again: another build may have finished before the lock was free.
        _check_output(out)
        yield partial


def _check_output(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: output exists and is not an empty folder; remove it or choose another --out")


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """Make a folder and hold its lock. The system frees the lock when the process ends, however it ends."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = (folder / "lock").open("a")
        except FileNotFoundError:
            continue  # a build that finished has removed the folder
        with file:
            _take(file, out)
            if _is_in_place(file, folder / "lock"):
                yield
                return


def _take(file: IO[Any], out: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"{out}: another process is building it; wait for it or choose another --out") from None


def _is_in_place(file: IO[Any], path: Path) -> bool:
    """Whether an open file is still the one at its path, not one that has been removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
