"""From a record to its table: a pure function, whether the run has just ended or was recorded long ago."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.evaluation.record import Embeddings, Record, at_draw
from lightning_realign.evaluation.table import Interval, interval
from lightning_realign.metrics.functional.generation import (
    diversity,
    frechet_distance,
    gaussian_of,
    matching_distance,
    multimodality,
    pools_of,
    r_precision,
)
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.settings.measuring import MULTIMODALITY_PAIRS

logger = logging.getLogger(__name__)

POOL = 32
DIVERSITY_PAIRS = 300
REAL = "real"


def score(record: Record, pool: int = POOL) -> dict[str, dict[str, Interval]]:
    """Row -> figure -> mean and 95% interval over the replications.

    Of every judge, as `judge/figure`: R-Precision (classic; `R@1_caption`, any motion of the same caption being right;
    `R@1_label`, of the same label), MM-Dist, FID against the real row, Diversity and MultiModality, as
    `metrics.generation_functional` defines them. Pools and pairs are drawn anew in each replication, so that motions
    that stay the same have intervals too. The real row's FID is the floor: that of disjoint parts of the training
    split, each as large as the measured split, against it. MultiModality is a mean over the replications' pairs of the
    same motions, and has no interval.

    Args:
        record: of the run.
        pool: size of the pools of R-Precision.

    What has too few samples is left out, with a warning that says so; see `left_out`.

    Raises:
        ConfigError: a pool below 2.
    """
    if pool < 2:
        raise ConfigError(f"pool is {pool}; set it to 2 or more (the field has {POOL})")
    for figure, reason in left_out(record, pool).items():
        logger.warning("no %s: %s", figure, reason)
    table: dict[str, dict[str, Interval]] = {}
    for row, figures in record.figures.items():
        table[row] = {name: interval(means) for name, values in figures.items() if (means := _means(values))}
        for name, judge in record.judges.items():
            found = _judged(record, judge, row, pool)
            table[row] |= {f"{name}/{figure}": value for figure, value in found.items()}
    return table


def left_out(record: Record, pool: int = POOL) -> dict[str, str]:
    """The judges' figures that cannot be computed of a record, and why: never a number of something else instead."""
    if not record.judges:
        return {}
    count, train = len(record.ids), [judge.train for judge in record.judges.values()]
    repeats = [values.shape[1] for judge in record.judges.values() for values in judge.repeats.values()]
    found = {
        "R-Precision": (count < pool, f"{count} samples do not fill a pool of {pool}"),
        "FID": (count < 2, f"{count} samples have no covariance"),
        "floor of FID": (
            any(values is None or len(values) < count for values in train),
            f"the training split does not hold {count} motions",
        ),
        "Diversity": (count < DIVERSITY_PAIRS, f"{count} samples, it is defined over {DIVERSITY_PAIRS} pairs"),
        "MultiModality": (
            not repeats or min(repeats) < MULTIMODALITY_PAIRS,
            f"it needs {MULTIMODALITY_PAIRS} or more motions of the same caption",
        ),
    }
    return {name: reason for name, (missing, reason) in found.items() if missing}


def groups_of(record: Record, replication: int) -> dict[str, Tensor | None]:
    """What counts as a match in R-Precision, by the suffix of its figures: [N] group numbers, None for the own motion.

    A sample without a label is a group of its own.
    """
    groups: dict[str, Tensor | None] = {"": None, "_caption": id_keys(at_draw(record.captions, replication))}
    if any(label is not None for label in record.labels):
        pairs = zip(record.ids, record.labels, strict=True)
        groups["_label"] = id_keys([f"id {sample}" if label is None else f"label {label}" for sample, label in pairs])
    return groups


def _means(values: Tensor) -> list[float]:
    """Means over the samples of [K, N] that have a value; none where a draw has no value at all."""
    found = [[value for value in draw if not math.isnan(value)] for draw in values.tolist()]
    return [math.fsum(draw) / len(draw) for draw in found] if all(found) else []


def _judged(record: Record, judge: Embeddings, row: str, pool: int) -> dict[str, Interval]:
    """One judge's figures of one row."""
    motion, draws = judge.motion[row], range(record.replications)
    values: dict[str, list[float]] = {}
    if len(record.ids) >= pool:
        for replication in draws:
            for name, value in _precision(record, judge, row, replication, pool).items():
                values.setdefault(name, []).append(value)
    values["MM-Dist"] = [
        matching_distance(at_draw(judge.text, draw), at_draw(motion, draw)).item()
        for draw in range(max(len(judge.text), len(motion)))
    ]
    if len(record.ids) >= DIVERSITY_PAIRS:
        values["Diversity"] = [diversity(at_draw(motion, draw), DIVERSITY_PAIRS, seed=draw).item() for draw in draws]
    if distances := _distances(judge, row):
        values["FID"] = distances
    figures = {name: interval(found) for name, found in values.items()}
    repeats = judge.repeats.get(row)
    if repeats is not None and repeats.shape[1] >= MULTIMODALITY_PAIRS:
        found = [multimodality(repeats, MULTIMODALITY_PAIRS, seed=draw).item() for draw in draws]
        mean = math.fsum(found) / len(found)
        figures["MultiModality"] = Interval(mean, None, (mean,))
    return figures


def _precision(record: Record, judge: Embeddings, row: str, replication: int, pool: int) -> Mapping[str, float]:
    text, motion = at_draw(judge.text, replication), at_draw(judge.motion[row], replication)
    pools, top = pools_of(len(text), pool, seed=replication), min(3, pool)
    return {
        f"R@{k}{kind}": value
        for kind, groups in groups_of(record, replication).items()
        for k, value in enumerate(r_precision(text, motion, pools, groups, top).tolist(), start=1)
    }


def _distances(judge: Embeddings, row: str) -> list[float]:
    """FID of every draw of a row, for the real one of the parts of the training split; empty where undefined."""
    real = judge.motion.get(REAL)
    if real is None or real.shape[1] < 2:
        return []
    targets = [gaussian_of(draw) for draw in real]
    if row != REAL:
        found = judge.motion[row]
        draws = range(max(len(found), len(targets)))
        return [frechet_distance(gaussian_of(at_draw(found, d)), at_draw(targets, d)).item() for d in draws]
    return [] if judge.train is None else floor_distances(judge.train, real[0])


def floor_distances(train: Tensor, real: Tensor) -> list[float]:
    """The floor of FID: disjoint parts of the training split [M, W], each of N motions, against the real ones [N, W].

    Empty where the training split holds fewer than N.
    """
    target = gaussian_of(real)
    parts = [part for part in torch.split(train, len(real)) if len(part) == len(real)]
    return [frechet_distance(gaussian_of(part), target).item() for part in parts]
