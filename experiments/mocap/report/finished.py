"""The finished units of the study: what ran, how long it took, and the receipts and records that it left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiments.mocap.plan.units import MARK
from lightning_realign.errors import DataError
from lightning_realign.evaluation.record import Record, read_record
from lightning_realign.files.reading import read_json
from lightning_realign.report.intervals import Interval
from lightning_realign.report.receipts import Receipt

Split = Literal["val", "test"]
Metrics = Mapping[str, Interval]


@dataclass(frozen=True)
class Unit:
    """A finished unit. details: its `unit.json` as it is. seconds: of the clock. cpu_seconds: of all its threads."""

    name: str
    folder: Path
    seconds: float
    cpu_seconds: float
    hardware: str
    details: Mapping[str, Any]


def finished_units(out: Path) -> dict[str, Unit]:
    """All finished units by name, those without their mark left out.

    Raises:
        DataError: there is no folder of units, or a mark is damaged.
    """
    folder = out / "units"
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder that `python -m experiments.mocap` works in")
    # A folder with a point before its name is of a unit at work.
    marks = (mark for mark in sorted(folder.glob(f"*/{MARK}")) if not mark.parent.name.startswith("."))
    return {mark.parent.name: _unit(mark) for mark in marks}


def _unit(mark: Path) -> Unit:
    details = read_json(mark, "mark of a unit")
    try:
        seconds, cpu = float(details["seconds"]), float(details["cpu_seconds"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{mark}: has no numbers 'seconds' and 'cpu_seconds'; run the unit again") from None
    hardware = details.get("hardware", "")
    machine = ", ".join(f"{value}" for value in hardware.values()) if isinstance(hardware, dict) else str(hardware)
    return Unit(mark.parent.name, mark.parent, seconds, cpu, machine, details)


def latest(folder: Path, name: str) -> Path | None:
    """The file of a name in the newest version of a unit's logs, wherever in the unit they are; None without any."""
    found = [path for path in folder.rglob(name) if path.is_file()]
    return max(found, key=lambda path: (_version(path), str(path)), default=None)


def _version(path: Path) -> int:
    match = re.fullmatch(r"version_(\d+)", path.parent.name)
    return int(match[1]) if match else -1


def receipt_of(unit: Unit, split: Split = "test") -> Receipt | None:
    """The receipt that a unit left of a split; None where it left none."""
    path = latest(unit.folder, f"table-{split}.json")
    return None if path is None else Receipt.read(path)


def record_of(unit: Unit, split: Split = "test") -> Record | None:
    """The record that a unit left of a split; None where it left none."""
    path = latest(unit.folder, f"samples-{split}.safetensors")
    return None if path is None else read_record(path)
