"""Settings as the plain values that a checkpoint, a receipt and a YAML file can hold, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")


def plain(value: Any) -> Any:
    """The value with dataclasses as dictionaries, tuples as lists and paths as strings, at any depth.

    Only such values can be read from a checkpoint with `weights_only=True`.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, PurePath) else value


def restored(kind: type[T], value: T | Mapping[str, Any]) -> T:
    """The dataclass of a dictionary that `plain` made of it; a dataclass stays as it is."""
    if not isinstance(value, Mapping):
        return value
    hints = get_type_hints(kind)
    return kind(
        **{name: restored(hints[name], part) if is_dataclass(hints.get(name)) else part for name, part in value.items()}
    )
