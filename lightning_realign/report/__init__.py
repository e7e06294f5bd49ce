"""What a person looks at: tables, plots, animations."""

from lightning_realign.report.table import format_table, value_with_interval

__all__ = ["format_table", "value_with_interval"]
