"""What a test run keeps of every sample, gathered from all ranks: every rank then computes the same means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics.utilities import dim_zero_cat

from lightning_realign.metrics.keyed import KeyedMetric, Rows, id_keys


class SampleStore(KeyedMetric):
    """Vectors by sample id and replication; gathered from all ranks, each once."""

    def __init__(self) -> None:
        super().__init__(("vector",))

    def reset(self) -> None:
        """Forget all vectors; a rank that will see none has nothing, in the right form, to gather."""
        super().reset()
        self.update(torch.empty(0, 1), [])

    def update(self, vectors: Tensor, ids: Sequence[str], replication: int = 0) -> None:
        """Keep the vectors [B, W] of the samples `ids` in one replication; B may be 0.

        Raises:
            DataError: a vector that is not finite.
        """
        self._store(ids, {"vector": vectors}, part=replication)

    def compute(self) -> dict[str, Tensor]:
        """All vectors: `keys` [n], `parts` [n] (replications), `vectors` [n, W]; empty if there are none.

        A collective call, so every rank makes it.
        """
        if not len(dim_zero_cat(cast("list[Tensor]", self.keys))):
            return {}
        rows = self._rows()
        return {"keys": rows.keys, "parts": rows.parts, "vectors": rows["vector"]}

    def gathered(self) -> Rows | None:
        """The same; None if there are none."""
        # torchmetrics turns tensors of one value into scalars.
        found = self.compute()
        if not found:
            return None
        keys = found["keys"].reshape(-1)
        return Rows(keys, found["parts"].reshape(-1), {"vector": found["vectors"].reshape(len(keys), -1)})


def placed(rows: Rows | None, ids: Sequence[str]) -> Tensor | None:
    """The vectors of K replications as [K, N, W] in the order of N `ids`, NaN where a sample has none.

    None without vectors.
    """
    if rows is None:
        return None
    places = {key: place for place, key in enumerate(id_keys(ids).tolist())}
    replications = sorted(set(rows.parts.tolist()))
    vectors = rows["vector"]
    result = torch.full((len(replications), len(ids), vectors.shape[1]), float("nan"), dtype=vectors.dtype)
    for place, replication in enumerate(replications):
        part = rows.part(replication)
        known = [(number, places[key]) for number, key in enumerate(part.keys.tolist()) if key in places]
        source, target = torch.tensor(known, dtype=torch.int64).reshape(-1, 2).T
        result[place, target] = part["vector"].cpu()[source]
    return result


class MetricBoard(nn.Module):
    """A value for every sample and replication, of every system and metric of a table.

    Args:
        systems: names of the systems.
        metrics: names of the metrics.
    """

    def __init__(self, systems: Sequence[str], metrics: Sequence[str]) -> None:
        super().__init__()
        self._systems, self._metrics = tuple(systems), tuple(metrics)
        self.stores = nn.ModuleDict({f"{system}_{metric}": SampleStore() for system in systems for metric in metrics})

    def update(self, system: str, metric: str, values: Tensor, ids: Sequence[str], replication: int) -> None:
        """Keep the values [B] of the samples `ids` in one replication; B may be 0."""
        self._store(system, metric).update(values[:, None], ids, replication)

    def reset(self) -> None:
        """Forget all values."""
        for store in self.stores.values():
            cast(SampleStore, store).reset()

    def compute(self, ids: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        """System -> metric -> values [K, N] of the samples `ids`, see `placed`; a metric without values is left out.

        A collective call, so every rank makes it.
        """
        # All stores gather before any is left out: every rank makes the same calls.
        rows = {
            system: {metric: self._store(system, metric).gathered() for metric in self._metrics}
            for system in self._systems
        }
        return {
            system: {name: values[..., 0] for name, one in found.items() if (values := placed(one, ids)) is not None}
            for system, found in rows.items()
        }

    def _store(self, system: str, metric: str) -> SampleStore:
        return cast(SampleStore, self.stores[f"{system}_{metric}"])
