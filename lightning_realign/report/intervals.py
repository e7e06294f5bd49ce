"""A metric over the replications of a run: its mean and its 95% interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A metric over replications: its mean, and half the width of the 95% interval (None for one replication).

    The half width is 1.96 std / sqrt(n), as the field reports it, with the population's standard deviation (ddof 0).
    values: one per replication; empty where a receipt does not hold them.
    """

    mean: float
    half_width: float | None
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        width = "" if self.half_width is None else f" ± {self.half_width:.4f}"
        return f"{self.mean:.4f}{width}"


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95% interval of a metric's values in n replications.

    >>> str(interval([0.5, 0.7]))
    '0.6000 ± 0.1386'
    """
    mean = statistics.fmean(values)
    width = 1.96 * statistics.pstdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Interval(mean, width, tuple(values))


Systems = Mapping[str, Mapping[str, Interval]]
"""System -> metric -> interval: what a run has measured."""
