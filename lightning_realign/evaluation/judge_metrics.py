"""The metrics of a judge's embeddings: R-Precision, MM-Dist, Diversity, FID, MultiModality.

A new one is a class here and an entry of `JUDGE_METRICS`: tables, receipts, `rescore` and paired differences follow.
Symbols: N samples, K replications of a system, W channels, see `record`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lightning_realign.evaluation.record import Embeddings, Record, at_replication
from lightning_realign.metrics.functional.generation import (
    diversity,
    frechet_distance,
    gaussian_of,
    matching_distance,
    multimodality,
    pool_ranks,
    pools_of,
    r_precision,
)
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.report.intervals import Interval, interval
from lightning_realign.settings.measuring import MULTIMODALITY_PAIRS

# The size of R-Precision's pools, and the pairs of Diversity, of the field.
POOL = 32
DIVERSITY_PAIRS = 300
REAL = "real"
_TOP = 3


@dataclass(frozen=True)
class Judged:
    """What one judge made of one system of a record. pool: size of R-Precision's pools."""

    record: Record
    judge: Embeddings
    system: str
    pool: int = POOL

    @property
    def replications(self) -> range:
        """The numbers of the replications."""
        return range(self.record.replications)

    def text(self, replication: int) -> Tensor:
        """Embeddings [N, W] of the captions in one replication."""
        found: Tensor = at_replication(self.judge.text, replication)
        return found

    def motion(self, replication: int) -> Tensor:
        """Embeddings [N, W] of the motions in one replication."""
        found: Tensor = at_replication(self.judge.motion[self.system], replication)
        return found


class JudgeMetric(Protocol):
    """A metric of a judge's embeddings."""

    def missing(self, record: Record, pool: int) -> dict[str, str]:
        """What of it cannot be computed of a record, and why; never a number of something else instead."""

    def values(self, judged: Judged) -> dict[str, Interval]:
        """Name -> mean and interval over the replications; empty where it cannot be computed."""

    def per_sample(self, judged: Judged) -> dict[str, Tensor]:
        """Name -> values [N] whose mean over the samples it is, averaged over the replications; empty if it is none."""


class JudgedPrecision:
    """How often a caption's own motion is among its k nearest in a pool (Guo et al., CVPR 2022), k = 1, 2, 3.

    `R@1_caption` counts any motion of the same caption as right, `R@1_label` any of the same label. Pools are drawn
    anew in each replication, so that motions that stay the same have intervals too.
    """

    def missing(self, record: Record, pool: int) -> dict[str, str]:
        """It needs a full pool."""
        count = len(record.ids)
        return {"R-Precision": f"{count} samples do not fill a pool of {pool}"} if count < pool else {}

    def values(self, judged: Judged) -> dict[str, Interval]:
        """`R@k`, `R@k_caption`, and `R@k_label` where there are labels."""
        if self.missing(judged.record, judged.pool):
            return {}
        found: dict[str, list[float]] = {}
        top = min(_TOP, judged.pool)
        for replication in judged.replications:
            text, motion = judged.text(replication), judged.motion(replication)
            pools = pools_of(len(text), judged.pool, seed=replication)
            for kind, groups in groups_of(judged.record, replication).items():
                for k, value in enumerate(r_precision(text, motion, pools, groups, top).tolist(), start=1):
                    found.setdefault(f"R@{k}{kind}", []).append(value)
        return {name: interval(values) for name, values in found.items()}

    def per_sample(self, judged: Judged) -> dict[str, Tensor]:
        """Whether each caption finds its motion; NaN for a sample that is in no pool of any replication."""
        if self.missing(judged.record, judged.pool):
            return {}
        hits = [self._hits(judged, replication) for replication in judged.replications]
        return {name: torch.stack([found[name] for found in hits]).nanmean(dim=0) for name in hits[0]}

    def _hits(self, judged: Judged, replication: int) -> dict[str, Tensor]:
        text, motion = judged.text(replication), judged.motion(replication)
        pools = pools_of(len(text), judged.pool, seed=replication)
        found: dict[str, Tensor] = {}
        for kind, groups in groups_of(judged.record, replication).items():
            values = torch.full((_TOP, len(text)), math.nan, dtype=torch.float64)
            ranks = pool_ranks(text, motion, pools, groups)
            for place in range(_TOP):
                values[place, pools] = (ranks < place + 1).double()
            found |= {f"R@{place + 1}{kind}": values[place] for place in range(_TOP)}
        return found


class JudgedMatching:
    """MM-Dist: the mean distance of captions from their motions."""

    def missing(self, record: Record, pool: int) -> dict[str, str]:
        """It can always be computed."""
        return {}

    def values(self, judged: Judged) -> dict[str, Interval]:
        """One value per replication in which captions or motions are new."""
        count = max(len(judged.judge.text), len(judged.judge.motion[judged.system]))
        found = [matching_distance(judged.text(place), judged.motion(place)).item() for place in range(count)]
        return {"MM-Dist": interval(found)}

    def per_sample(self, judged: Judged) -> dict[str, Tensor]:
        """The distance of each caption from its motion."""
        distances = [
            torch.linalg.vector_norm(judged.text(place).double() - judged.motion(place).double(), dim=-1)
            for place in judged.replications
        ]
        return {"MM-Dist": torch.stack(distances).mean(dim=0)}


