"""Weights and inputs drawn by a fixed rule, so that golden numbers of public networks need none of their files.

The rule: an entry is a standard normal draw of numpy's legacy generator, whose stream is frozen, seeded by the key. A
weight of two or more dimensions is divided by the square root of its fan-in; other entries are scaled by 0.1, and 1 is
added to the scales of normalisation layers (one-dimensional `weight`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ENTRIES, PROJECTIONS = 64, 8


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return np.random.RandomState(seed).standard_normal(shape)


def fixed_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """The weight of a key, float32."""
    values = _draw(key, shape)
    if len(shape) > 1:
        values = values / np.sqrt(np.prod(shape[1:]))
    else:
        values = 0.1 * values + (1.0 if key.endswith("weight") else 0.0)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def fixed_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state dict of the given shapes."""
    return {key: fixed_tensor(key, tuple(shape)) for key, shape in shapes.items()}


def fixed_input(name: str, *shape: int) -> Tensor:
    """Standard normal input, float64."""
    return torch.from_numpy(_draw(f"input:{name}", shape))


def summary(tensor: Tensor) -> list[float]:
    """64 entries spread evenly over the tensor, and its products with 8 fixed random directions of unit variance."""
    flat = tensor.detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, min(ENTRIES, len(flat)), dtype=torch.float64).round().long()
    directions = torch.from_numpy(_draw(f"directions:{len(flat)}", (PROJECTIONS, len(flat)))) / len(flat) ** 0.5
    return [*flat[places].tolist(), *(directions @ flat).tolist()]


def golden(path: Path) -> dict[str, object]:
    """The golden numbers of a file."""
    content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return content


def relative_error(tensor: Tensor, expected: list[float]) -> float:
    """Largest difference from golden numbers, relative to the largest of them."""
    wanted = torch.tensor(expected, dtype=torch.float64)
    found = torch.tensor(summary(tensor), dtype=torch.float64)
    return float((found - wanted).abs().max() / wanted.abs().max())
