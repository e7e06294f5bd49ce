"""What a person reads and sees.

- `receipts`, `context`: what runs measured, and under which circumstances.
- `paper`, `published`, `notes`: the paper's tables, with published rows beside measured ones.
- `layout`, `table`, `summary`: tables as text, Markdown, LaTeX and CSV, and the report on several runs.
- `chart`, `plots`: figures of metrics and sweeps. `pictures`: motions as film strips and animations.
"""

from lightning_realign.report.table import format_table, value_with_interval

__all__ = ["format_table", "value_with_interval"]
