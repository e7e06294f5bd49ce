"""Tables of figures for Weights & Biases, beside the scalars that Lightning logs."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.loggers import Logger, WandbLogger

from lightning_realign.evaluation.table import Table, table_columns


def log_tables(loggers: Sequence[Logger], name: str, table: Table) -> None:
    """Log a table of figures to every W&B logger: one line per row, mean and half width of each figure.

    Args:
        loggers: the trainer's; others than W&B's are left alone.
        name: what the table is called there.
        table: the figures.
    """
    figures = table_columns(table)
    columns = ["row", *(column for figure in figures for column in (figure, f"{figure}_ci95"))]
    lines: list[list[str | float | None]] = []
    for row, values in table.items():
        found = [values.get(figure) for figure in figures]
        cells = [
            cell for value in found for cell in ((None, None) if value is None else (value.mean, value.half_width))
        ]
        lines.append([row, *cells])
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(name, columns=columns, data=lines)
