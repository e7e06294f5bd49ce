"""The main tables: every system of a generator's test run, its paired differences, and what was to be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.mocap.report.analysis import MATCHED, Bounds, Matches, matched_metrics, pooled_distance, subset_metrics
from experiments.mocap.report.finished import Metrics
from experiments.mocap.report.sheets import Cell, Sheet
from lightning_realign.evaluation.judge_metrics import REAL
from lightning_realign.evaluation.paired import Difference, Side, Unit, differences
from lightning_realign.evaluation.record import Record
from lightning_realign.report.intervals import Interval
from lightning_realign.report.receipts import Receipt

PRECISION = ("R@1", "R@1_caption", "R@1_label", "R@3")
# Whether a motion does what the text says, without learned parts: by content labels, or by the synthetic oracle.
VERDICTS = ("semantic_accuracy", "oracle_accuracy")
NAMES = {
    REAL: "Real",
    "reconstruction": "reconstruction",
    "nearest": "nearest training motion",
    "unguided": "unguided",
    "guided": "guided",
    MATCHED: "training motions of the same caption",
}
_PLAIN = ("reward", "foot_skating", "jerk", "penetration", "blown_up")
_COSTS = ("seconds", "denoiser_calls")
_GENERATED = ("unguided", "guided")
_POOLED = (
    "Fewer motions make FID larger. The floor's parts have as many as one replication, so that pooled FID minus it is "
    "too small; the matched motions are pooled likewise."
)


@dataclass(frozen=True)
class Study:
    """A generator's test run.

    name: of its tables. title: of the generator and data. record, receipt: of the run. matches: training motions for
    its samples, None without. nearest: the system of the nearest training motions, None without.
    """

    name: str
    title: str
    record: Record
    receipt: Receipt
    matches: Matches | None = None
    nearest: Metrics | None = None


def study_systems(study: Study) -> dict[str, Metrics]:
    """All systems, in the order of the tables, with the pooled FID of those of the run as `judge/FID_pooled`."""
    systems: dict[str, Metrics] = {}
    for name, metrics in study.receipt.systems.items():
        systems[name] = metrics if name == REAL else {**metrics, **_pooled(study.record, name)}
    if study.nearest is not None:
        systems["nearest"] = study.nearest
    if study.matches is not None and all(judge.train is not None for judge in study.record.judges.values()):
        systems[MATCHED] = matched_metrics(study.record, study.matches)
    return {name: systems[name] for name in (*NAMES, *systems) if name in systems}


def _pooled(record: Record, system: str) -> dict[str, Interval]:
    found = {
        name: pooled_distance(judge, system)
        for name, judge in record.judges.items()
        if REAL in judge.motion and system in judge.motion and judge.motion[REAL].shape[1] > 1
    }
    return {f"{name}/FID_pooled": Interval(value, None, (value,)) for name, value in found.items()}


def judge_sheet(study: Study, systems: Mapping[str, Metrics], judge: str) -> Sheet:
    """What one judge says of every system; FID raw, pooled, and minus both floors."""
    floor = systems.get(REAL, {}).get(f"{judge}/FID")
    matched = systems.get(MATCHED, {})
    lines: list[tuple[Cell, ...]] = []
    for name, system in systems.items():
        own = None if name == REAL else system.get(f"{judge}/FID")
        pooled = system.get(f"{judge}/FID_pooled")
        lines.append(
            (
                NAMES.get(name, name),
                *(system.get(f"{judge}/{metric}") for metric in (*PRECISION, "MM-Dist")),
                own,
                None if pooled is None else pooled.mean,
                _minus(own, floor),
                _minus(own, matched.get(f"{judge}/FID")),
                _minus(pooled, floor),
                _minus(pooled, matched.get(f"{judge}/FID_pooled")),
            )
        )
    if floor is not None:
        lines.append(("parts of the training split (the floor)", *[None] * 5, floor, *[None] * 5))
    fid = ("FID", "pooled FID", "FID - floor", "FID - matched", "pooled - floor", "pooled - matched")
    return Sheet(
        f"{study.name}_{judge}",
        f"{study.title}: judge {judge}",
        ("system", *PRECISION, "MM-Dist", *fid),
        tuple(lines),
        _fid_notes(study),
    )


def _fid_notes(study: Study) -> tuple[str, ...]:
    notes = [
        "Means over replications ± 95% interval. Pooled FID: the motions of all replications together against the real "
        "ones. Floor: parts of the training split, each of the test split's size, against the real ones. A difference "
        "below 0 means closer to the test split than other real motions are; training data is of other takes and mixes "
        "of captions, so the floor is no bound.",
        _POOLED,
    ]
    if study.matches is not None:
        found = study.matches
        notes.append(
            f"Matched: for each test text a random training motion, {len(found.indices)} draws: of the same first "
            f"caption ({found.by_caption}), else of the same label ({found.by_label}), else of the same content "
            f"({found.by_content}). It is what a sampler of the training data's own conditional law would get."
        )
    return tuple(notes)


def _minus(metric: Interval | None, floor: Interval | None) -> float | None:
    return None if metric is None or floor is None else metric.mean - floor.mean


def motion_sheet(study: Study, systems: Mapping[str, Metrics]) -> Sheet:
    """What the motions themselves show: what the text asked for, physical quality, distances, cost."""
    known = dict.fromkeys(name for system in systems.values() for name in system if "/" not in name)
    probes = [name for name in known if name.startswith(("semantic", "oracle", "distance"))]
    metrics = [*probes, *(name for name in (*_PLAIN, *_COSTS) if name in known)]
    errors = ("semantic error", "error / unguided's") if known.keys() & set(VERDICTS) else ()
    unguided = _error(systems.get("unguided", {}))
    lines: list[tuple[Cell, ...]] = []
    for name, system in systems.items():
        if name == MATCHED:
            continue
        error = _error(system)
        ratio = error / unguided if error is not None and unguided else None
        values = [system.get(metric) for metric in metrics]
        lines.append((NAMES.get(name, name), replications_of(system), *((error, ratio) if errors else ()), *values))
    headers = ("system", "replications", *errors, *(name.replace("_", " ") for name in metrics))
    note = "Seconds are per motion, of the whole batch's share; foot skating is a fraction of frames, jerk in m/s³."
    return Sheet(f"{study.name}_motion", f"{study.title}: the motions themselves", headers, tuple(lines), (note,))


def _error(system: Metrics) -> float | None:
    return next((1 - system[name].mean for name in VERDICTS if name in system), None)


def replications_of(system: Metrics) -> int:
    """How many replications the system's motions have: given motions have one, and no metric of theirs varies."""
    metrics = [len(metric.values) for name, metric in system.items() if "/" not in name]
    return max(metrics, default=1)


