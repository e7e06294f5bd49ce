"""The report on several runs: the paper's tables, the table of all metrics, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.report.chart import plot_receipts
from lightning_realign.report.layout import merged_table, paper_csv, report_text
from lightning_realign.report.paper import paper_tables
from lightning_realign.report.receipts import read_receipts


def write_report(files: Sequence[Path], out: Path) -> str:
    """Write report.md, report.tex, report.csv, report.png, and generation.csv and retrieval.csv where there are such.

    Args:
        files: receipts, or folders with some.
        out: the folder.

    Returns:
        All tables as text.

    Raises:
        ConfigError: no file, or one given twice.
        DataError: a file is missing, or is no receipt.
    """
    receipts = read_receipts(files)
    tables = paper_tables(receipts)
    write_text_atomic(out / "report.md", report_text(receipts, tables, "markdown"))
    write_text_atomic(out / "report.tex", report_text(receipts, tables, "latex"))
    write_text_atomic(out / "report.csv", merged_table(receipts, "csv"))
    for kind in ("generation", "retrieval"):
        chosen = [table for table in tables if table.kind == kind]
        if chosen:
            write_text_atomic(out / f"{kind}.csv", paper_csv(chosen))
    plot_receipts(out / "report.png", receipts)
    return report_text(receipts, tables)
