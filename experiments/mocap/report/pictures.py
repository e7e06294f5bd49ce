"""The pictures of the study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from experiments.mocap.report.retrieval_levels import (
    DIRECTIONS,
    SYSTEMS,
    Direction,
    Place,
    curve,
    protocol_name,
    protocols_of,
)
from experiments.mocap.report.sweep_points import METRICS, Point, Slice, is_chosen
from lightning_realign.evaluation.paired import Difference
from lightning_realign.report.intervals import Interval
from lightning_realign.report.pictures.canvas import COLOURS, new_figure, save_png
from lightning_realign.report.plots import plot_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"guo": "Guo", "tmr": "TMR"}
_SYSTEM_COLOURS = {"step": COLOURS[0], "tmr": COLOURS[1]}


def metric_name(name: str, role: str = "judge") -> str:
    """A metric as pictures call it: `guo/R@1_caption` becomes "R@1 by caption, judge Guo".

    Args:
        name: of the metric.
        role: of its evaluator: `judge`, or `selector` on the validation split.
    """
    judge, _, metric = name.rpartition("/")
    shown = metric.replace("R@1_caption", "R@1 by caption").replace("R@1_label", "R@1 by label").replace("_", " ")
    return f"{shown}, {role} {NAMES.get(judge, judge)}" if judge else shown


def plot_heat_maps(path: Path, plane: Slice, chosen: Point | None) -> None:
    """Write the maps of a plane of a sweep: a panel per metric, the chosen cell framed.

    Args:
        path: the PNG.
        plane: the points.
        chosen: the point that the test split was measured at; None where it has not been.
    """
    shown = [name for name in METRICS if any(name in point.metrics for point in plane.points)]
    x, y = ([point.at(axis) for point in plane.points] for axis in plane.axes)
    columns, lines = min(3, len(shown)), math.ceil(len(shown) / 3)
    width = max(3.4, 1.0 + 0.62 * len(set(x)))
    figure = new_figure(columns * width, 0.6 + lines * max(2.4, 1.2 + 0.42 * len(set(y))))
    panels = np.asarray(figure.subplots(lines, columns, squeeze=False))
    for axes, name in zip(panels.flat, shown, strict=False):
        values = [point.metrics.get(name, math.nan) for point in plane.points]
        image = plot_grid(axes, x, y, values)
        figure.colorbar(image, ax=axes, aspect=30)
        axes.set_title(metric_name(name, "selector"), fontsize=10)
        axes.set(xlabel=plane.axes[0], ylabel=plane.axes[1])
        for point in plane.points:
            if is_chosen(point, chosen):
                place = sorted(set(x)).index(point.at(plane.axes[0])), sorted(set(y)).index(point.at(plane.axes[1]))
                _frame(axes, place)
    for axes in list(panels.flat)[len(shown) :]:
        axes.set_visible(False)
    figure.suptitle(f"{plane.generator.upper()}: {plane.title}; {plane.fixed[0]} {plane.fixed[1]:g}", fontsize=11)
    save_png(figure, path)


def _frame(axes: Axes, place: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    corner = place[0] - 0.46, place[1] - 0.46
    axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor=COLOURS[1], linewidth=3))


def plot_hacking(path: Path, generator: str, curves: Sequence[Slice], chosen: Point | None) -> None:
    """Write the metrics over mu, a line per setting: where the reward goes on rising and the selectors turn.

    Panels share mu, on a logarithmic axis that begins with unguided; a ring marks the chosen point, and a dotted line
    the best value of each selector's metric.
    """
    names = ("reward", "guo/R@1_caption", "tmr/R@1_caption", "guo/FID", "tmr/FID", "foot_skating")
    shown = [name for name in names if any(name in point.metrics for line in curves for point in line.points)]
    columns, rows = min(3, len(shown)), math.ceil(len(shown) / 3)
    figure = new_figure(4.4 * columns, 0.7 + 2.9 * rows)
    panels = np.asarray(figure.subplots(rows, columns, squeeze=False))
    for axes, name in zip(panels.flat, shown, strict=False):
        _hacking_panel(axes, name, curves, chosen)
    for axes in list(panels.flat)[len(shown) :]:
        axes.set_visible(False)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(2, len(labels)), fontsize=9, frameon=False)
    heading = "reward, selectors and skating as mu grows (dotted: best by a selector; ring: chosen)"
    figure.suptitle(f"{generator.upper()}, eta = 0: {heading}", fontsize=11)
    save_png(figure, path)


def _hacking_panel(axes: Axes, name: str, curves: Sequence[Slice], chosen: Point | None) -> None:
    for number, line in enumerate(curves):
        points = [point for point in line.points if name in point.metrics]
        if not points:
            continue
        x, y = [point.mu for point in points], [point.metrics[name] for point in points]
        colour = COLOURS[number % len(COLOURS)]
        label = f"{line.title}, omega {line.fixed[1]:g}"
        axes.plot(x, y, marker="o", ms=4, lw=1.6, color=colour, label=label)
        if "/" in name:
            best = min(points, key=lambda point: point.metrics[name] * (1 if "FID" in name else -1))
            axes.axvline(best.mu, color=colour, ls=":", lw=1)
        for point in (point for point in points if is_chosen(point, chosen)):
            axes.plot(point.mu, point.metrics[name], "o", ms=12, mfc="none", mec=colour, mew=1.8)
    positive = [point.mu for line in curves for point in line.points if point.mu > 0]
    axes.set_xscale("symlog", linthresh=min(positive), linscale=0.4)
    axes.set_xlim(left=-0.08 * min(positive))
    axes.set_xlabel("mu (0: unguided)")
    axes.set_title(metric_name(name, "selector"), fontsize=10)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def plot_retrieval(path: Path, levels: Mapping[Place, Interval]) -> None:
    """Write R@1 over the noise level: a line of panels per protocol, both directions, and the range of the seeds."""
    protocols = protocols_of(levels)
    figure = new_figure(9.6, 0.6 + 3.1 * len(protocols))
    panels = np.asarray(figure.subplots(len(protocols), 2, squeeze=False, sharex=True, sharey="row"))
    for row, protocol in enumerate(protocols):
        for axes, direction in zip(panels[row], get_args(Direction), strict=True):
            _retrieval_panel(axes, levels, protocol, direction)
        # The panels share their axis, so its end is set once both are full.
        shown = [max(value.values) for place, value in levels.items() if place.protocol == protocol and place.k == 1]
        panels[row, 0].set(ylabel="R@1, per cent", ylim=(0, 1.06 * max(shown, default=1.0)))
    for axes in panels[-1]:
        axes.set_xlabel("noise level t (0: clean)")
    panels[0, 0].legend(fontsize=9, frameon=False)
    save_png(figure, path)


def _retrieval_panel(axes: Axes, levels: Mapping[Place, Interval], protocol: str, direction: Direction) -> None:
    for system, name in SYSTEMS.items():
        found = curve(levels, system, protocol, direction)
        if not found:
            continue
        x, colour = [level for level, _ in found], _SYSTEM_COLOURS[system]
        axes.plot(x, [value.mean for _, value in found], marker="o", ms=4, lw=1.8, color=colour, label=name)
        low, high = ([kind(value.values) for _, value in found] for kind in (min, max))
        axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    axes.set_title(f"{DIRECTIONS[direction]}, {protocol_name(protocol)}", fontsize=10)
    _tidy(axes)


def plot_changes(path: Path, title: str, changes: Mapping[str, Mapping[str, Difference]], names: Sequence[str]) -> None:
    """Write paired differences with their intervals: a line per ablation, a panel per metric, faint where 0 is inside.

    Args:
        path: the PNG.
        title: of the picture.
        changes: ablation -> metric -> difference.
        names: the metrics to show, of those that there are.
    """
    shown = [name for name in names if any(name in found for found in changes.values())]
    if not shown:
        return
    longest = max(map(len, changes))
    figure = new_figure(0.4 + 0.09 * longest + 2.2 * len(shown), 1.1 + 0.3 * len(changes))
    panels = np.asarray(figure.subplots(1, len(shown), squeeze=False, sharey=True))[0]
    for axes, name in zip(panels, shown, strict=True):
        for height, found in enumerate(changes.values()):
            if name not in found:
                continue
            change = found[name]
            colour = COLOURS[6] if not change.clear else COLOURS[0]
            reach = [[change.change - change.low], [change.high - change.change]]
            alpha = 1.0 if change.clear else 0.45
            axes.errorbar(
                change.change, height, xerr=reach, fmt="o", ms=5, color=colour, alpha=alpha, capsize=3, lw=1.5
            )
        axes.axvline(0, color="#888888", lw=1)
        axes.set_title(metric_name(name).replace(", ", "\n"), fontsize=9.5)
        axes.set_ylim(len(changes) - 0.5, -0.5)
        axes.set_yticks(range(len(changes)), list(changes), fontsize=9)
        axes.locator_params(axis="x", nbins=4)
        _tidy(axes)
    figure.suptitle(title, fontsize=11)
    save_png(figure, path)