def paired(record: Record, before: str, after: str, unit: Unit = "sample") -> dict[str, Difference]:
    """The paired differences of two systems; FID is left out against the real system, whose own is 0 by definition."""
    return differences(Side(record, before), Side(record, after), fid=REAL not in (before, after), unit=unit)


def difference_sheet(study: Study, found: Mapping[str, Difference], before: str, after: str) -> Sheet:
    """All metrics of two systems, with the change and its intervals over test motions and over captions."""
    captions = paired(study.record, before, after, "caption")
    lines = tuple(
        (name, change.before, change.after, change, "yes" if change.clear else "no", captions[name])
        for name, change in found.items()
    )
    count = len(set(study.record.captions[0]))
    return Sheet(
        f"{study.name}_{after}_minus_{before}",
        f"{study.title}: {after} minus {before}, pair by pair",
        ("metric", before, after, "change", "excludes 0", "change, over captions"),
        lines,
        (
            "95% intervals over the test motions, replications averaged first: bootstrap; FID: delete-half jackknife.",
            f"Over captions: all motions of a caption are drawn together ({count} of {len(study.record.ids)} motions).",
        ),
    )


def subset_sheet(study: Study, ids: Sequence[str]) -> Sheet | None:
    """Metrics of the samples whose captions do not occur in training; None where the run has none of them."""
    kept = sorted(set(ids) & set(study.record.ids))
    if not kept:
        return None
    sides = {system: Side(study.record, system) for system in (REAL, *_GENERATED) if system in study.record.metrics}
    found: dict[str, Mapping[str, Bounds]] = {system: subset_metrics(side, kept) for system, side in sides.items()}
    if all(system in sides for system in _GENERATED):
        found["guided - unguided"] = subset_metrics(sides["guided"], kept, sides["unguided"])
    names = dict.fromkeys(name for metrics in found.values() for name in metrics)
    lines = tuple((name, *(metrics.get(name) for metrics in found.values())) for name in names)
    note = (
        f"{len(kept)} of {len(study.record.ids)} test motions. R-Precision keeps the pools of the whole split; [95% "
        "bootstrap interval over the motions]."
    )
    title = f"{study.title}: captions that do not occur in training"
    return Sheet(f"{study.name}_unseen", title, ("metric", *found), lines, (note,))


