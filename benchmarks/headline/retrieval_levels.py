"""Retrieval against the noise level: the step-aware reward beside TMR, each over its seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from benchmarks.headline.finished import Unit
from benchmarks.headline.sheets import Cell, Sheet
from lightning_realign.data.formats import read_json
from lightning_realign.evaluation.table import Interval, interval

System = Literal["step", "tmr"]
Direction = Literal["t2m", "m2t"]
SYSTEMS: dict[System, str] = {"step": "step-aware", "tmr": "TMR"}
DIRECTIONS: dict[Direction, str] = {"t2m": "text to motion", "m2t": "motion to text"}
KS = (1, 2, 3, 5, 10)
_UNIT = re.compile(r"retrieval_(step|tmr)_s(\d+)")
_KEY = re.compile(r"test/t(\d+)/(?:(\w+)/)?(t2m|m2t)_R@(\d+)")


@dataclass(frozen=True)
class Place:
    """What a figure is of. protocol: empty for the whole gallery. level: t, 0 for clean motions. k: of R@k."""

    system: System
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
                system: System = "step" if match[1] == "step" else "tmr"
                direction: Direction = "t2m" if found[3] == "t2m" else "m2t"
                place = Place(system, found[2] or "", direction, int(found[1]), int(found[4]))
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
    """The protocols that there are figures of."""
    return sorted({place.protocol for place in levels})


def protocol_name(protocol: str) -> str:
    """As readers know it."""
    pool = re.fullmatch(r"pool(\d+)", protocol)
    if pool:
        return f"pools of {pool[1]}"
    return protocol or "whole gallery"


def curve(
    levels: Mapping[Place, Interval], system: System, protocol: str, direction: Direction, k: int = 1
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
    """A table per protocol: both systems side by side, a line per direction and level."""
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
    return sheets


def _line(levels: Mapping[Place, Interval], protocol: str, direction: Direction, level: int) -> tuple[Cell, ...]:
    figures: Sequence[Interval | None] = [
        levels.get(Place(system, protocol, direction, level, k)) for system in SYSTEMS for k in KS
    ]
    step, tmr = figures[0], figures[len(KS)]
    ratio = step.mean / tmr.mean if step is not None and tmr is not None and tmr.mean > 0 else None
    return DIRECTIONS[direction], str(level), *figures, ratio
