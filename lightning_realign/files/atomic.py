"""Atomic writing: a file or a folder is made under a temporary name beside its place, and then renamed.

Whatever stops a program, what lies under the final name is complete: the old content or the new one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write a file to; the file becomes `path` at the end, or is removed where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `path` at the end, or is removed where that fails.

    Args:
        path: the folder to make.
        replace: whether a folder with content may lie there and is replaced. Between the two renamings that this takes,
            there is none. Otherwise an OSError is raised at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    old = temporary.with_suffix(".old")
    try:
        yield temporary
        temporary.chmod(0o755)
        if replace and path.exists():
            path.rename(old)
        temporary.replace(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file atomically; `write` fills it."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        write(file)


def write_text_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_atomic(path, lambda file: file.write(text.encode("utf-8")))


def write_lines_atomic(path: Path, lines: Iterable[str]) -> None:
    """Write lines, each ended by a newline, atomically."""
    write_text_atomic(path, "".join(f"{line}\n" for line in lines))


def save_array_atomic(path: Path, array: NDArray[Any]) -> None:
    """Write an array as .npy atomically (without pickling)."""
    write_atomic(path, lambda file: np.save(file, array, allow_pickle=False))


def save_bytes_atomic(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    write_atomic(path, lambda file: file.write(content))