def criteria_sheet(study: Study, systems: Mapping[str, Metrics], changes: Mapping[str, Difference]) -> Sheet | None:
    """What the study set out to show, and whether it does; None without both generated systems."""
    if not all(system in systems for system in (REAL, *_GENERATED)):
        return None
    lines: list[tuple[Cell, ...]] = []
    for judge in study.record.judges:
        lines += _judge_criteria(systems, changes, judge)
    real, before, after = (systems[system] for system in (REAL, *_GENERATED))
    errors = _error(before), _error(after)
    if errors[0] and errors[1] is not None:
        ratio = errors[1] / errors[0]
        lines.append(("semantic error: at most half", _error(real), *errors, ratio, _verdict(ratio <= 0.5)))
    if "foot_skating" in before and before["foot_skating"].mean > 0:
        values = [system["foot_skating"].mean for system in (real, before, after)]
        ratio = values[2] / values[1]
        lines.append(("foot skating: at most 1.05 times", *values, ratio, _verdict(ratio <= 1.05)))
    headers = ("criterion", "Real", *_GENERATED, "guided / unguided", "reached")
    return Sheet(f"{study.name}_criteria", f"{study.title}: what was to be shown", headers, tuple(lines), (_POOLED,))


def _judge_criteria(
    systems: Mapping[str, Metrics], changes: Mapping[str, Difference], judge: str
) -> list[tuple[Cell, ...]]:
    lines: list[tuple[Cell, ...]] = []
    real, before, after = (systems[system] for system in (REAL, *_GENERATED))
    for metric in ("R@1", "R@1_caption"):
        name = f"{judge}/{metric}"
        if name in changes and name in real:
            values = [system[name].mean for system in (real, before, after)]
            reached = changes[name].clear and changes[name].low > 0 and values[2] >= values[0]
            lines.append(
                (f"{name}: above unguided (interval), at least Real's", *values, changes[name], _verdict(reached))
            )
    name = f"{judge}/MM-Dist"
    if name in changes and name in real:
        values = [system[name].mean for system in (real, before, after)]
        lines.append(
            (
                f"{name}: below unguided",
                *values,
                changes[name],
                _verdict(changes[name].clear and changes[name].high < 0),
            )
        )
    matched = systems.get(MATCHED, {})
    # The floor's parts are no pools of replications: what is pooled has another bias, and is not compared with them.
    floors = (
        ("FID", "floor", real.get(f"{judge}/FID")),
        *((metric, "matched", matched.get(f"{judge}/{metric}")) for metric in ("FID", "FID_pooled")),
    )
    for metric, floor, least in floors:
        above = [_minus(system.get(f"{judge}/{metric}"), least) for system in (before, after)]
        if above[0] is None or above[1] is None:
            continue
        ratio = above[1] / above[0] if above[0] > 0 else None
        verdict = "unguided is at the floor" if ratio is None else _verdict(ratio <= 1 - 0.588)
        lines.append((f"{judge}/{metric} minus {floor}: at most 0.412 times", None, *above, ratio, verdict))
    return lines


def _verdict(reached: bool) -> str:
    return "yes" if reached else "no"
