"""Figures of generated motions: means per replication, their 95% intervals, and the table that a test run leaves."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_realign.data.formats import write_text_atomic
from lightning_realign.hashing import stable_key
from lightning_realign.report.table import format_table


@dataclass(frozen=True)
class Interval:
    """A figure over replications: its mean, and half the width of the 95% interval (None for one replication).

    The field reports 1.96 std / sqrt(n) with the population's standard deviation (ddof 0), and so do we.
    """

    mean: float
    half_width: float | None
    values: tuple[float, ...]

    def __str__(self) -> str:
        width = "" if self.half_width is None else f" ± {self.half_width:.4f}"
        return f"{self.mean:.4f}{width}"


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95% interval of the figures of n replications.

    >>> str(interval([0.5, 0.7]))
    '0.6000 ± 0.1386'
    """
    mean = statistics.fmean(values)
    width = 1.96 * statistics.pstdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Interval(mean, width, tuple(values))


class ReplicatedMean(Metric):
    """The mean over samples of a value, for each replication on its own.

    Values are kept by sample and replication, so that a sample that a distributed sampler repeated counts once, and are
    summed in float64 in the order of their keys: the figure depends neither on batches nor on ranks.

    States: sample_keys [N, 2] (sample, replication) and sample_values [N], concatenated over ranks.
    """

    full_state_update = False
    is_differentiable = False
    sample_keys: list[Tensor]
    sample_values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sample_keys", [], dist_reduce_fx="cat")
        self.add_state("sample_values", [], dist_reduce_fx="cat")

    def update(self, values: Tensor, ids: Sequence[str], replication: int) -> None:
        """Add the values [B] of the samples `ids` in one replication; B may be 0."""
        keys = torch.tensor([stable_key(sample) for sample in ids], dtype=torch.int64, device=self.device)
        self.sample_keys.append(torch.stack([keys, torch.full_like(keys, replication)], dim=1))
        self.sample_values.append(values.detach().to(device=self.device, dtype=torch.float64))

    def compute(self) -> Tensor:
        """The means [R] of the R replications seen, in their order; empty when there was no sample."""
        keys, values = dim_zero_cat(self.sample_keys).cpu().tolist(), dim_zero_cat(self.sample_values).cpu().tolist()
        samples = {(replication, sample): value for (sample, replication), value in zip(keys, values, strict=True)}
        groups: dict[int, list[float]] = {}
        for (replication, _), value in sorted(samples.items()):
            groups.setdefault(replication, []).append(value)
        return torch.tensor([math.fsum(group) / len(group) for group in groups.values()], dtype=torch.float64)


class FigureBoard(nn.Module):
    """A `ReplicatedMean` for every row and figure of a table.

    Args:
        rows: names of the rows.
        figures: names of the figures.
    """

    def __init__(self, rows: Sequence[str], figures: Sequence[str]) -> None:
        super().__init__()
        self._rows, self._figures = tuple(rows), tuple(figures)
        self.means = nn.ModuleDict({f"{row}_{figure}": ReplicatedMean() for row in rows for figure in figures})

    def update(self, row: str, figure: str, values: Tensor, ids: Sequence[str], replication: int) -> None:
        """Add the values [B] of the samples `ids` in one replication; B may be 0."""
        self._mean(row, figure).update(values, ids, replication)

    def reset(self) -> None:
        """Forget all values."""
        for metric in self.means.values():
            cast(ReplicatedMean, metric).reset()
            # A rank without samples of its own must have a state of the right shape to gather.
            cast(ReplicatedMean, metric).update(torch.empty(0), [], 0)

    def compute(self) -> dict[str, dict[str, Interval]]:
        """The table, without the figures that have no value; a collective call, so every rank computes every figure."""
        table: dict[str, dict[str, Interval]] = {}
        for row in self._rows:
            # torchmetrics turns a single replication's [1] into a scalar
            found = {figure: self._mean(row, figure).compute().flatten().tolist() for figure in self._figures}
            table[row] = {figure: interval(values) for figure, values in found.items() if values}
        return table

    def _mean(self, row: str, figure: str) -> ReplicatedMean:
        return cast(ReplicatedMean, self.means[f"{row}_{figure}"])


Table = Mapping[str, Mapping[str, Interval]]


def table_text(table: Table) -> str:
    """The rows as aligned text, one line per row and one column per figure."""
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    rows = [[name, *(str(row[column]) if column in row else "" for column in columns)] for name, row in table.items()]
    return format_table(["row", *columns], rows)


def write_table(path: Path, table: Table, settings: Mapping[str, Any]) -> None:
    """Write all figures, their values per replication and the settings as JSON, atomically."""
    rows = {
        name: {
            figure: {"mean": value.mean, "ci95": value.half_width, "values": list(value.values)}
            for figure, value in row.items()
        }
        for name, row in table.items()
    }
    write_text_atomic(path, json.dumps({"settings": dict(settings), "rows": rows}, indent=2) + "\n")
