"""The paper's tables, and the table of all metrics, as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_realign.report.intervals import Interval
from lightning_realign.report.notes import sources_of
from lightning_realign.report.paper import PaperTable
from lightning_realign.report.published import PublishedValue
from lightning_realign.report.receipts import Receipt, metric_names
from lightning_realign.report.table import Style, format_table, latex_text, value_with_interval

_DECIMALS = {"generation": 3, "retrieval": 2}
# A metric whose largest value is below this (such as FID between embeddings on a sphere) gets more decimals.
_SMALL = 0.1
_SMALL_DECIMALS = 5


def _value(metric: Interval | None, decimals: int) -> str | None:
    return None if metric is None else value_with_interval(metric.mean, metric.half_width, decimals)


def _heading(column: str) -> str:
    return column.replace("_", " ")


def _decimals(table: PaperTable, column: str) -> int:
    """How many decimals a column's measured values have."""
    means = [abs(row.metrics[column].mean) for row in table.rows if column in row.metrics]
    small = table.kind == "generation" and not table.published and 0 < max(means, default=0.0) < _SMALL
    return _SMALL_DECIMALS if small else _DECIMALS[table.kind]


def _body(table: PaperTable, style: Style) -> str:
    sources = sources_of(table.published)
    decimals = {column: _decimals(table, column) for column in table.columns}
    lines: list[list[object]] = [
        [row.name, "measured", *(_value(row.metrics.get(column), decimals[column]) for column in table.columns)]
        for row in table.rows
    ]
    for row in table.published:
        texts = [row.metrics[column].text if column in row.metrics else None for column in table.columns]
        lines.append([row.method, f"published [{sources.index(row.source) + 1}]", *texts])
    return format_table(["system", "origin", *map(_heading, table.columns)], lines, style)


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


def _exact(metrics: Mapping[str, Interval] | Mapping[str, PublishedValue], columns: Sequence[str]) -> list[object]:
    found = [metrics.get(column) for column in columns]
    return [cell for metric in found for cell in ((None, None) if metric is None else (metric.mean, metric.half_width))]


def paper_csv(tables: Sequence[PaperTable]) -> str:
    """All rows of the tables of one kind, in full precision; the half width of each interval has a column of its own.

    Args:
        tables: at least one.
    """
    columns = tables[0].columns
    part = "judge" if tables[0].kind == "generation" else "protocol"
    head = ["data", "content", "fingerprint", "split", "samples", "captions", part, "system", "origin", "source"]
    lines: list[list[object]] = []
    for table in tables:
        context = table.context
        data = (context.data, context.content, context.fingerprint, context.split, context.samples)
        where = [*data, context.protocol, table.part]
        lines += [[*where, row.name, "measured", None, *_exact(row.metrics, columns)] for row in table.rows]
        lines += [
            [*where, row.method, "published", row.source, *_exact(row.metrics, columns)] for row in table.published
        ]
    return format_table([*head, *(name for column in columns for name in (column, f"{column}_ci95"))], lines, "csv")


def _merged_csv(receipts: Sequence[Receipt], metrics: Sequence[str]) -> str:
    columns = [column for name in metrics for column in (name, f"{name}_ci95")]
    rows = [[receipt.run, name, *_exact(row, metrics)] for receipt in receipts for name, row in receipt.systems.items()]
    return format_table(["run", "system", *columns], rows, "csv")


def merged_table(receipts: Sequence[Receipt], style: Style = "text") -> str:
    """Every metric of every system of every receipt.

    CSV has a line per system, with mean and half width in columns of their own, in full precision. Other styles have a
    line per system or per metric, whichever gives the narrower table.
    """
    metrics = metric_names(receipts)
    if style == "csv":
        return _merged_csv(receipts, metrics)
    rows = [(receipt.run, name, row) for receipt in receipts for name, row in receipt.systems.items()]
    cells = [[_value(row.get(metric), 4) for metric in metrics] for _, _, row in rows]
    if len(metrics) > len(rows):
        lines = [[metric, *values] for metric, values in zip(metrics, zip(*cells, strict=True), strict=True)]
        runs = len(receipts) > 1
        return format_table(["metric", *(f"{run} {name}" if runs else name for run, name, _ in rows)], lines, style)
    return format_table(
        ["run", "system", *metrics], [[*entry[:2], *values] for entry, values in zip(rows, cells, strict=True)], style
    )


def report_text(receipts: Sequence[Receipt], tables: Sequence[PaperTable], style: Style = "text") -> str:
    """The paper's tables, then the table of all metrics."""
    parts = [paper_text(table, style) for table in tables]
    return "\n".join([*parts, _framed("All metrics", merged_table(receipts, style), (), style)])
