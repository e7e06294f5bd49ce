"""The paired difference of two rows, of one run or of two: what changes on the same captions from the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.record import Record, at_draw
from lightning_realign.evaluation.scoring import POOL, REAL, groups_of
from lightning_realign.metrics.functional.generation import embedding_distance, pool_ranks, pools_of
from lightning_realign.report.context import stated

# FID takes milliseconds where the other figures take microseconds.
FID_HALVES = 100
_TAIL = 0.025
Unit = Literal["sample", "caption"]
"""What is drawn with replacement: every sample by itself, or all samples of a caption together."""


@dataclass(frozen=True)
class Difference:
    """A figure of two rows and their difference `after` - `before`, with the 95% interval [low, high] of it."""

    before: float
    after: float
    low: float
    high: float

    @property
    def change(self) -> float:
        """The difference of the two figures as measured."""
        return self.after - self.before

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0, by more than the rounding errors of a bound that is 0."""
        rounding = 1e-12 * max(abs(self.before), abs(self.after))
        return self.low > rounding or self.high < -rounding


@dataclass(frozen=True)
class Side:
    """A row of a record."""

    record: Record
    row: str


def differences(
    before: Side, after: Side, resamples: int = 2000, seed: int = 0, fid: bool = True, unit: Unit = "sample"
) -> dict[str, Difference]:
    """All figures that both rows have, with paired bootstrap intervals over the samples, or over their captions.

    Per sample, a figure is averaged over the replications; R-Precision's per-sample value is whether the caption finds
    its motion in its pool of 32, pools being the same on both sides. The samples are then drawn with replacement, the
    same for both sides (percentile intervals: Efron and Tibshirani, 1993). Drawing with replacement would distort FID:
    its interval is that of the delete-half jackknife (Shao and Wu, 1989), 1.96 deviations of the difference over random
    halves of the samples, of one replication each in turn, so that it is rather too wide than too narrow.

    Samples of one caption are alike: where captions recur, intervals over samples are of these very captions, and those
    over captions, which are drawn with all their samples (the cluster bootstrap), of captions like them.

    Args:
        before: the row to compare with.
        after: the row of interest.
        resamples: of the samples.
        seed: of their choice.
        fid: whether to compute the FID's difference, the slowest.
        unit: what is drawn.

    Raises:
        ConfigError: fewer than 100 resamples, or another unit.
        DataError: a row that its record lacks, or records of other samples, captions, seeds or judges, or captions that
            vary by replication and so cannot be drawn.
    """
    if resamples < 100:
        raise ConfigError(f"resamples is {resamples}; set it to 100 or more")
    _require_alike(before, after)
    first, second = per_sample(before), per_sample(after)
    random = torch.Generator().manual_seed(seed)
    groups = _groups(before.record, unit)
    drawn = resample_weights(groups, resamples, random)
    result: dict[str, Difference] = {}
    for name in (name for name in first if name in second):
        found = paired_difference(first[name], second[name], drawn)
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


def paired_difference(before: Tensor, after: Tensor, drawn: Tensor) -> Difference:
    """Of per-sample values [N], left out where either side has none (NaN); all NaN where no sample has both.

    Args:
        before: values to compare with.
        after: values of interest.
        drawn: [resamples, N] how often each sample is in each resample, see `resample_weights`.
    """
    both = ~(before.isnan() | after.isnan())
    changes = torch.where(both, after - before, 0.0).to(drawn.dtype)
    means = (drawn @ changes) / (drawn @ both.to(drawn.dtype))
    low, high = _interval(means)
    return Difference(before[both].mean().item(), after[both].mean().item(), low, high)


def _interval(values: Tensor) -> tuple[float, float]:
    finite = values[values.isfinite()]
    if not len(finite):
        return math.nan, math.nan
    low, high = finite.quantile(torch.tensor((_TAIL, 1 - _TAIL), dtype=values.dtype)).tolist()
    return low, high


def per_sample(side: Side) -> dict[str, Tensor]:
    """Values [N] of every figure that is a mean over samples, averaged over the replications."""
    record, row = side.record, side.row
    found = {name: values.nanmean(dim=0) for name, values in record.figures[row].items() if not _is_cost(name)}
    for name in record.judges:
        distances = [
            torch.linalg.vector_norm(text.double() - motion.double(), dim=-1)
            for text, motion in (_pair(side, name, draw) for draw in range(record.replications))
        ]
        found[f"{name}/MM-Dist"] = torch.stack(distances).mean(dim=0)
        if len(record.ids) >= POOL:
            hits = [_hits(side, name, draw) for draw in range(record.replications)]
            for figure in hits[0]:
                found[f"{name}/{figure}"] = torch.stack([values[figure] for values in hits]).nanmean(dim=0)
    return found


def _is_cost(figure: str) -> bool:
    """Costs are a batch's, not a sample's."""
    return figure in ("seconds", "denoiser_calls", "peak_memory")


def _pair(side: Side, judge: str, replication: int) -> tuple[Tensor, Tensor]:
    embeddings = side.record.judges[judge]
    return at_draw(embeddings.text, replication), at_draw(embeddings.motion[side.row], replication)


def _hits(side: Side, judge: str, replication: int) -> dict[str, Tensor]:
    """Per sample whether its caption finds its motion among the k nearest [N]; NaN where it is in no pool."""
    text, motion = _pair(side, judge, replication)
    pools = pools_of(len(text), POOL, seed=replication)
    found: dict[str, Tensor] = {}
    for kind, groups in groups_of(side.record, replication).items():
        values = torch.full((3, len(text)), math.nan, dtype=torch.float64)
        ranks = pool_ranks(text, motion, pools, groups)
        for place in range(3):
            values[place, pools] = (ranks < place + 1).double()
        found |= {f"R@{place + 1}{kind}": values[place] for place in range(3)}
    return found


def _fid_difference(before: Side, after: Side, judge: str, groups: Tensor, random: torch.Generator) -> Difference:
    def distance(side: Side, replication: int, rows: Tensor) -> float:
        real = at_draw(before.record.judges[judge].motion[REAL], replication)
        _, motion = _pair(side, judge, replication)
        return embedding_distance(motion[rows], real[rows]).item()

    count, draws = int(groups.max()) + 1, before.record.replications
    everyone = torch.arange(len(groups))
    figures = [math.fsum(distance(side, draw, everyone) for draw in range(draws)) / draws for side in (before, after)]
    kept = [torch.randperm(count, generator=random)[: count // 2] for _ in range(FID_HALVES)]
    halves = [torch.isin(groups, chosen).nonzero()[:, 0] for chosen in kept]
    changes = [
        distance(after, number % draws, half) - distance(before, number % draws, half)
        for number, half in enumerate(halves)
    ]
    width = 1.96 * torch.tensor(changes, dtype=torch.float64).std().item()
    change = figures[1] - figures[0]
    return Difference(figures[0], figures[1], change - width, change + width)


def _require_alike(before: Side, after: Side) -> None:
    """Refuse to pair what was not measured on the same samples, captions and noise, by the same judges."""
    for side in (before, after):
        if side.row not in side.record.figures:
            raise DataError(f"no row {side.row!r} in the record; choose one of {', '.join(side.record.figures)}")
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
