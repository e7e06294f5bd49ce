"""Atomic writing: a file is written under a temporary name and then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file that is either the old or the new one, never half of it; `write` fills it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file that is either the old or the new one, never half of it."""
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
