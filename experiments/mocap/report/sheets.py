"""A table of the study, in Markdown for readers and in CSV for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.mocap.report.analysis import Bounds
from lightning_realign.evaluation.paired import Difference
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.report.intervals import Interval
from lightning_realign.report.table import format_table, value_with_interval

Cell = str | int | float | Interval | Bounds | Difference | None


@dataclass(frozen=True)
class Sheet:
    """A table: its file's name, title, headers, rows of cells, and notes under it.

    A `Difference` is shown as the change with its interval, in bold where that excludes 0.
    """

    name: str
    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Title, table and notes."""
        lines = [[_shown(cell) for cell in row] for row in self.rows]
        notes = "".join(f"\n{note}\n" for note in self.notes)
        return f"## {self.title}\n\n{format_table(self.headers, lines, 'markdown')}{notes}"

    def csv(self) -> str:
        """All cells in full precision, intervals in columns of their own."""
        parts = [_parts([row[column] for row in self.rows]) for column in range(len(self.headers))]
        headers = [f"{name}{end}" for name, ends in zip(self.headers, parts, strict=True) for end in ends]
        rows = [
            [number for cell, ends in zip(row, parts, strict=True) for number in _numbers(cell, ends)]
            for row in self.rows
        ]
        return format_table(headers, rows, "csv")


def write_sheets(sheets: Sequence[Sheet], folder: Path, heading: str, notes: Sequence[str]) -> None:
    """Write `tables.md` with all tables, and a CSV of each.

    Args:
        sheets: in the order to have them in.
        folder: of the files.
        heading: of the document.
        notes: lines under the heading.
    """
    head = f"# {heading}\n" + "".join(f"\n{note}\n" for note in notes)
    write_text_atomic(folder / "tables.md", "\n".join([head, *(sheet.markdown() for sheet in sheets)]))
    for sheet in sheets:
        write_text_atomic(folder / f"{sheet.name}.csv", sheet.csv())


def decimals(value: float) -> int:
    """Digits after the point that a value of this size is shown with: about four that count."""
    size = abs(value)
    limits = ((100.0, 1), (10.0, 2), (0.1, 3), (0.01, 4))
    return next((digits for limit, digits in limits if size >= limit), 5 if size else 3)


def _shown(cell: Cell) -> str | int | None:
    if cell is None or isinstance(cell, str | int):
        return cell
    if isinstance(cell, Interval):
        return value_with_interval(cell.mean, cell.half_width, decimals(cell.mean))
    if isinstance(cell, Bounds):
        digits = decimals(cell.mean)
        return f"{cell.mean:.{digits}f} [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
    if isinstance(cell, Difference):
        digits = decimals(max(abs(cell.change), abs(cell.low), abs(cell.high)))
        text = f"{cell.change:+.{digits}f} [{cell.low:+.{digits}f}, {cell.high:+.{digits}f}]"
        return f"**{text}**" if cell.clear else text
    return f"{cell:.{decimals(cell)}f}"


def _parts(cells: Sequence[Cell]) -> tuple[str, ...]:
    """The ends of the names of the columns that a column of cells becomes."""
    if any(isinstance(cell, Difference | Bounds) for cell in cells):
        return "", "_low", "_high"
    return ("", "_ci95") if any(isinstance(cell, Interval) for cell in cells) else ("",)


def _numbers(cell: Cell, ends: Sequence[str]) -> list[str | float | None]:
    if isinstance(cell, Interval):
        found: list[str | float | None] = [cell.mean, cell.half_width]
    elif isinstance(cell, Difference):
        found = [cell.change, cell.low, cell.high]
    elif isinstance(cell, Bounds):
        found = [cell.mean, cell.low, cell.high]
    else:
        found = [cell]
    return [*found, *[None] * len(ends)][: len(ends)]
