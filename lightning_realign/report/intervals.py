"""Figures with their intervals over replications, and the receipt that holds them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_realign.errors import DataError
from lightning_realign.files.atomic import write_text_atomic
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


Table = Mapping[str, Mapping[str, Interval]]


def table_columns(table: Table) -> list[str]:
    """The figures of a table, in the order in which they come up."""
    return list(dict.fromkeys(name for row in table.values() for name in row))


def table_text(table: Table) -> str:
    """The figures as aligned text: a line per figure and a column per row, of which there are fewer."""
    lines = [
        [name, *(str(row[name]) if name in row else None for row in table.values())] for name in table_columns(table)
    ]
    return format_table(["figure", *table], lines)


def write_table(path: Path, table: Table, settings: Mapping[str, Any]) -> None:
    """Write all figures, their values per replication and the settings as JSON, atomically.

    Raises:
        DataError: a figure that is not finite.
    """
    for row, figures in table.items():
        for figure, value in figures.items():
            if not math.isfinite(value.mean):
                raise DataError(f"{path}: {figure} of row {row!r} is {value.mean}; check the motions behind it")
    rows = {
        name: {
            figure: {"mean": value.mean, "ci95": value.half_width, "values": list(value.values)}
            for figure, value in row.items()
        }
        for name, row in table.items()
    }
    write_text_atomic(path, json.dumps({"settings": dict(settings), "rows": rows}, indent=2) + "\n")
