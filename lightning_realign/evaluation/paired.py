"""Paired differences of two systems, of one run or of two: what changes on the same captions from the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.cost import COSTS
from lightning_realign.evaluation.judge_metrics import JUDGE_METRICS, REAL, Judged
from lightning_realign.evaluation.record import Record, at_replication
from lightning_realign.metrics.functional.generation import embedding_distance
from lightning_realign.report.context import stated

# FID takes milliseconds where the other metrics take microseconds.
FID_HALVES = 100
_TAIL = 0.025
Unit = Literal["sample", "caption"]
"""What the bootstrap draws with replacement: single samples, or captions with all their samples."""


@dataclass(frozen=True)
class Difference:
    """A metric of two systems, and the 95% interval [low, high] of the difference `after` - `before`."""

    before: float
    after: float
    low: float
    high: float

    @property
    def change(self) -> float:
        """The difference as measured."""
        return self.after - self.before

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0, by more than the rounding errors of a bound that is 0."""
        rounding = 1e-12 * max(abs(self.before), abs(self.after))
        return self.low > rounding or self.high < -rounding


@dataclass(frozen=True)
class Side:
    """A system of a record."""

    record: Record
    system: str

    def judged(self, judge: str) -> Judged:
        """What a judge made of it."""
        return Judged(self.record, self.record.judges[judge], self.system)


def differences(
    before: Side, after: Side, resamples: int = 2000, seed: int = 0, fid: bool = True, unit: Unit = "sample"
) -> dict[str, Difference]:
    """All metrics that both systems have, with paired bootstrap intervals over the samples, or over their captions.

    The value of a sample is averaged over the replications; R-Precision's is whether the caption finds its motion in
    its pool of 32, and both sides have the same pools. The samples are then drawn with replacement, the same for both
    sides (percentile intervals: Efron and Tibshirani, 1993). Drawing with replacement would distort FID. Its interval
    comes from the delete-half jackknife (Shao and Wu, 1989): 1.96 deviations of the difference over random halves of
    the samples, of one replication each in turn, so that it is rather too wide than too narrow.

    Samples of one caption are alike. Where captions recur, intervals over samples hold for these very captions.
    Intervals over captions, which are drawn with all their samples (the cluster bootstrap), hold for captions like
    them.

    Args:
        before: the system to compare with.
        after: the system of interest.
        resamples: how often samples are drawn.
        seed: of the draws.
        fid: whether to compute the FID's difference, the slowest.
        unit: what is drawn.

    Raises:
        ConfigError: fewer than 100 resamples, or another unit.
        DataError: a system that its record lacks, or records of other samples, captions, seeds or judges, or captions
            that vary by replication and so cannot be drawn.
    """
    if resamples < 100:
        raise ConfigError(f"resamples is {resamples}; set it to 100 or more")
    _require_alike(before, after)
    first, second = per_sample(before), per_sample(after)
    random = torch.Generator().manual_seed(seed)
    groups = _groups(before.record, unit)
    weights = resample_weights(groups, resamples, random)
    result: dict[str, Difference] = {}
    for name in (name for name in first if name in second):
        found = paired_difference(first[name], second[name], weights)
        if not math.isnan(found.change):
            result[name] = found
    if fid:
        for name in before.record.judges:
            if REAL in before.record.judges[name].motion and name in after.record.judges and int(groups.max()) >= 3:
                result[f"{name}/FID"] = _fid_difference(before, after, name, groups, random)
    return result


def _groups(record: Record, unit: Unit) -> Tensor:
    """The number [N] of each sample's unit, 0 to G - 1."""
    if unit not in get_args(Unit):
        raise ConfigError(f"unit is {unit!r}; choose {' or '.join(get_args(Unit))}")
    if unit == "sample":
        return torch.arange(len(record.ids))
    if len(record.captions) > 1:
        raise DataError(
            "the captions vary by replication (protocol `published`), so that they cannot be drawn; use unit sample"
        )
    places = {caption: place for place, caption in enumerate(dict.fromkeys(record.captions[0]))}
    return torch.tensor([places[caption] for caption in record.captions[0]])


