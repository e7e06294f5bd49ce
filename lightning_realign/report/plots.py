"""Figures of a sweep: a heat map over two parameters, a line plot over one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_realign.report.pictures.canvas import new_figure, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _on_grid(x: Sequence[float], y: Sequence[float]) -> bool:
    """Whether the points fill the product of their coordinates, each pair once."""
    return len(set(zip(x, y, strict=True))) == len(x) == len(set(x)) * len(set(y))


def plot_grid(axes: Axes, x: Sequence[float], y: Sequence[float], value: Sequence[float]) -> Any:
    """A grid of cells with their values written in; a missing value (NaN) stays blank."""
    columns, rows = sorted(set(x)), sorted(set(y))
    cells = np.full((len(rows), len(columns)), np.nan)
    for across, up, entry in zip(x, y, value, strict=True):
        cells[rows.index(up), columns.index(across)] = entry
    image = axes.imshow(cells, origin="lower", aspect="auto", cmap="viridis")
    axes.set_xticks(range(len(columns)), [f"{tick:g}" for tick in columns])
    axes.set_yticks(range(len(rows)), [f"{tick:g}" for tick in rows])
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    for (row, column), entry in np.ndenumerate(cells):
        if np.isfinite(entry):
            colour = "black" if entry > middle else "white"
            axes.text(column, row, f"{entry:.3g}", ha="center", va="center", color=colour, fontsize=9)
    return image


def heat_map(
    x: Sequence[float], y: Sequence[float], value: Sequence[float], labels: tuple[str, str, str], path: Path
) -> None:
    """A map of `value` over two parameters: cells where the points form a grid, else coloured dots.

    Args:
        x: [N] first parameter.
        y: [N] second parameter.
        value: [N] what was measured; NaN where a point failed.
        labels: names of x, y and value.
        path: the PNG to write, atomically.

    Raises:
        ValueError: no finite value to show.
    """
    if not np.isfinite(np.asarray(value, dtype=np.float64)).any():
        raise ValueError(f"no finite value of {labels[2]} to plot")
    figure = new_figure(6.4, 4.8)
    axes = figure.add_subplot()
    if _on_grid(x, y):
        mappable = plot_grid(axes, x, y, value)
    else:
        mappable = axes.scatter(x, y, c=value, s=120, cmap="viridis", edgecolors="black")
    figure.colorbar(mappable, ax=axes, label=labels[2])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    save_png(figure, path)


def line_plot(x: Sequence[float], value: Sequence[float], labels: tuple[str, str], path: Path) -> None:
    """`value` over one parameter, as a line with dots.

    Args:
        x: [N] the parameter, in any order.
        value: [N] what was measured; NaN where a point failed.
        labels: names of x and value.
        path: the PNG to write, atomically.
    """
    figure = new_figure(6.4, 4.0)
    axes = figure.add_subplot()
    order = np.argsort(np.asarray(x, dtype=np.float64), kind="stable")
    axes.plot(np.asarray(x)[order], np.asarray(value, dtype=np.float64)[order], marker="o")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(alpha=0.3)
    save_png(figure, path)
