"""One table, and one plot, of the receipts (`table-val.json`, `table-test.json`) that several runs left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_realign.data.formats import read_json, write_text_atomic
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.report.table import Style, format_table, value_with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RECEIPTS = "table-*.json"


@dataclass(frozen=True)
class Estimate:
    """A figure: its mean, and half the width of its 95% interval (None for one replication)."""

    mean: float
    half_width: float | None


@dataclass(frozen=True)
class Receipt:
    """What one run measured. run: a name for it. rows: row -> figure -> estimate, in the file's order."""

    run: str
    rows: Mapping[str, Mapping[str, Estimate]]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _estimate(path: Path, field: str, value: Any) -> Estimate:
    width = value.get("ci95") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not _number(value.get("mean")) or not (width is None or _number(width)):
        raise DataError(f"{path}: {field} has no numbers 'mean' and 'ci95'; give a {_RECEIPTS} of validate or test")
    return Estimate(float(value["mean"]), None if width is None else float(width))


def read_rows(path: Path) -> dict[str, dict[str, Estimate]]:
    """The rows of a receipt.

    Raises:
        DataError: the file is missing, or is no receipt.
    """
    rows = read_json(path, "receipt").get("rows")
    if not isinstance(rows, dict) or not rows or not all(isinstance(row, dict) for row in rows.values()):
        raise DataError(f"{path}: field 'rows' holds no table; give a {_RECEIPTS} of validate or test")
    return {
        name: {figure: _estimate(path, f"rows.{name}.{figure}", value) for figure, value in row.items()}
        for name, row in rows.items()
    }


def run_names(files: Sequence[Path]) -> list[str]:
    """The folders of the files, with as many parents as it takes to tell them apart; none is a mere `version_N`.

    Several files of one folder are told apart by what follows `table-` in their names.

    Raises:
        ConfigError: a file is given twice.
    """
    paths = [file.resolve() for file in files]
    for file, path in zip(files, paths, strict=True):
        if paths.count(path) > 1:
            raise ConfigError(f"receipts: {file} is given twice; give each run once")
    folders = [path.parent.parts for path in paths]
    depth, deepest = 1, max((len(folder) for folder in folders), default=1)
    if any(folder[-1].startswith("version_") for folder in folders):
        depth = 2
    while depth < deepest and len({folder[-depth:] for folder in folders}) < len(set(folders)):
        depth += 1
    names = ["/".join(folder[-depth:]) for folder in folders]
    kinds = [f" {path.stem.removeprefix('table-')}" for path in paths]
    return [
        name + (kind if folders.count(folder) > 1 else "")
        for name, kind, folder in zip(names, kinds, folders, strict=True)
    ]


def _files_in(folder: Path) -> list[Path]:
    """The receipts in a folder.

    Raises:
        DataError: there is none.
    """
    found = sorted(folder.glob(_RECEIPTS))
    if not found:
        raise DataError(f"{folder}: no {_RECEIPTS} in it; give the folder of a validate or test run's log")
    return found


def read_receipts(files: Sequence[Path]) -> list[Receipt]:
    """Read several receipts; a folder stands for the `table-val.json` and `table-test.json` in it.

    Raises:
        ConfigError: no file, or one given twice.
        DataError: a file is missing, or is no receipt, or a folder holds none.
    """
    if not files:
        raise ConfigError(f"receipts: none given; name at least one {_RECEIPTS}")
    paths = [path for file in files for path in (_files_in(file) if file.is_dir() else [file])]
    rows = [read_rows(path) for path in paths]
    return [Receipt(name, table) for name, table in zip(run_names(paths), rows, strict=True)]


def figure_names(receipts: Sequence[Receipt]) -> list[str]:
    """All figures, in the order in which they come up."""
    return list(dict.fromkeys(name for receipt in receipts for row in receipt.rows.values() for name in row))


def _cells(estimate: Estimate | None, style: Style) -> list[object]:
    if style == "csv":
        return [None, None] if estimate is None else [estimate.mean, estimate.half_width]
    return [None if estimate is None else value_with_interval(estimate.mean, estimate.half_width, 4)]


def merged_table(receipts: Sequence[Receipt], style: Style = "text") -> str:
    """Every row of every receipt; in CSV mean and half width have columns of their own, in full precision."""
    figures = figure_names(receipts)
    columns = [column for name in figures for column in ((name, f"{name}_ci95") if style == "csv" else (name,))]
    rows = [
        [receipt.run, name, *(cell for figure in figures for cell in _cells(row.get(figure), style))]
        for receipt in receipts
        for name, row in receipt.rows.items()
    ]
    return format_table(["run", "row", *columns], rows, style)


def _points(axes: Axes, receipts: Sequence[Receipt], figure: str, colours: Sequence[str]) -> None:
    """One figure of every row: a point and its interval, rows from top to bottom."""
    entries = [
        (colours[number % len(colours)], row.get(figure))
        for number, receipt in enumerate(receipts)
        for row in receipt.rows.values()
    ]
    for height, (colour, estimate) in enumerate(entries):
        if estimate is not None and math.isfinite(estimate.mean):
            axes.errorbar(
                estimate.mean, height, xerr=estimate.half_width, fmt="o", ms=6, color=colour, capsize=4, elinewidth=1.8
            )
    axes.set(title=figure, ylim=(len(entries) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_receipts(path: Path, receipts: Sequence[Receipt]) -> None:
    """Write a PNG with one panel per figure, points with 95% intervals, a colour per run."""
    from lightning_realign.report.canvas import COLOURS, new_figure, save_png

    figures = figure_names(receipts)
    labels = [f"{receipt.run}  {name}" for receipt in receipts for name in receipt.rows]
    columns = max(1, min(3, len(figures)))
    lines = max(1, math.ceil(len(figures) / columns))
    canvas = new_figure(3.2 * columns + 0.08 * max(map(len, labels)) + 0.6, lines * (0.9 + 0.34 * len(labels)))
    panels = canvas.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, name in zip(panels.flat, figures, strict=False):
        _points(axes, receipts, name, COLOURS)
    for axes in list(panels.flat)[len(figures) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(labels)), labels)
    save_png(canvas, path)


def write_report(files: Sequence[Path], out: Path) -> str:
    """Write report.md, report.tex, report.csv and report.png into `out`.

    Args:
        files: receipts, or folders with one.
        out: the folder.

    Returns:
        The table as text.

    Raises:
        ConfigError: no file, or one given twice.
        DataError: a file is missing, or is no receipt.
    """
    receipts = read_receipts(files)
    forms: tuple[tuple[Style, str], ...] = (("markdown", "md"), ("latex", "tex"), ("csv", "csv"))
    for style, suffix in forms:
        write_text_atomic(out / f"report.{suffix}", merged_table(receipts, style))
    draw_receipts(out / "report.png", receipts)
    return merged_table(receipts)
