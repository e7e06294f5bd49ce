"""From a record to its table: a pure function, whether the run has just ended or was recorded long ago."""

from __future__ import annotations

import logging
import math

from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.evaluation.judge_metrics import JUDGE_METRICS, POOL, Judged
from lightning_realign.evaluation.record import Record
from lightning_realign.report.intervals import Interval, interval

logger = logging.getLogger(__name__)


def score(record: Record, pool: int = POOL) -> dict[str, dict[str, Interval]]:
    """System -> metric -> mean and 95% interval over the replications.

    The metrics of single motions come first; those of a judge are called `judge/metric`, see `judge_metrics`. What has
    too few samples is left out, with a warning that says so, see `left_out`.

    Args:
        record: of the run.
        pool: size of the pools of R-Precision.

    Raises:
        ConfigError: a pool below 2.
    """
    if pool < 2:
        raise ConfigError(f"pool is {pool}; set it to 2 or more (the field has {POOL})")
    for name, reason in left_out(record, pool).items():
        logger.warning("no %s: %s", name, reason)
    table: dict[str, dict[str, Interval]] = {}
    for system, metrics in record.metrics.items():
        table[system] = {name: interval(means) for name, values in metrics.items() if (means := _means(values))}
        for name, judge in record.judges.items():
            judged = Judged(record, judge, system, pool)
            for metric in JUDGE_METRICS:
                table[system] |= {f"{name}/{part}": value for part, value in metric.values(judged).items()}
    return table


def left_out(record: Record, pool: int = POOL) -> dict[str, str]:
    """The metrics of judges that cannot be computed of a record, and why."""
    if not record.judges:
        return {}
    return {name: reason for metric in JUDGE_METRICS for name, reason in metric.missing(record, pool).items()}


def _means(values: Tensor) -> list[float]:
    """Means over the samples of [K, N] that have a value; none if a replication has no value at all."""
    found = [[value for value in replication if not math.isnan(value)] for replication in values.tolist()]
    return [math.fsum(replication) / len(replication) for replication in found] if all(found) else []
