"""What adapters of published folders share: where files lie, and what their weights tell of a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lightning_realign.weights import read_weights


def published_weights(path: Path, *entries: str) -> tuple[Path, dict[str, Tensor]]:
    """The weights of a published file, or of what `convert` made of it beside it, and which file that is.

    Args:
        path: the published file.
        entries: see `read_weights`, whose errors these are.
    """
    converted = path.with_suffix(".safetensors")
    chosen = converted if converted.is_file() else path
    return chosen, read_weights(chosen, *entries)


def numbered(weights: Mapping[str, Tensor], start: str, end: str) -> int:
    """How many weights are named by `start`, a number and `end`."""
    found = (key for key in weights if key.startswith(start) and key.endswith(end))
    return sum(key.removeprefix(start).removesuffix(end).isdecimal() for key in found)
