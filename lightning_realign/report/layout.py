"""The paper's tables, and the table of all figures, as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_realign.report.notes import sources_of
from lightning_realign.report.paper import PaperTable
from lightning_realign.report.published import Figure
from lightning_realign.report.receipts import Estimate, Receipt, figure_names
from lightning_realign.report.table import Style, format_table, latex_text, value_with_interval

_DECIMALS = {"generation": 3, "retrieval": 2}
# A figure whose largest value is below this (FID between embeddings on a sphere) needs more decimals.
_SMALL = 0.1
_SMALL_DECIMALS = 5


def _value(figure: Estimate | None, decimals: int) -> str | None:
    return None if figure is None else value_with_interval(figure.mean, figure.half_width, decimals)


def _heading(column: str) -> str:
    return column.replace("_", " ")


def _decimals(table: PaperTable, column: str) -> int:
    """How many decimals a column's measured values have."""
    means = [abs(row.figures[column].mean) for row in table.rows if column in row.figures]
    small = table.kind == "generation" and not table.published and 0 < max(means, default=0.0) < _SMALL
    return _SMALL_DECIMALS if small else _DECIMALS[table.kind]


def _body(table: PaperTable, style: Style) -> str:
    sources = sources_of(table.published)
    decimals = {column: _decimals(table, column) for column in table.columns}
    lines: list[list[object]] = [
        [row.name, "measured", *(_value(row.figures.get(column), decimals[column]) for column in table.columns)]
        for row in table.rows
    ]
    for row in table.published:
        texts = [row.figures[column].text if column in row.figures else None for column in table.columns]
        lines.append([row.method, f"published [{sources.index(row.source) + 1}]", *texts])
    return format_table(["row", "origin", *map(_heading, table.columns)], lines, style)


def _framed(title: str, body: str, notes: Sequence[str], style: Style) -> str:
    """A table under its title, above its notes."""
    if style == "markdown":
        return f"## {title}\n\n{body}" + "".join(f"\n{note}\n" for note in notes)
    if style == "latex":
        small = "".join(f"\\par\\footnotesize {latex_text(note)}\n" for note in notes)
        return f"\\begin{{table}}\n\\centering\n\\caption{{{latex_text(title)}}}\n{body}{small}\\end{{table}}\n"
    return f"{title}\n\n{body}" + ("\n" if notes else "") + "".join(f"{note}\n" for note in notes)


def paper_text(table: PaperTable, style: Style = "text") -> str:
    """One table as text, Markdown or LaTeX, with its title and notes."""
    return _framed(table.title, _body(table, style), table.notes, style)


def _exact(figures: Mapping[str, Estimate] | Mapping[str, Figure], columns: Sequence[str]) -> list[object]:
    found = [figures.get(column) for column in columns]
    return [cell for figure in found for cell in ((None, None) if figure is None else (figure.mean, figure.half_width))]


def paper_csv(tables: Sequence[PaperTable]) -> str:
    """All rows of tables of one kind, in full precision, with the half width of each interval in its own column.

    Args:
        tables: at least one.
    """
    columns = tables[0].columns
    part = "judge" if tables[0].kind == "generation" else "protocol"
    head = ["data", "content", "fingerprint", "split", "samples", "captions", part, "row", "origin", "source"]
    lines: list[list[object]] = []
    for table in tables:
        context = table.context
        data = (context.data, context.content, context.fingerprint, context.split, context.samples)
        where = [*data, context.protocol, table.part]
        lines += [[*where, row.name, "measured", None, *_exact(row.figures, columns)] for row in table.rows]
        lines += [
            [*where, row.method, "published", row.source, *_exact(row.figures, columns)] for row in table.published
        ]
    return format_table([*head, *(name for column in columns for name in (column, f"{column}_ci95"))], lines, "csv")


def _merged_csv(receipts: Sequence[Receipt], figures: Sequence[str]) -> str:
    columns = [column for name in figures for column in (name, f"{name}_ci95")]
    rows = [[receipt.run, name, *_exact(row, figures)] for receipt in receipts for name, row in receipt.rows.items()]
    return format_table(["run", "row", *columns], rows, "csv")


def merged_table(receipts: Sequence[Receipt], style: Style = "text") -> str:
    """Every figure of every row of every receipt.

    In CSV a line per row, with mean and half width in columns of their own, in full precision; otherwise a line per row
    or per figure, whichever gives the narrower table.
    """
    figures = figure_names(receipts)
    if style == "csv":
        return _merged_csv(receipts, figures)
    rows = [(receipt.run, name, row) for receipt in receipts for name, row in receipt.rows.items()]
    cells = [[_value(row.get(figure), 4) for figure in figures] for _, _, row in rows]
    if len(figures) > len(rows):
        lines = [[figure, *values] for figure, values in zip(figures, zip(*cells, strict=True), strict=True)]
        runs = len(receipts) > 1
        return format_table(["figure", *(f"{run} {name}" if runs else name for run, name, _ in rows)], lines, style)
    return format_table(
        ["run", "row", *figures], [[*entry[:2], *values] for entry, values in zip(rows, cells, strict=True)], style
    )


def report_text(receipts: Sequence[Receipt], tables: Sequence[PaperTable], style: Style = "text") -> str:
    """The paper's tables, then that of all figures."""
    parts = [paper_text(table, style) for table in tables]
    return "\n".join([*parts, _framed("All figures", merged_table(receipts, style), (), style)])
