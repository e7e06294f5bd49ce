"""The table that `test` prints: one line a system, the few columns that say whether guidance helps, on one screen."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightning_realign.report.intervals import Interval, Systems
from lightning_realign.report.table import format_table

# A metric, or the end of the name of one that every judge has -> its column's name and its factor.
_COLUMNS: Mapping[str, tuple[str, float]] = {
    "oracle_accuracy": ("oracle %", 100.0),
    "/R@1": ("R@1 % {}", 100.0),
    "/FID": ("FID {}", 1.0),
    "reward": ("reward", 1.0),
    "foot_skating": ("skating", 1.0),
    "seconds": ("seconds", 1.0),
}
# What stands in a table that has no room for all goes from the right end of this list.
_DROPPED_FIRST = ("reward", "/FID", "foot_skating", "seconds")
WIDTH = 100
"""Characters of the widest table."""


def readable(value: Interval, factor: float = 1.0) -> str:
    """A mean with its interval, with the digits that the interval allows: its first one, or two where that is a 1.

    A mean without an interval has three significant digits.

    >>> readable(Interval(0.65123, 0.0112), 100), readable(Interval(0.8941, 0.0008)), readable(Interval(0.0123, None))
    ('65.1 ± 1.1', '0.8941 ± 0.0008', '0.0123')
    """
    mean, width = factor * value.mean, factor * (value.half_width or 0.0)
    if not math.isfinite(mean) or not math.isfinite(width):
        return str(mean)
    if width == 0:
        return f"{mean:.{_decimals(abs(mean), 3)}f}"
    digits = 2 if f"{width:.1e}"[0] == "1" else 1
    decimals = _decimals(width, digits)
    return f"{mean:.{decimals}f} ± {width:.{decimals}f}"


def overview(systems: Systems) -> str:
    """Systems as lines; what they do right, whether judges find their texts, feet and time as columns.

    The least important columns are left out where all would be wider than `WIDTH`. Every figure is in the receipt.

    Args:
        systems: what a run has measured.
    """
    names = dict.fromkeys(metric for found in systems.values() for metric in found)
    wanted = list(_COLUMNS)
    while True:
        table = _table(systems, [(metric, key) for key in wanted for metric in names if _is_of(metric, key)])
        widest = max(len(line) for line in table.splitlines())
        dropped = next((key for key in _DROPPED_FIRST if key in wanted), None)
        if widest <= WIDTH or dropped is None:
            return table
        wanted.remove(dropped)


def _table(systems: Systems, columns: list[tuple[str, str]]) -> str:
    headers = [_COLUMNS[key][0].format(metric.partition("/")[0]) for metric, key in columns]
    rows: list[list[object]] = [
        [
            system,
            *(readable(found[metric], _COLUMNS[key][1]) if metric in found else None for metric, key in columns),
        ]
        for system, found in systems.items()
    ]
    return format_table(["", *headers], rows)


def _is_of(metric: str, key: str) -> bool:
    return metric.endswith(key) and metric.count("/") == 1 if key.startswith("/") else metric == key


def _decimals(value: float, digits: int) -> int:
    """The decimals with which a number has so many significant digits; at least 0."""
    if value == 0:
        return digits - 1
    return max(0, digits - 1 - int(f"{value:.{digits - 1}e}".partition("e")[2]))
