"""Metrics of the study that a test run's own table lacks, from its record alone.

Symbols: N samples, M motions of the training split, W channels of an embedding, K replications of a system (1 for given
motions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from experiments.mocap.measure.content import content_of
from lightning_realign.data.datamodule import OwnDataModule
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.judge_metrics import REAL
from lightning_realign.evaluation.paired import Side, per_sample
from lightning_realign.evaluation.record import Embeddings, Record
from lightning_realign.evaluation.scoring import score
from lightning_realign.metrics.functional.generation import embedding_distance
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.report.intervals import Interval

MATCHED = "matched"
MATCHED_DRAWS = 20
RESAMPLES = 2000
_TAIL = 0.025


@dataclass(frozen=True)
class Bounds:
    """A mean over `count` samples with its 95% bootstrap interval [low, high]."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Training:
    """First captions and labels of the M motions of a training split, in the order of `Embeddings.train`."""

    captions: tuple[str, ...]
    labels: tuple[str | None, ...]


@dataclass(frozen=True)
class Matches:
    """Motions of the training split that could have been made for the samples of a record.

    indices: [K, N] of the training motions. by_caption, by_label, by_content: how many samples were matched by what.
    """

    indices: Tensor
    by_caption: int
    by_label: int
    by_content: int


def read_training(root: Path, max_length: int = 200, min_length: int | None = None) -> Training:
    """The training split of a data set.

    Raises:
        DataError: the data set cannot be used.
    """
    data = OwnDataModule(root, max_length=max_length, min_length=min_length)
    ids = data.ids("train")
    # Judges embed the training split in the order of the ids' keys.
    ordered = [sample for _, sample in sorted(zip(id_keys(ids).tolist(), ids, strict=True))]
    captions = tuple(sample.caption for sample in data.samples("train", ordered))
    return Training(captions, tuple(data.labels.get(sample) for sample in ordered))


def first_replications(record: Record, count: int) -> Record:
    """The record as it would be of its first `count` replications.

    Raises:
        ConfigError: it has fewer, or `count` is below 1.
    """
    if not 1 <= count <= record.replications:
        raise ConfigError(f"replications is {count}; the record has {record.replications}: choose 1 to that many")
    judges = {
        name: replace(
            judge,
            text=judge.text[:count],
            motion={system: values[:count] for system, values in judge.motion.items()},
        )
        for name, judge in record.judges.items()
    }
    metrics = {
        system: {name: values[:count] for name, values in found.items()} for system, found in record.metrics.items()
    }
    return replace(
        record,
        captions=record.captions[:count],
        lengths=record.lengths[:count],
        replications=count,
        metrics=metrics,
        judges=judges,
    )


def pooled_distance(judge: Embeddings, system: str) -> float:
    """FID of the motions of all replications of a system together against the real motions.

    More motions than one replication has make the covariance's estimate better, so that less of the distance is noise.
    """
    return embedding_distance(judge.motion[system].flatten(0, 1), judge.motion[REAL].flatten(0, 1)).item()


def match(record: Record, training: Training, draws: int = MATCHED_DRAWS, seed: int = 0) -> Matches:
    """For every sample random training motions of the same first caption, or else label, or else content.

    The content is the label's first part. Within a draw no training motion is taken twice for the same caption (or
    label) before all of them have been: repeated motions would have less variance than a sampler's.

    Args:
        record: of the samples.
        training: where the motions come from.
        draws: K, how often each is drawn, independently.
        seed: of the choice.

    Raises:
        DataError: a sample has no match at all.
    """
    pools = _pools(training)
    chosen: list[tuple[str, str]] = []
    for sample, caption, label in zip(record.ids, record.captions[0], record.labels, strict=True):
        keys = [("caption", caption), *(() if label is None else (("label", label), ("content", content_of(label))))]
        key = next((key for key in keys if key in pools), None)
        if key is None:
            raise DataError(f"sample {sample!r} has no training motion of its caption, label or content")
        chosen.append(key)
    random = torch.Generator().manual_seed(seed)
    indices = torch.empty(draws, len(chosen), dtype=torch.int64)
    for draw in range(draws):
        waiting: dict[tuple[str, str], list[int]] = {}
        for place, key in enumerate(chosen):
            if not waiting.get(key):
                order = torch.randperm(len(pools[key]), generator=random).tolist()
                waiting[key] = [pools[key][number] for number in order]
            indices[draw, place] = waiting[key].pop()
    counts = [sum(kind == wanted for kind, _ in chosen) for wanted in ("caption", "label", "content")]
    return Matches(indices, *counts)


