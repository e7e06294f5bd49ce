"""The points of the sweeps on the validation split: what was set, and what the selectors say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.mocap.plan.units import MARK
from experiments.mocap.report.sheets import Cell, Sheet
from lightning_realign.report.receipts import Receipt

GENERATORS = ("mld", "mdm")
METRICS = ("guo/R@1_caption", "tmr/R@1_caption", "guo/FID", "tmr/FID", "reward", "foot_skating")
_POINT_MARK = "point.json"
_DEFAULT_OMEGA = 0.5
_OMEGA = re.compile(r"reward_omega_([\d.]+)")
# What unguided motions depend on.
_BASE = ("base", "sampling.steps", "sampling.cfg_scale", "sampling.scheduler", "sampling.ddim_eta")
# Settings that say nothing of how motions are made, or are axes.
# fmt: off
_SKIPPED = frozenset((
    "split", "split_size", "systems", "guided", "pool", "diversity_pairs", "measuring", "caches",
    "predict_replications", "samples", "left_out", "judges", "judge_fingerprints", "shared_with_reward", "provenance",
    "probes", "rescored_with", "sampling.seed", "guidance.mu", "guidance.eta", "generator.path", "reward.path",
))
# fmt: on


@dataclass(frozen=True)
class Point:
    """One run of a sweep. setting: all that is no axis. metrics: means of the system that was generated."""

    generator: str
    setting: tuple[tuple[str, str], ...]
    mu: float
    eta: float
    omega: float
    metrics: Mapping[str, float]
    guided: bool = True

    def at(self, axis: str) -> float:
        """Its place on the axis `mu`, `eta` or `omega`."""
        return {"mu": self.mu, "eta": self.eta, "omega": self.omega}[axis]


@dataclass(frozen=True)
class Slice:
    """Points of one setting that differ in the axes alone; `fixed` is the value of the third axis."""

    generator: str
    title: str
    axes: tuple[str, str]
    fixed: tuple[str, float]
    points: tuple[Point, ...]


def points_of(generator: str, receipt: Receipt) -> list[Point]:
    """The points that a run stands for: its guided system, and its unguided one as mu = eta = 0."""
    settings = _dotted(receipt.settings)
    reward = _unit_name(settings.get("reward.path"))
    omega = _OMEGA.fullmatch(reward)
    setting = {name: _as_text(value) for name, value in settings.items() if name not in _SKIPPED}
    base = Path(str(settings.get("generator.path", "")))
    setting |= {"base": f"{base.parent.name}/{base.name}", "reward": "reward" if omega else reward}
    found = []
    for system in (name for name in ("unguided", "guided") if name in receipt.systems):
        guided = system == "guided"
        mu, eta = (float(settings.get(f"guidance.{name}", 0.0)) if guided else 0.0 for name in ("mu", "eta"))
        metrics = {name: value.mean for name, value in receipt.systems[system].items()}
        value = float(omega[1]) if omega else _DEFAULT_OMEGA
        found.append(Point(generator, tuple(sorted(setting.items())), mu, eta, value, metrics, guided))
    return found


def _dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; weights of physical rewards and whatever is skipped stay whole."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        full = f"{prefix}{name}"
        if isinstance(value, Mapping) and full not in _SKIPPED and full != "guidance.physical":
            found |= _dotted(value, f"{full}.")
        else:
            found[full] = value
    return found


def _unit_name(path: Any) -> str:
    return Path(path).parent.name if isinstance(path, str) else ""


def _as_text(value: Any) -> str:
    """A setting as text; a list of checkpoints by the names of their units."""
    if isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
        return " + ".join(map(_unit_name, value))
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def read_points(out: Path) -> list[Point]:
    """All points under `units/val_*` and `sweeps/`: of finished units, and of sweeps as far as they have come."""
    points: dict[tuple[object, ...], Point] = {}
    for path in _tables(out):
        folder = path.relative_to(out).parts[1]
        generator = next((name for name in GENERATORS if name in folder.split("_")), None)
        for point in () if generator is None else points_of(generator, Receipt.read(path)):
            # Every run of a sweep may have measured the same unguided motions.
            points[generator, point.setting, point.mu, point.eta, point.omega, point.guided] = point
    return list(points.values())


def _tables(out: Path) -> Iterator[Path]:
    for folder in [*sorted(out.glob("units/val_*")), *sorted(out.glob("sweeps/*"))]:
        for path in sorted(folder.rglob("table-val.json")):
            if (folder / MARK).is_file() or (path.parent / _POINT_MARK).is_file():
                yield path


def slices(points: Sequence[Point], axes: tuple[str, str]) -> list[Slice]:
    """The planes over two axes that have at least two values of each.

    Args:
        points: of any generators and settings.
        axes: two of `mu`, `eta`, `omega`.
    """
    third = next(axis for axis in ("mu", "eta", "omega") if axis not in axes)
    groups: dict[tuple[str, tuple[tuple[str, str], ...], float], dict[tuple[float, float], Point]] = {}
    for point in (point for point in points if point.guided):
        group = groups.setdefault((point.generator, point.setting, point.at(third)), {})
        group[point.at(axes[0]), point.at(axes[1])] = point
    settings = [(generator, setting) for generator, setting, _ in groups]
    found = []
    for (generator, setting, value), cells in groups.items():
        if min(len({place[axis] for place in cells}) for axis in range(2)) < 2:
            continue
        title = _title(setting, [other for name, other in settings if name == generator])
        every = tuple(cells[place] for place in sorted(cells))
        found.append(Slice(generator, title, axes, (third, value), every))
    return found


def lines(points: Sequence[Point]) -> list[Slice]:
    """Points over mu at eta = 0 and the default omega, three or more, the unguided one of the same base first."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...], float], dict[float, Point]] = {}
    for point in (point for point in points if point.guided and (point.eta, point.omega) == (0, _DEFAULT_OMEGA)):
        groups.setdefault((point.generator, point.setting, point.omega), {})[point.mu] = point
    settings = [(generator, setting) for generator, setting, _ in groups]
    found = []
    for (generator, setting, omega), line in groups.items():
        start = next((point for point in points if not point.guided and _same_base(point, generator, setting)), None)
        if start is not None:
            line.setdefault(0.0, start)
        if len(line) >= 3:
            title = _title(setting, [other for name, other in settings if name == generator])
            every = tuple(line[mu] for mu in sorted(line))
            found.append(Slice(generator, title, ("mu", "eta"), ("omega", omega), every))
    return found