def resample_weights(groups: Tensor, resamples: int, random: torch.Generator) -> Tensor:
    """How often each of N samples is in each resample [resamples, N], float64.

    Args:
        groups: [N] number of each sample's group, 0 to G - 1; G groups are drawn with replacement.
        resamples: how many.
        random: source of the choice.
    """
    count = int(groups.max()) + 1
    drawn = torch.randint(count, (resamples, count), generator=random)
    often = torch.zeros(resamples, count, dtype=torch.float64)
    return often.scatter_add_(1, drawn, torch.ones_like(often))[:, groups]


def paired_difference(before: Tensor, after: Tensor, weights: Tensor) -> Difference:
    """The difference of per-sample values [N]; a sample with no value (NaN) on either side is left out.

    All numbers are NaN if no sample has a value on both sides.

    Args:
        before: values to compare with.
        after: values of interest.
        weights: [resamples, N] how often each sample is in each resample, see `resample_weights`.
    """
    both = ~(before.isnan() | after.isnan())
    changes = torch.where(both, after - before, 0.0).to(weights.dtype)
    means = (weights @ changes) / (weights @ both.to(weights.dtype))
    low, high = _interval(means)
    return Difference(before[both].mean().item(), after[both].mean().item(), low, high)


def _interval(values: Tensor) -> tuple[float, float]:
    finite = values[values.isfinite()]
    if not len(finite):
        return math.nan, math.nan
    low, high = finite.quantile(torch.tensor((_TAIL, 1 - _TAIL), dtype=values.dtype)).tolist()
    return low, high


def per_sample(side: Side) -> dict[str, Tensor]:
    """Values [N] of every metric that is a mean over samples, averaged over the replications.

    Costs are left out: they belong to a batch, not to a sample.
    """
    found = {
        name: values.nanmean(dim=0) for name, values in side.record.metrics[side.system].items() if name not in COSTS
    }
    for name in side.record.judges:
        for metric in JUDGE_METRICS:
            values = metric.per_sample(side.judged(name))
            found |= {f"{name}/{part}": value for part, value in values.items()}
    return found


def _fid_difference(before: Side, after: Side, judge: str, groups: Tensor, random: torch.Generator) -> Difference:
    def distance(side: Side, replication: int, chosen: Tensor) -> float:
        real = at_replication(before.record.judges[judge].motion[REAL], replication)
        motion = side.judged(judge).motion(replication)
        return embedding_distance(motion[chosen], real[chosen]).item()

    count, replications = int(groups.max()) + 1, before.record.replications
    everyone = torch.arange(len(groups))
    first, second = (
        math.fsum(distance(side, place, everyone) for place in range(replications)) / replications
        for side in (before, after)
    )
    kept = [torch.randperm(count, generator=random)[: count // 2] for _ in range(FID_HALVES)]
    halves = [torch.isin(groups, chosen).nonzero()[:, 0] for chosen in kept]
    changes = [
        distance(after, number % replications, half) - distance(before, number % replications, half)
        for number, half in enumerate(halves)
    ]
    width = 1.96 * torch.tensor(changes, dtype=torch.float64).std().item()
    change = second - first
    return Difference(first, second, change - width, change + width)


def _require_alike(before: Side, after: Side) -> None:
    """Refuse to pair what was not measured on the same samples, captions and noise, by the same judges."""
    for side in (before, after):
        if side.system not in side.record.metrics:
            raise DataError(f"no system {side.system!r} in the record; choose one of {', '.join(side.record.metrics)}")
    one, other = before.record, after.record
    same: Mapping[str, Callable[[Record], object]] = {
        "samples": lambda record: record.ids,
        "captions": lambda record: record.captions,
        "lengths": lambda record: record.lengths.tolist(),
        "motions": lambda record: record.settings.get("provenance", {}).get("data", {}).get("content"),
        "replications": lambda record: record.replications,
        "seed": lambda record: stated(record.settings, "sampling", "seed"),
        "protocol": lambda record: stated(record.settings, "measuring", "protocol"),
        "judges": lambda record: record.settings.get("judge_fingerprints"),
    }
    differing = [name for name, value in same.items() if value(one) != value(other)]
    if differing:
        raise DataError(
            f"the two runs differ in {', '.join(differing)} and cannot be paired: test both on the same split with the "
            "same judges, seed, protocol and replications"
        )
