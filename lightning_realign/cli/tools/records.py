"""What the command line does with records: metrics computed again, and two systems compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning_realign import __version__
from lightning_realign.evaluation.paired import Difference, Side, Unit, differences
from lightning_realign.evaluation.record import read_record
from lightning_realign.evaluation.scoring import left_out, score
from lightning_realign.report.receipts import Receipt
from lightning_realign.report.table import format_table


def rescore(record: Path, out: Path, pool: int) -> str:
    """Compute all metrics of a record again and write their receipt.

    Args:
        record: the record, or the folder that holds one.
        out: the receipt to write.
        pool: size of the pools of R-Precision.

    Returns:
        The table as text.

    Raises:
        DataError: no record.
        ConfigError: a pool below 2.
    """
    found = read_record(record)
    settings = {**found.settings, "pool": pool, "left_out": left_out(found, pool), "rescored_with": __version__}
    receipt = Receipt(score(found, pool), settings)
    receipt.write(out)
    return receipt.text()


def compare_systems(
    record: Path, other: Path | None, system: str, against: str, resamples: int, unit: Unit = "sample"
) -> str:
    """The paired differences of `system` in `other` (or in `record`) from `against` in `record`, as text.

    Raises:
        DataError: no record, no such system, or runs that cannot be paired.
        ConfigError: too few resamples, or an unknown unit.
    """
    first = read_record(record)
    second = first if other is None else read_record(other)
    text = _text(differences(Side(first, against), Side(second, system), resamples, unit=unit), against, system)
    if "samples" in (system, against):
        text += "note: `samples` were made elsewhere, from noise of their own: pairs share caption and length only\n"
    return text


def _text(found: Mapping[str, Difference], before: str, after: str) -> str:
    lines = [
        [
            name,
            f"{value.before:.4f}",
            f"{value.after:.4f}",
            f"{value.change:+.4f}",
            f"[{value.low:+.4f}, {value.high:+.4f}]",
            "yes" if value.clear else "no",
        ]
        for name, value in found.items()
    ]
    other = f"{after} (other run)" if before == after else after
    return format_table(["metric", before, other, "change", "95% interval", "excludes 0"], lines)