def _same_base(point: Point, generator: str, setting: Sequence[tuple[str, str]]) -> bool:
    own, other = dict(point.setting), dict(setting)
    alike = all(own.get(name) == other.get(name) for name in _BASE)
    return point.generator == generator and alike


def _title(setting: Sequence[tuple[str, str]], others: Sequence[Sequence[tuple[str, str]]]) -> str:
    """Scale, location, and whatever else tells the setting from the others."""
    known = dict(setting)
    differing = [name for name in known if len({dict(other).get(name) for other in others}) > 1]
    shown = dict.fromkeys(("guidance.scale", "guidance.location", *differing))
    return ", ".join(_label(name, known[name]) for name in shown if name in known)


def _label(name: str, value: str) -> str:
    short = name.rpartition(".")[2]
    if short in ("scale", "location"):
        return f"{short} {value}"
    return value if short == value else f"{short.replace('_', ' ')} {value or 'none'}"


def is_chosen(point: Point, chosen: Point | None) -> bool:
    """Whether a point has the very settings that the test split was measured with."""
    if chosen is None or point.generator != chosen.generator or point.setting != chosen.setting:
        return False
    return (point.mu, point.eta, point.omega) == (chosen.mu, chosen.eta, chosen.omega)


def sweep_sheet(generator: str, points: Sequence[Point], chosen: Point | None) -> Sheet:
    """All points of a generator."""
    own = [point for point in points if point.generator == generator]
    settings = [point.setting for point in own]
    rows: list[tuple[Cell, ...]] = []
    for point in sorted(own, key=lambda point: (point.setting, point.omega, point.eta, point.mu)):
        metrics = [point.metrics.get(name) for name in METRICS]
        mark = "chosen" if is_chosen(point, chosen) else None
        title = _title(point.setting, settings)
        rows.append((title, f"{point.mu:g}", f"{point.eta:g}", f"{point.omega:g}", *metrics, mark))
    headers = ("setting", "mu", "eta", "omega", *METRICS, "chosen")
    note = "On the validation split, by the selectors; mu = eta = 0 is unguided."
    return Sheet(f"{generator}_sweeps", f"{generator.upper()}: sweeps", headers, tuple(rows), (note,))
