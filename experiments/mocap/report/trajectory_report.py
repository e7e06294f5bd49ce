"""Tables and picture of the metrics along the sampling trajectory, see `experiments.mocap.measure.trajectory`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_realign.evaluation.paired import Difference, Side, paired_difference, per_sample, resample_weights
from lightning_realign.evaluation.record import Record
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.report.pictures.canvas import COLOURS, new_figure, save_png
from lightning_realign.report.table import format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = ("reward", "reward_at_level", "foot_skating")
# The step-aware reward of a real motion made noisy to a state's level, kept beside that of the state.
REAL_AT_LEVEL = "real_at_level"
JUDGED = ("R@1", "R@1_caption", "R@1_label", "MM-Dist")
KINDS = ("unguided", "guided")
PAIRED = "guided - unguided"
RESAMPLES = 2000
_TITLES = {
    "reward": "reward of the predicted x$_0$, at t = 0",
    "reward_at_level": "step-aware reward of x$_t$ at its own level",
    "foot_skating": "foot skating of the predicted x$_0$",
}
_PLOTTED = ("R@1", "R@1_caption", "MM-Dist")


@dataclass(frozen=True)
class Place:
    """A step of a sampler. timestep: of the state before a step; None for the finished motion."""

    step: int
    timestep: int | None
    alpha_bar: float


@dataclass(frozen=True)
class Trajectories:
    """What was measured along the way.

    record: with the systems `real` and `<kind>_<step>`. places: of the steps, the end last. settings: of the run.
    """

    record: Record
    places: tuple[Place, ...]
    settings: Mapping[str, Any]

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the table's order."""
        known = self._values["unguided_0"]
        judged = [f"{judge}/{name}" for judge in self.record.judges for name in JUDGED]
        return tuple(name for name in (*METRICS, *judged) if name in known)

    @cached_property
    def _values(self) -> dict[str, dict[str, Tensor]]:
        """System -> metric -> a value per sample [N], averaged over the replications.

        Real motions have a system per step, `real_<step>`, in which only their reward at that step's level differs.
        """
        values = {system: per_sample(Side(self.record, system)) for system in self.record.metrics}
        for place in self.places:
            at_level = values[f"unguided_{place.step}"][REAL_AT_LEVEL]
            values[f"real_{place.step}"] = {**values["real"], "reward_at_level": at_level}
        return values

    @cached_property
    def _drawn(self) -> Tensor:
        samples = torch.arange(len(self.record.ids))
        return resample_weights(samples, RESAMPLES, torch.Generator().manual_seed(0))

    @cached_property
    def along(self) -> tuple[dict[str, dict[str, Difference]], ...]:
        """For every place: what it is of -> metric -> estimate.

        `unguided`, `guided` and `real` are means, with the interval of the mean in `low` and `high`; the others are
        paired differences: `guided - unguided`; of either kind what it is above real motions, `<kind> - real`, and what
        is yet to come, `<kind>: end - here`. All intervals are 95% of a bootstrap over the samples, whose values are
        means over the replications.
        """
        last = len(self.places) - 1
        found = []
        for place in self.places:
            here = {kind: f"{kind}_{place.step}" for kind in KINDS}
            entry = {kind: self._of(system) for kind, system in here.items()}
            entry["real"] = self._of(f"real_{place.step}")
            entry[PAIRED] = self._of(here["guided"], here["unguided"])
            for kind, system in here.items():
                entry[f"{kind} - real"] = self._of(system, f"real_{place.step}")
                entry[f"{kind}: end - here"] = self._of(f"{kind}_{last}", system)
            found.append(entry)
        return tuple(found)

    def _of(self, after: str, before: str | None = None) -> dict[str, Difference]:
        """A system's metrics, or their paired difference from another system's."""
        values = self._values[after]
        base = (
            {name: torch.zeros_like(each) for name, each in values.items()} if before is None else self._values[before]
        )
        return {
            name: paired_difference(base[name], values[name], self._drawn)
            for name in self.metrics
            if name in values and name in base
        }

    def lines(self) -> list[list[object]]:
        """Every estimate in a line: system, step, timestep, alpha_bar, metric, mean, low, high."""
        lines: list[list[object]] = []
        for place, kinds in zip(self.places, self.along, strict=True):
            where: list[object] = [place.step, place.timestep, place.alpha_bar]
            for kind, metrics in kinds.items():
                lines += [[kind, *where, name, each.change, each.low, each.high] for name, each in metrics.items()]
        return lines

    def text(self) -> str:
        """The means of every step, a line per step and kind, for the terminal."""
        rows: list[list[object]] = []
        for place, kinds in zip(self.places, self.along, strict=True):
            when = "end" if place.timestep is None else place.timestep
            for kind in (*KINDS, "real", PAIRED):
                rows.append([when, kind, *(f"{kinds[kind][name].change:.3f}" for name in self.metrics)])
        return format_table(["t", "system", *self.metrics], rows)


