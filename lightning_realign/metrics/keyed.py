"""The base of metrics whose values depend on the samples alone: not on batches, order, workers or ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_realign.errors import DataError
from lightning_realign.files.hashing import stable_key


def id_keys(ids: Sequence[str]) -> Tensor:
    """A 63-bit key per sample id, int64 [B]. Strings cannot be gathered between processes, but keys can."""
    return torch.tensor([stable_key(sample_id) for sample_id in ids], dtype=torch.int64)


@dataclass(frozen=True)
class Rows:
    """Samples as a metric scores them, each once and in order.

    keys: [N] int64 keys of the ids. parts: [N] int64, see `KeyedMetric`. columns: float64 [N, W] or int64 [N].
    """

    keys: Tensor
    parts: Tensor
    columns: Mapping[str, Tensor]

    def __len__(self) -> int:
        """N."""
        return len(self.keys)

    def __getitem__(self, column: str) -> Tensor:
        """A column by its name."""
        return self.columns[column]

    def part(self, number: int) -> Rows:
        """The samples of one part."""
        chosen = self.parts == number
        return Rows(
            self.keys[chosen], self.parts[chosen], {name: values[chosen] for name, values in self.columns.items()}
        )


class KeyedMetric(Metric):
    """A metric that keeps a row per sample id and part, and scores the rows in the order of their ids.

    The part tells rows of one id apart: real and generated motions, or the repetitions of one caption. Rows are
    gathered from all processes, reduced to one per id and part (a distributed sampler may repeat some), and ordered.
    States are flat, so that a rank that saw no sample has an empty state of the right shape and type to gather.

    Args:
        vectors: names of the columns of vectors, kept in float64.
        numbers: names of the columns of integers, kept in int64.
        ids: the samples to score, in this order; all of them are required. None scores whatever was seen, in the order
            of the ids' keys.
    """

    is_differentiable = False
    full_state_update = False
    plot_lower_bound: float | None = 0.0

    def __init__(self, vectors: Sequence[str], numbers: Sequence[str] = (), ids: Sequence[str] | None = None) -> None:
        super().__init__()
        self._types = {
            "keys": torch.int64,
            "parts": torch.int64,
            **dict.fromkeys(vectors, torch.float64),
            **dict.fromkeys(numbers, torch.int64),
        }
        self.ids = None if ids is None else tuple(dict.fromkeys(ids))
        for name in self._types:
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self._begin()

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self._begin()

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot what `compute` gives now, or the given result or results of it. Returns matplotlib's figure and axes."""
        return self._plot(val, ax)

    def _begin(self) -> None:
        for name, dtype in self._types.items():
            setattr(self, name, [torch.empty(0, dtype=dtype, device=self.device)])

    def _store(self, ids: Sequence[str], columns: Mapping[str, Tensor], part: int = 0) -> None:
        """Keep the rows of a batch: B ids, and columns [B, W] or [B].

        Raises:
            ValueError: a column of another length, or of vectors of another shape than [B, W].
            DataError: a vector that is not finite.
        """
        for name, values in columns.items():
            vectors = self._types[name].is_floating_point
            if len(values) != len(ids) or values.dim() != (2 if vectors else 1):
                raise ValueError(
                    f"{name} has shape {tuple(values.shape)} and there are {len(ids)} ids: expected "
                    f"{'[B, W]' if vectors else '[B]'} and B ids"
                )
            if vectors:
                _check_finite(name, values, ids)
        keys = id_keys(ids)
        for name, values in {"keys": keys, "parts": torch.full_like(keys, part), **columns}.items():
            flat = values.detach().to(device=self.device, dtype=self._types[name]).flatten()
            getattr(self, name).append(flat)

    def _rows(self) -> Rows:
        """All samples, each once and in order.

        Raises:
            DataError: none were seen, or one of `ids` is missing.
        """
        flat = {name: dim_zero_cat(getattr(self, name)) for name in self._types}
        keys, parts = flat.pop("keys"), flat.pop("parts")
        if not len(keys):
            raise DataError(f"{type(self).__name__} has seen no samples: update it before computing it")
        order = self._order(keys.cpu().numpy(), parts.cpu().numpy()).to(keys.device)
        columns = {
            name: (values.reshape(len(keys), -1) if values.is_floating_point() else values)[order]
            for name, values in flat.items()
        }
        return Rows(keys[order], parts[order], columns)

    def _order(self, keys: np.ndarray, parts: np.ndarray) -> Tensor:
        """Which rows to score: the first of each part and key, ordered by part, then by place in `ids`, or by key."""
        # NumPy's `unique` gives the first of several equal rows.
        _, first = np.unique(np.stack([parts, keys], axis=1), axis=0, return_index=True)
        if self.ids is None:
            return torch.from_numpy(first)
        places = {key: place for place, key in enumerate(id_keys(self.ids).tolist())}
        chosen = [(int(parts[row]), places[int(keys[row])], int(row)) for row in first if int(keys[row]) in places]
        seen = [{place for other, place, _ in chosen if other == part} for part in np.unique(parts)]
        missing = [sample for place, sample in enumerate(self.ids) if any(place not in held for held in seen)]
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(self.ids)} samples to score were not given, {missing[0]!r} among them: "
                "generate or embed all of them first"
            )
        return torch.tensor([row for *_, row in sorted(chosen)], dtype=torch.int64)


def _check_finite(name: str, values: Tensor, ids: Sequence[str]) -> None:
    bad = (~values.isfinite()).any(dim=1)
    if bad.any():
        first = ids[int(bad.nonzero()[0])]
        raise DataError(
            f"{name} of sample {first!r} holds NaN or infinity ({int(bad.sum())} of {len(ids)} samples of its batch): "
            "check that motion and the model that made it"
        )
