"""Tables of metrics for Weights & Biases, beside the scalars that Lightning logs."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.loggers import Logger, WandbLogger

from lightning_realign.report.receipts import Receipt


def log_tables(loggers: Sequence[Logger], name: str, receipt: Receipt) -> None:
    """Log the table of a receipt to every W&B logger: a row per system, with mean and half width of each metric.

    Args:
        loggers: the trainer's; those that are not W&B's are left alone.
        name: what the table is called there.
        receipt: holds the metrics.
    """
    columns = ["system", *(column for metric in receipt.metrics for column in (metric, f"{metric}_ci95"))]
    rows: list[list[str | float | None]] = []
    for system, metrics in receipt.systems.items():
        found = [metrics.get(metric) for metric in receipt.metrics]
        cells = [
            cell for value in found for cell in ((None, None) if value is None else (value.mean, value.half_width))
        ]
        rows.append([system, *cells])
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(name, columns=columns, data=rows)
