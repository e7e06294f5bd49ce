"""Retrieval against the noise level: the step-aware reward beside TMR, each over its seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from experiments.mocap.report.finished import Unit
from experiments.mocap.report.sheets import Cell, Sheet
from lightning_realign.files.reading import read_json
from lightning_realign.report.intervals import Interval, interval

Direction = Literal["t2m", "m2t"]
SYSTEMS = {"step": "step-aware", "tmr": "TMR"}
# The step-aware reward with other shares of clean motions in its training, and without step token.
OTHERS = {
    "omega_0": "omega 0",
    "omega_0.25": "omega 0.25",
    "step": "omega 0.5",
    "omega_0.75": "omega 0.75",
    "omega_1": "omega 1",
    "notoken": "no step token",
}
DIRECTIONS: dict[Direction, str] = {"t2m": "text to motion", "m2t": "motion to text"}
KS = (1, 2, 3, 5, 10)
_UNIT = re.compile(r"retrieval_(step|tmr|omega_[\d.]+|notoken)_s(\d+)")
_KEY = re.compile(r"test/t(\d+)/(?:(\w+)/)?(t2m|m2t)_R@(\d+)")


@dataclass(frozen=True)
class Place:
    """What a value is of.

    system: of `SYSTEMS` or `OTHERS`. protocol: empty for the whole gallery. level: t, 0 for clean motions. k: of R@k.
    """

    system: str
    protocol: str
    direction: Direction
    level: int
    k: int


def read_levels(units: Mapping[str, Unit]) -> dict[Place, Interval]:
    """R@k in per cent of every system, protocol, direction and level, over the seeds."""
    values: dict[Place, list[float]] = {}
    for name, unit in units.items():
        match = _UNIT.fullmatch(name)
        metrics = {} if match is None else _test_metrics(unit.folder)
        for key, value in metrics.items():
            found = _KEY.fullmatch(key)
            if match is not None and found is not None:
                direction: Direction = "t2m" if found[3] == "t2m" else "m2t"
                place = Place(match[1], found[2] or "", direction, int(found[1]), int(found[4]))
                values.setdefault(place, []).append(value)
    return {place: interval(found) for place, found in values.items()}


def _test_metrics(folder: Path) -> dict[str, float]:
    """The metrics of the newest test run in a folder; empty without any."""
    found: dict[str, float] = {}
    for path in sorted(folder.rglob("metrics.json"), key=lambda path: path.stat().st_mtime):
        content = read_json(path, "metrics")
        if content.get("stage") == "test":
            found = content["metrics"]
    return found


def protocols_of(levels: Mapping[Place, Interval]) -> list[str]:
    """The protocols that there are values of."""
    return sorted({place.protocol for place in levels})


def protocol_name(protocol: str) -> str:
    """As readers know it."""
    pool = re.fullmatch(r"pool(\d+)", protocol)
    if pool:
        return f"pools of {pool[1]}"
    return protocol or "whole gallery"


def curve(
    levels: Mapping[Place, Interval], system: str, protocol: str, direction: Direction, k: int = 1
) -> list[tuple[int, Interval]]:
    """(t, R@k) of one system, by rising t."""
    wanted = (system, protocol, direction, k)
    found = [
        (place.level, value)
        for place, value in levels.items()
        if (place.system, place.protocol, place.direction, place.k) == wanted
    ]
    return sorted(found, key=lambda entry: entry[0])


def retrieval_sheets(levels: Mapping[Place, Interval]) -> list[Sheet]:
    """Two tables per protocol, a line per direction and level: both systems side by side; R@1 of all rewards."""
    sheets = []
    for protocol in protocols_of(levels):
        headers = [f"{name} R@{k}" for name in SYSTEMS.values() for k in KS]
        rows = [
            row
            for direction in get_args(Direction)
            for level in sorted({place.level for place in levels if place.protocol == protocol})
            for row in [_line(levels, protocol, direction, level)]
        ]
        seeds = max(len(value.values) for place, value in levels.items() if place.protocol == protocol)
        sheets.append(
            Sheet(
                f"retrieval_{protocol or 'gallery'}",
                f"Retrieval against the noise level, {protocol_name(protocol)}",
                ("direction", "t", *headers, "R@1 ratio"),
                tuple(rows),
                (f"Per cent, mean ± 1.96 s / sqrt(n) over n = {seeds} seeds (or as many as there are).",),
            )
        )
        sheets += _others_sheet(levels, protocol)
    return sheets


def _others_sheet(levels: Mapping[Place, Interval], protocol: str) -> list[Sheet]:
    """R@1 by omega, and without step token; none where no such reward was measured."""
    measured = {place.system for place in levels if place.protocol == protocol}
    shown = [name for name in OTHERS if name in measured]
    if shown in ([], ["step"]):
        return []
    rows: list[tuple[Cell, ...]] = [
        (DIRECTIONS[direction], str(level), *(levels.get(Place(name, protocol, direction, level, 1)) for name in shown))
        for direction in get_args(Direction)
        for level in sorted({place.level for place in levels if place.protocol == protocol})
    ]
    title = f"Retrieval by omega, R@1, {protocol_name(protocol)}"
    headers = ("direction", "t", *(OTHERS[name] for name in shown))
    note = "Per cent; omega is the share of clean motions in training; 0.5 over its seeds, the others of one."
    return [Sheet(f"retrieval_omega_{protocol or 'gallery'}", title, headers, tuple(rows), (note,))]


def _line(levels: Mapping[Place, Interval], protocol: str, direction: Direction, level: int) -> tuple[Cell, ...]:
    values: Sequence[Interval | None] = [
        levels.get(Place(system, protocol, direction, level, k)) for system in SYSTEMS for k in KS
    ]
    step, tmr = values[0], values[len(KS)]
    ratio = step.mean / tmr.mean if step is not None and tmr is not None and tmr.mean > 0 else None
    return DIRECTIONS[direction], str(level), *values, ratio
