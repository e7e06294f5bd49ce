"""Tables as text, Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Literal

Style = Literal["text", "markdown", "csv", "latex"]
_STYLES = ("text", "markdown", "csv", "latex")
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
_LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def value_with_interval(mean: float, half_width: float | None, decimals: int = 3) -> str:
    """`0.512 ± 0.003`; without an interval (None or NaN) the mean alone.

    Args:
        mean: the estimate.
        half_width: half the width of its interval, in the same unit.
        decimals: digits after the point, for both.
    """
    if half_width is None or math.isnan(half_width):
        return f"{mean:.{decimals}f}"
    return f"{mean:.{decimals}f} ± {half_width:.{decimals}f}"


def _cell(value: object, style: Style) -> str:
    """The text of one cell: floats get 4 significant digits, in CSV all of them; None is a dash, in CSV empty."""
    if value is None:
        return "" if style == "csv" else "-"
    if isinstance(value, float):
        return repr(value) if style == "csv" else f"{value:.4g}"
    text = str(value)
    return text if style == "csv" else " ".join(text.split())


def latex_text(text: str) -> str:
    """Text with all characters escaped that LaTeX would read as commands."""
    return "".join(_LATEX.get(character, character) for character in text)


def _escape(text: str, style: Style) -> str:
    if style == "latex":
        return latex_text(text)
    return text.replace("|", "\\|") if style == "markdown" else text


def _is_number(text: str) -> bool:
    """Whether a cell reads as a number, possibly with an interval or a unit of per cent."""
    try:
        float(text.split("±")[0].strip().rstrip("%"))
    except ValueError:
        return False
    return True


def _csv(rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _latex(rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    columns = "".join("r" if right else "l" for right in numeric)
    lines = [" & ".join(row) + r" \\" for row in rows]
    body = [lines[0], r"\hline", *lines[1:]]
    return "\n".join([f"\\begin{{tabular}}{{{columns}}}", r"\hline", *body, r"\hline", r"\end{tabular}", ""])


def _aligned(rows: Sequence[Sequence[str]], numeric: Sequence[bool], markdown: bool) -> str:
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(numeric))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        return f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip()

    rule = [
        "-" * (width - 1) + (":" if right and markdown else "-") for width, right in zip(widths, numeric, strict=True)
    ]
    return "\n".join([line(rows[0]), line(rule), *(line(row) for row in rows[1:])]) + "\n"


def format_table(headers: Sequence[str], rows: Sequence[Sequence[object]], style: Style = "text") -> str:
    r"""Lay out a table; columns of numbers are flush right, others flush left.

    Args:
        headers: one name per column.
        rows: cells of any type; floats are shown with 4 significant digits (format them yourself for others).
        style: `text` for terminals, `markdown`, `csv` (full precision), or `latex` (a `tabular`, special characters
            escaped).

    Raises:
        ValueError: an unknown style, no column, or a row of another length than the headers.

    >>> print(format_table(["run", "R@1"], [["guided", 0.5], ["unguided", 0.25]]), end="")
    run        R@1
    --------  ----
    guided     0.5
    unguided  0.25
    """
    if style not in _STYLES:
        raise ValueError(f"style is {style!r}; choose one of {', '.join(_STYLES)}")
    if not headers:
        raise ValueError("headers is empty; name at least one column")
    for number, row in enumerate(rows):
        if len(row) != len(headers):
            raise ValueError(f"row {number} has {len(row)} cells, but there are {len(headers)} headers")
    cells = [[_cell(value, style) for value in row] for row in (list(headers), *rows)]
    if style == "csv":
        return _csv(cells)
    filled = [[row[column] for row in cells[1:] if row[column] != "-"] for column in range(len(headers))]
    numeric = [bool(column) and all(_is_number(cell) for cell in column) for column in filled]
    cells = [[_escape(cell, style) for cell in row] for row in cells]
    return _latex(cells, numeric) if style == "latex" else _aligned(cells, numeric, style == "markdown")
