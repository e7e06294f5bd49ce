"""A picture of the main metrics of several receipts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_realign.report.intervals import Interval
from lightning_realign.report.receipts import Receipt, metric_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_PER_LINE = 6
# Metrics that say little beside a main one, and so stand in the tables alone.
_MINOR = re.compile(r".*/(R@2|R@\d+_(caption|label)|(t2m|m2t)_R@(2|3|5))")


@dataclass(frozen=True)
class _Line:
    label: str
    colour: str
    metrics: Mapping[str, Interval]


@dataclass(frozen=True)
class _Section:
    """The metrics of one judge or protocol, or of neither, and the systems that have any of them."""

    title: str
    metrics: tuple[str, ...]
    lines: tuple[_Line, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Lines and columns of panels."""
        return math.ceil(len(self.metrics) / _PER_LINE), min(_PER_LINE, len(self.metrics))

    @property
    def height(self) -> float:
        """In inches."""
        return 0.5 + self.grid[0] * (0.75 + 0.24 * len(self.lines))


def _sections(receipts: Sequence[Receipt], colours: Sequence[str]) -> list[_Section]:
    names = metric_names(receipts)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    lines = [
        _Line(name if len(receipts) == 1 else f"{receipt.run}  {name}", colours[number % len(colours)], row)
        for number, receipt in enumerate(receipts)
        for name, row in receipt.systems.items()
    ]
    sections = []
    for title, found in groups.items():
        main = tuple(name for name in found if not _MINOR.fullmatch(name)) or tuple(found)
        sections.append(
            _Section(title, main, tuple(line for line in lines if not line.metrics.keys().isdisjoint(main)))
        )
    return sections


def _panel(axes: Axes, section: _Section, metric: str) -> None:
    """One metric of every system: a point and its interval, systems from top to bottom."""
    for height, line in enumerate(section.lines):
        estimate = line.metrics.get(metric)
        if estimate is not None:
            axes.errorbar(
                estimate.mean, height, xerr=estimate.half_width, fmt="o", ms=5, color=line.colour, capsize=3, lw=1.5
            )
    axes.set_title(metric.rpartition("/")[2].replace("_", " "), fontsize=10)
    axes.set_ylim(len(section.lines) - 0.5, -0.5)
    axes.set_yticks(range(len(section.lines)), [line.label for line in section.lines], fontsize=9)
    axes.locator_params(axis="x", nbins=3)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _plot(canvas: Figure | SubFigure, section: _Section) -> None:
    canvas.suptitle(section.title or "not of a judge", fontsize=11, fontweight="bold", x=0.01, ha="left")
    lines, _ = section.grid
    panels = canvas.subplots(lines, _PER_LINE, squeeze=False, sharey=True)
    for axes, metric in zip(panels.flat, section.metrics, strict=False):
        _panel(axes, section, metric)
    for axes in list(panels.flat)[len(section.metrics) :]:
        axes.set_visible(False)


def plot_receipts(path: Path, receipts: Sequence[Receipt]) -> None:
    """Write a PNG: a section for each judge and protocol and for the rest, a panel per main metric, a colour per run.

    R@2, the caption- and label-aware R-Precision and a few recalls are left to the tables.
    """
    from lightning_realign.report.pictures.canvas import COLOURS, new_figure, save_png

    sections = [section for section in _sections(receipts, COLOURS) if section.lines]
    if not sections:
        return
    heights = [section.height for section in sections]
    longest = max(len(line.label) for section in sections for line in section.lines)
    canvas = new_figure(2.0 * _PER_LINE + 0.08 * longest + 0.4, sum(heights))
    parts = canvas.subfigures(len(sections), 1, height_ratios=heights, squeeze=False)
    for part, section in zip(parts.flat, sections, strict=True):
        _plot(part, section)
    save_png(canvas, path)
