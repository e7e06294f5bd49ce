"""What a test run keeps of every sample while it goes on, on all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics.utilities import dim_zero_cat

from lightning_realign.metrics.keyed import KeyedMetric, Rows, id_keys


class SampleStore(KeyedMetric):
    """Vectors by sample id and draw; gathered from all ranks, each once."""

    def __init__(self) -> None:
        super().__init__(("vector",))

    def reset(self) -> None:
        """Forget all vectors; a rank that will see none has nothing, in the right form, to gather."""
        super().reset()
        self.update(torch.empty(0, 1), [])

    def update(self, vectors: Tensor, ids: Sequence[str], draw: int = 0) -> None:
        """Keep the vectors [B, W] of the samples `ids` in one draw; B may be 0.

        Raises:
            DataError: a vector that is not finite.
        """
        self._store(ids, {"vector": vectors}, part=draw)

    def compute(self) -> dict[str, Tensor]:
        """All rows by draw and key: `keys` [n], `parts` [n] (draws), `vectors` [n, W]; empty without any.

        A collective call, so every rank makes it.
        """
        if not len(dim_zero_cat(cast("list[Tensor]", self.keys))):
            return {}
        rows = self._rows()
        return {"keys": rows.keys, "parts": rows.parts, "vectors": rows["vector"]}

    def rows(self) -> Rows | None:
        """The same; None without any."""
        # torchmetrics turns tensors of one value into scalars.
        found = self.compute()
        if not found:
            return None
        keys = found["keys"].reshape(-1)
        return Rows(keys, found["parts"].reshape(-1), {"vector": found["vectors"].reshape(len(keys), -1)})


def placed(rows: Rows | None, ids: Sequence[str]) -> Tensor | None:
    """The rows of K draws as [K, N, W] in the order of N `ids`, NaN where a sample has none; None without rows."""
    if rows is None:
        return None
    places = {key: place for place, key in enumerate(id_keys(ids).tolist())}
    draws = sorted(set(rows.parts.tolist()))
    vectors = rows["vector"]
    result = torch.full((len(draws), len(ids), vectors.shape[1]), float("nan"), dtype=vectors.dtype)
    for place, draw in enumerate(draws):
        part = rows.part(draw)
        known = [(row, places[key]) for row, key in enumerate(part.keys.tolist()) if key in places]
        source, target = torch.tensor(known, dtype=torch.int64).reshape(-1, 2).T
        result[place, target] = part["vector"].cpu()[source]
    return result


class FigureBoard(nn.Module):
    """A value per sample and draw, for every row and figure of a table.

    Args:
        rows: names of the rows.
        figures: names of the figures.
    """

    def __init__(self, rows: Sequence[str], figures: Sequence[str]) -> None:
        super().__init__()
        self._rows, self._figures = tuple(rows), tuple(figures)
        self.stores = nn.ModuleDict({f"{row}_{figure}": SampleStore() for row in rows for figure in figures})

    def update(self, row: str, figure: str, values: Tensor, ids: Sequence[str], draw: int) -> None:
        """Keep the values [B] of the samples `ids` in one draw; B may be 0."""
        self._store(row, figure).update(values[:, None], ids, draw)

    def reset(self) -> None:
        """Forget all values."""
        for store in self.stores.values():
            cast(SampleStore, store).reset()

    def compute(self) -> dict[str, dict[str, Rows]]:
        """Row -> figure -> all values, without figures that have none; a collective call, so every rank makes it."""
        found = {row: {figure: self._store(row, figure).rows() for figure in self._figures} for row in self._rows}
        return {
            row: {name: rows for name, rows in figures.items() if rows is not None} for row, figures in found.items()
        }

    def _store(self, row: str, figure: str) -> SampleStore:
        return cast(SampleStore, self.stores[f"{row}_{figure}"])
