"""Reading text, JSON and arrays, with one-line errors that name the file; nothing in a file is run."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_realign.errors import DataError

# What numpy.load raises for damaged files: its own ValueError, and the errors of the modules that it uses.
UNREADABLE_ARRAY = (
    ValueError,
    OSError,
    EOFError,
    SyntaxError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_text(path: Path, what: str) -> str:
    """The text of a UTF-8 file, without a byte-order mark.

    Args:
        path: the file.
        what: what an error calls it.

    Raises:
        DataError: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: {what} is missing; check the folder") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {what} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: {what} cannot be read ({error.strerror}); check the file") from None


def load_array(path: Path, what: str) -> NDArray[Any]:
    """A numeric array from a .npy file. Pickled objects are refused.

    Args:
        path: the file.
        what: what an error calls it.

    Raises:
        DataError: the file is missing, truncated, pickled or not numeric.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: {what} is missing; check the folder") from None
    except UNREADABLE_ARRAY as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: {what} cannot be read ({reason[:80]}); write it again with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"{path}: {what} is not one array of numbers; write it again with numpy.save")
    return array


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object.

    Args:
        path: the file.
        what: what an error calls it.

    Raises:
        DataError: the file is missing, not JSON, or not an object.
    """
    try:
        content = json.loads(read_text(path, what))
    except (json.JSONDecodeError, RecursionError):
        raise DataError(f"{path}: {what} is not valid JSON; write it again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: {what} is a JSON {type(content).__name__}, not an object; write it again")
    return content
