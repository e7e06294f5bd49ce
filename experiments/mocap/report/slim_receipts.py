"""Slim receipts of the study's units, small enough to be kept with the code: all metrics, and no embedding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.compact import compact_json
from experiments.mocap.report.finished import Metrics, Unit, latest, receipt_of
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.hashing import file_sha256
from lightning_realign.report.receipts import Receipt

_DIGITS = 6
# An absolute path, in a command too; the last part is its name.
_ABSOLUTE = re.compile(r"(?<![\w./:~])/(?:[^\s/'\",:;=]+/)*([^\s/'\",:;=]+)/?")
_FILES = ("table-test.json", "table-val.json", "samples-test.safetensors", "samples-val.safetensors", "metrics.json")


def slim_receipt(unit: Unit, out: Path, extra: Mapping[str, Metrics] | None = None) -> dict[str, Any]:
    """What a unit was, what it cost, what it measured, and the hashes of the files that hold more.

    Args:
        unit: a finished one.
        out: the study's folder; paths in it are written relative to it.
        extra: metrics computed afterwards, by system.
    """
    found: dict[str, Any] = {"unit": dict(unit.details)}
    files = [path for name in _FILES if (path := latest(unit.folder, name)) is not None]
    found["sha256"] = {str(path.relative_to(unit.folder)): file_sha256(path) for path in files}
    receipt = receipt_of(unit) or receipt_of(unit, "val")
    if receipt is not None:
        found |= _measured(receipt, extra or {})
    return {name: _relative(value, out) for name, value in found.items()}


def _measured(receipt: Receipt, extra: Mapping[str, Metrics]) -> dict[str, Any]:
    systems = {
        system: {**receipt.systems.get(system, {}), **extra.get(system, {})}
        for system in dict.fromkeys((*receipt.systems, *extra))
    }
    return {
        "settings": receipt.settings,
        "systems": {
            system: {
                name: {
                    "mean": _short(value.mean),
                    "ci95": _short(value.half_width),
                    "values": [_short(entry) for entry in value.values],
                }
                for name, value in metrics.items()
            }
            for system, metrics in systems.items()
        },
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _relative(value: Any, out: Path) -> Any:
    """The value with the study's folder cut from the paths in its texts, and of all others but their names."""
    if isinstance(value, Mapping):
        return {_relative(key, out): _relative(entry, out) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_relative(entry, out) for entry in value]
    if isinstance(value, str):
        for folder in (str(out.resolve()), str(out)):
            value = value.replace(folder, "OUT")
        return _ABSOLUTE.sub(r"\1", value)
    return value


def write_receipts(
    units: Mapping[str, Unit], out: Path, into: Path, extra: Mapping[str, Mapping[str, Metrics]]
) -> None:
    """Write `<unit>.json` of every unit.

    Args:
        units: finished ones, by name.
        out: the study's folder.
        into: the receipts' folder.
        extra: unit -> system -> metrics computed afterwards.
    """
    for name, unit in units.items():
        content = slim_receipt(unit, out, extra.get(name))
        write_text_atomic(into / f"{name}.json", compact_json(content) + "\n")