class JudgedDiversity:
    """Diversity: the mean distance of random pairs of motions, which are drawn anew in each replication."""

    def missing(self, record: Record, pool: int) -> dict[str, str]:
        """It needs as many samples as pairs."""
        count = len(record.ids)
        reason = f"{count} samples, it is defined over {DIVERSITY_PAIRS} pairs"
        return {"Diversity": reason} if count < DIVERSITY_PAIRS else {}

    def values(self, judged: Judged) -> dict[str, Interval]:
        """One value per replication."""
        if self.missing(judged.record, judged.pool):
            return {}
        found = [diversity(judged.motion(place), DIVERSITY_PAIRS, seed=place).item() for place in judged.replications]
        return {"Diversity": interval(found)}

    def per_sample(self, judged: Judged) -> dict[str, Tensor]:
        """It is no mean over samples."""
        return {}


class JudgedDistance:
    """FID against real motions. That of the real motions themselves is the floor, see `floor_distances`."""

    def missing(self, record: Record, pool: int) -> dict[str, str]:
        """It needs a covariance, and its floor a training split as large as the measured one."""
        count, trains = len(record.ids), [judge.train for judge in record.judges.values()]
        found = {"FID": f"{count} samples have no covariance"} if count < 2 else {}
        if any(train is None or len(train) < count for train in trains):
            found["floor of FID"] = f"the training split does not hold {count} motions"
        return found

    def values(self, judged: Judged) -> dict[str, Interval]:
        """One value per replication; for real motions one per part of the training split."""
        judge = judged.judge
        real = judge.motion.get(REAL)
        if real is None or real.shape[1] < 2:
            return {}
        if judged.system == REAL:
            found = [] if judge.train is None else floor_distances(judge.train, real[0])
        else:
            targets = [gaussian_of(one) for one in real]
            found = [
                frechet_distance(gaussian_of(judged.motion(place)), at_replication(targets, place)).item()
                for place in range(max(len(judge.motion[judged.system]), len(targets)))
            ]
        return {"FID": interval(found)} if found else {}

    def per_sample(self, judged: Judged) -> dict[str, Tensor]:
        """It is no mean over samples."""
        return {}


class JudgedMultiModality:
    """The mean distance of random pairs among motions of the same caption.

    It is a mean over the replications' pairs of the same motions, and has no interval.
    """

    def missing(self, record: Record, pool: int) -> dict[str, str]:
        """It needs several motions of a caption."""
        counts = [values.shape[1] for judge in record.judges.values() for values in judge.repeats.values()]
        if counts and min(counts) >= MULTIMODALITY_PAIRS:
            return {}
        return {"MultiModality": f"it needs {MULTIMODALITY_PAIRS} or more motions of the same caption"}

    def values(self, judged: Judged) -> dict[str, Interval]:
        """The mean of the replications' pairs."""
        repeats = judged.judge.repeats.get(judged.system)
        if repeats is None or repeats.shape[1] < MULTIMODALITY_PAIRS:
            return {}
        found = [multimodality(repeats, MULTIMODALITY_PAIRS, seed=place).item() for place in judged.replications]
        mean = math.fsum(found) / len(found)
        return {"MultiModality": Interval(mean, None, (mean,))}

    def per_sample(self, judged: Judged) -> dict[str, Tensor]:
        """It is no mean over samples."""
        return {}


JUDGE_METRICS: Sequence[JudgeMetric] = (
    JudgedPrecision(),
    JudgedMatching(),
    JudgedDiversity(),
    JudgedDistance(),
    JudgedMultiModality(),
)
"""All metrics of judges, in the table's order."""


def groups_of(record: Record, replication: int) -> dict[str, Tensor | None]:
    """What counts as right in R-Precision, by the suffix of its names: [N] group numbers, None for the own motion.

    A sample without a label is a group of its own.
    """
    groups: dict[str, Tensor | None] = {"": None, "_caption": id_keys(at_replication(record.captions, replication))}
    if any(label is not None for label in record.labels):
        pairs = zip(record.ids, record.labels, strict=True)
        groups["_label"] = id_keys([f"id {sample}" if label is None else f"label {label}" for sample, label in pairs])
    return groups


def floor_distances(train: Tensor, real: Tensor) -> list[float]:
    """The floor of FID: disjoint parts of the training split [M, W], each of N motions, against the real ones [N, W].

    Empty if the training split holds fewer than N.
    """
    target = gaussian_of(real)
    parts = [part for part in torch.split(train, len(real)) if len(part) == len(real)]
    return [frechet_distance(gaussian_of(part), target).item() for part in parts]