def _pools(training: Training) -> dict[tuple[str, str], list[int]]:
    """The training motions of every caption, label and content."""
    pools: dict[tuple[str, str], list[int]] = {}
    for place, (caption, label) in enumerate(zip(training.captions, training.labels, strict=True)):
        pools.setdefault(("caption", caption), []).append(place)
        if label is not None:
            pools.setdefault(("label", label), []).append(place)
            pools.setdefault(("content", content_of(label)), []).append(place)
    return pools


def with_matches(record: Record, matches: Matches) -> Record:
    """A record of two systems, real and `matched`: what a sampler of the true conditional law would come close to.

    Raises:
        DataError: a judge has not embedded the training split.
    """
    judges: dict[str, Embeddings] = {}
    for name, judge in record.judges.items():
        if judge.train is None or len(judge.train) <= int(matches.indices.max()):
            raise DataError(f"judge {name!r} has not embedded the training split that the matches are of")
        motion = {REAL: judge.motion[REAL][:1], MATCHED: judge.train[matches.indices]}
        judges[name] = Embeddings(judge.text[:1], motion, {}, judge.train)
    return replace(
        record,
        captions=record.captions[:1],
        lengths=record.lengths[:1],
        replications=len(matches.indices),
        metrics={REAL: {}, MATCHED: {}},
        judges=judges,
    )


def matched_metrics(record: Record, matches: Matches) -> dict[str, Interval]:
    """Every judge's metrics of the matched training motions; their FID is the matched floor.

    `judge/FID_pooled` is the FID of the motions of all replications together.

    Raises:
        DataError: as `with_matches`.
    """
    made = with_matches(record, matches)
    found = score(made)[MATCHED]
    pooled = {name: pooled_distance(judge, MATCHED) for name, judge in made.judges.items()}
    return found | {f"{name}/FID_pooled": Interval(value, None, (value,)) for name, value in pooled.items()}


def bounded(values: Tensor, resamples: int = RESAMPLES, seed: int = 0) -> Bounds | None:
    """Mean and percentile bootstrap interval of values [N], those that are NaN left out; None where all are."""
    known = values[~values.isnan()].double()
    if not len(known):
        return None
    random = torch.Generator().manual_seed(seed)
    means = known[torch.randint(len(known), (resamples, len(known)), generator=random)].mean(dim=1)
    low, high = means.quantile(torch.tensor((_TAIL, 1 - _TAIL), dtype=means.dtype)).tolist()
    return Bounds(known.mean().item(), low, high, len(known))


def subset_metrics(side: Side, ids: Sequence[str], against: Side | None = None) -> dict[str, Bounds]:
    """Per-sample metrics averaged over some of the samples; R-Precision keeps the pools of the whole split.

    Args:
        side: the system.
        ids: the samples; those that the record lacks are left out.
        against: of the same samples; its values are subtracted, sample by sample.

    Raises:
        DataError: the record has none of the samples.
    """
    wanted = set(ids)
    places = [place for place, sample in enumerate(side.record.ids) if sample in wanted]
    if not places:
        raise DataError(f"the record has none of the {len(wanted)} samples asked for; give ids of its split")
    values: Mapping[str, Tensor] = per_sample(side)
    if against is not None:
        other = per_sample(against)
        values = {name: found - other[name] for name, found in values.items() if name in other}
    bounds = {name: bounded(found[places]) for name, found in values.items()}
    return {name: found for name, found in bounds.items() if found is not None}