def write_report(out: Path, found: Trajectories) -> None:
    """Write trajectory.csv, trajectory.json and trajectory.png into a folder."""
    headers = ["system", "step", "timestep", "alpha_bar", "metric", "mean", "low", "high"]
    write_text_atomic(out / "trajectory.csv", format_table(headers, found.lines(), "csv"))
    steps = [
        {
            "step": place.step,
            "timestep": place.timestep,
            "alpha_bar": place.alpha_bar,
            "systems": {kind: _as_json(metrics) for kind, metrics in kinds.items()},
        }
        for place, kinds in zip(found.places, found.along, strict=True)
    ]
    content = {"settings": dict(found.settings), "steps": steps}
    write_text_atomic(out / "trajectory.json", json.dumps(content, indent=2) + "\n")
    plot(out / "trajectory.png", found)


def _as_json(metrics: Mapping[str, Difference]) -> dict[str, dict[str, float]]:
    return {name: {"mean": each.change, "low": each.low, "high": each.high} for name, each in metrics.items()}


def plot(path: Path, found: Trajectories) -> None:
    """Write the picture: reward and feet in the first line, a line per judge below."""
    lines: list[Sequence[str]] = [METRICS, *([f"{judge}/{name}" for name in _PLOTTED] for judge in found.record.judges)]
    figure = new_figure(14.5, 3.5 * len(lines))
    panels = figure.subplots(len(lines), len(_PLOTTED), sharex=True, squeeze=False)
    for axes, name in zip(panels.flat, [name for line in lines for name in line], strict=True):
        _panel(axes, found, name)
    ticks = found.places[:: max(1, (len(found.places) - 1) // 5)]
    panels[0, 0].set_xticks(
        [place.step for place in ticks],
        ["end" if place.timestep is None else str(place.timestep) for place in ticks],
    )
    for axes in panels[-1]:
        axes.set_xlabel("timestep t of the state, noisiest first")
    for axes in panels[0, :2]:
        axes.legend(frameon=False, fontsize=9)
    save_png(figure, path)


def _panel(axes: Axes, found: Trajectories, name: str) -> None:
    """One metric over the steps, a line with the band of its 95% interval per kind, and a line of real motions.

    The guided kind has a dot where its paired difference from the unguided one is clear of 0.
    """
    steps = [place.step for place in found.places]
    for kind, colour in zip(KINDS, COLOURS, strict=False):
        estimates = [kinds[kind][name] for kinds in found.along]
        axes.fill_between(
            steps, [e.low for e in estimates], [e.high for e in estimates], color=colour, alpha=0.15, lw=0
        )
        axes.plot(steps, [e.change for e in estimates], color=colour, lw=1.6, label=kind)
    clear = [place.step for place, kinds in zip(found.places, found.along, strict=True) if kinds[PAIRED][name].clear]
    heights = [found.along[step]["guided"][name].change for step in clear]
    axes.plot(clear, heights, "o", ms=4, color=COLOURS[1], label="paired difference clear of 0")
    real = [kinds["real"][name].change for kinds in found.along]
    label = "real motions, at the same level" if name == "reward_at_level" else "real motions"
    axes.plot(steps, real, color=COLOURS[-1], ls="--", lw=1.2, label=label)
    judge, _, metric = name.rpartition("/")
    axes.set_title(f"judge {judge}: {metric.replace('_', ' by ')}" if judge else _TITLES[name], fontsize=10.5)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
