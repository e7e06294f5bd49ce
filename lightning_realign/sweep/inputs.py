"""The files that a command depends on, so that a sweep notices when one of them has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_realign.checkpoints.folder import CONFIG_FILE, WEIGHTS_FILE
from lightning_realign.files.shipped_configs import resolve

# Bytes up to which a file is read to see whether it has changed.
_SMALL_FILE = 1 << 20


def files_behind(arguments: Sequence[str]) -> list[bytes]:
    """What identifies the files that a command reads: those named in it and, in YAML files, those named there.

    A small file is known by its content, a larger one, such as a checkpoint, by path, size and time of change.
    """
    found: dict[Path, bytes] = {}
    waiting = [(word, Path()) for argument in arguments for word in (argument, argument.partition("=")[2])]
    while waiting:
        word, place = waiting.pop(0)
        # Configurations name each other from where they are, everything else from the current folder.
        named = (resolve(word), place / word)
        # A model may be a folder, which is known by its two files.
        inside = [path / name for path in named for name in (CONFIG_FILE, WEIGHTS_FILE)] if word else []
        for path in (*named, *inside):
            if not _is_file(path) or path.resolve() in found:
                continue
            found[path.resolve()] = _identity(path)
            if path.suffix in (".yaml", ".yml"):
                waiting += [(inner, path.parent) for inner in _texts(_content(path))]
    return list(found.values())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name that a file could have
        return False


def _identity(path: Path) -> bytes:
    state = path.stat()
    if state.st_size > _SMALL_FILE:
        return f"{path} {state.st_size} {state.st_mtime_ns}".encode()
    return path.read_bytes()


def _content(path: Path) -> Any:
    """A YAML file's content; nothing where it is not valid, which the command itself will say."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None


def _texts(content: Any) -> Iterator[str]:
    """All values that are text."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _texts(value)
