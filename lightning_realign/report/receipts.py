"""The receipts of runs (`table-*.json`, `retrieval-*.json`): the metrics of each system, and how they came about."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.files.reading import read_json
from lightning_realign.report.context import Context, read_context

_RECEIPTS = ("table-*.json", "retrieval-*.json")
_NAMES = " or ".join(_RECEIPTS)
# Folders that loggers make, whose names say nothing of the run.
_LOG = re.compile(r"logs|version_\d+")
# The system of motions made elsewhere. It gets its method's name, which must not be that of another system.
_SAMPLES = "samples"
_SYSTEMS = ("real", "reconstruction", "unguided", "guided")


@dataclass(frozen=True)
class Estimate:
    """A metric's mean, and half the width of its 95% interval (None for one replication)."""

    mean: float
    half_width: float | None


@dataclass(frozen=True)
class Receipt:
    """What one run measured.

    Attributes:
        run: a name for it.
        systems: system -> metric -> estimate, in the file's order; the system `samples` has its method's name.
        context: what its settings say.
        made_by: that method's name; None if no system was made elsewhere.
    """

    run: str
    systems: Mapping[str, Mapping[str, Estimate]]
    context: Context
    made_by: str | None = None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _estimate(path: Path, field: str, value: Any) -> Estimate:
    width = value.get("ci95") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not _number(value.get("mean")) or not (width is None or _number(width)):
        raise DataError(f"{path}: {field} has no numbers 'mean' and 'ci95'; give a {_NAMES} of validate or test")
    mean = float(value["mean"])
    if not math.isfinite(mean) or not math.isfinite(width or 0.0):
        raise DataError(f"{path}: {field} is {mean} ± {width}; look for motions with NaN, and run the test again")
    return Estimate(mean, None if width is None else float(width))


def _systems(path: Path, rows: Any) -> dict[str, dict[str, Estimate]]:
    if not isinstance(rows, dict) or not rows or not all(isinstance(row, dict) for row in rows.values()):
        raise DataError(f"{path}: field 'rows' holds no table; give a {_NAMES} of validate or test")
    return {
        name: {metric: _estimate(path, f"rows.{name}.{metric}", value) for metric, value in row.items()}
        for name, row in rows.items()
    }


def _receipt(name: str, path: Path, content: Mapping[str, Any]) -> Receipt:
    context = read_context(path, content.get("settings"))
    systems, method = _systems(path, content.get("rows")), context.method
    if _SAMPLES not in systems or method is None or method in (_SAMPLES, *_SYSTEMS):
        return Receipt(name, systems, context)
    named = {method if system == _SAMPLES else system: metrics for system, metrics in systems.items()}
    return Receipt(name, named, context, method)


def run_names(files: Sequence[Path]) -> list[str]:
    """A name for each run: its folder, with as many parents as make it unique, and never a mere `logs/version_N`.

    For several files of one folder, the name also has what follows `table-` in the file's name, or all of that name.

    Raises:
        ConfigError: a file is given twice.
    """
    paths = [file.resolve() for file in files]
    for file, path in zip(files, paths, strict=True):
        if paths.count(path) > 1:
            raise ConfigError(f"receipts: {file} is given twice; give each run once")
    folders = [path.parent.parts for path in paths]
    depth, deepest = 1, max((len(folder) for folder in folders), default=1)
    while depth < deepest and (
        any(all(map(_LOG.fullmatch, folder[-depth:])) for folder in folders)
        or len({folder[-depth:] for folder in folders}) < len(set(folders))
    ):
        depth += 1
    names = ["/".join(folder[-depth:]) for folder in folders]
    kinds = [f" {path.stem.removeprefix('table-')}" for path in paths]
    return [
        name + (kind if folders.count(folder) > 1 else "")
        for name, kind, folder in zip(names, kinds, folders, strict=True)
    ]


def _files_in(folder: Path) -> list[Path]:
    """The receipts in a folder.

    Raises:
        DataError: there is none.
    """
    found = [path for pattern in _RECEIPTS for path in sorted(folder.glob(pattern))]
    if not found:
        raise DataError(f"{folder}: no {_NAMES} in it; give the folder of a validate or test run's log")
    return found


def read_receipts(files: Sequence[Path]) -> list[Receipt]:
    """Read several receipts; a folder stands for all receipts in it.

    Raises:
        ConfigError: no file, or one given twice.
        DataError: a file is missing, or is no receipt, or a folder holds none.
    """
    if not files:
        raise ConfigError(f"receipts: none given; name at least one {_NAMES}")
    paths = [path for file in files for path in (_files_in(file) if file.is_dir() else [file])]
    names = run_names(paths)
    contents = [read_json(path, "receipt") for path in paths]
    return [_receipt(*entry) for entry in zip(names, paths, contents, strict=True)]


def metric_names(receipts: Sequence[Receipt]) -> list[str]:
    """All metrics, in the order of their first occurrence."""
    return list(dict.fromkeys(name for receipt in receipts for row in receipt.systems.values() for name in row))
