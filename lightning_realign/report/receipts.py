"""The receipts of runs (`table-*.json`, `retrieval-*.json`): the metrics of each system, and how they came about.

A receipt is a JSON object:

    format      2
    settings    the run's settings, versions and checksums
    systems     system -> metric -> {"mean", "ci95", "values"}: "values" has one value per replication, "ci95" is half
                the width of the 95% interval, null for one replication

Format 1 has no field `format`, and calls the systems `rows`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.reading import read_json
from lightning_realign.files.run_folder import newest_with
from lightning_realign.report.context import Context, context_of
from lightning_realign.report.intervals import Interval, Systems
from lightning_realign.report.table import format_table

FORMAT = 2
# The field of the systems, by format.
_FIELDS = {1: "rows", 2: "systems"}
_RECEIPTS = ("table-*.json", "retrieval-*.json")
_NAMES = " or ".join(_RECEIPTS)
# Folders that loggers make, whose names say nothing of the run.
_LOG = re.compile(r"logs|version_\d+")
# The system of motions made elsewhere. It gets its method's name, which must not be that of another system.
_SAMPLES = "samples"
_SYSTEMS = ("real", "reconstruction", "unguided", "guided")


@dataclass(frozen=True)
class Receipt:
    """What one run measured.

    Attributes:
        systems: system -> metric -> interval, in the file's order.
        settings: of the run, plain values.
        run: a name for the run, in tables of several.
    """

    systems: Systems
    settings: Mapping[str, Any]
    run: str = ""

    @cached_property
    def context(self) -> Context:
        """The circumstances that the settings state."""
        return context_of(self.settings)

    @property
    def made_by(self) -> str | None:
        """The method that made motions elsewhere, if a system goes by its name, see `named`; else None."""
        method = self.context.method
        return method if method in self.systems and method not in (_SAMPLES, *_SYSTEMS) else None

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics, in the order of their first occurrence."""
        return list(dict.fromkeys(name for found in self.systems.values() for name in found))

    def named(self, run: str) -> Receipt:
        """The same receipt with a name for the run, where the system `samples` has its method's name."""
        method = self.context.method
        if _SAMPLES not in self.systems or method is None or method in (_SAMPLES, *_SYSTEMS):
            return replace(self, run=run)
        systems = {method if system == _SAMPLES else system: found for system, found in self.systems.items()}
        return replace(self, systems=systems, run=run)

    def text(self) -> str:
        """The metrics as aligned text: a line per metric and a column per system, of which there are fewer."""
        lines = [[name, *(found.get(name) for found in self.systems.values())] for name in self.metrics]
        return format_table(["metric", *self.systems], lines)

    def write(self, path: Path) -> None:
        """Write the receipt atomically.

        Raises:
            DataError: a metric that is not finite.
        """
        for system, found in self.systems.items():
            for metric, value in found.items():
                if not math.isfinite(value.mean):
                    raise DataError(
                        f"{path}: {metric} of system {system!r} is {value.mean}; check the motions behind it"
                    )
        systems = {
            system: {
                metric: {"mean": value.mean, "ci95": value.half_width, "values": list(value.values)}
                for metric, value in found.items()
            }
            for system, found in self.systems.items()
        }
        content = {"format": FORMAT, "settings": dict(self.settings), "systems": systems}
        write_text_atomic(path, json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Receipt:
        """Read a receipt of format 1 or 2.

        Raises:
            DataError: the file is missing, or is no receipt.
        """
        content = read_json(path, "receipt")
        version = content.get("format", 1 if "rows" in content else FORMAT)
        if version not in _FIELDS:
            raise DataError(f"{path}: field 'format' is {version!r}; give a receipt of format 1 or 2")
        settings = {} if content.get("settings") is None else content["settings"]
        if not isinstance(settings, dict):
            raise DataError(
                f"{path}: field 'settings' is a {type(settings).__name__}, not an object; run the test again"
            )
        field = _FIELDS[version]
        systems = content.get(field)
        if not isinstance(systems, dict) or not systems or not all(isinstance(one, dict) for one in systems.values()):
            raise DataError(f"{path}: field {field!r} holds no table; give a {_NAMES} of validate or test")
        return cls(
            {
                system: {
                    metric: _interval(path, f"{field}.{system}.{metric}", value) for metric, value in found.items()
                }
                for system, found in systems.items()
            },
            settings,
        )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _interval(path: Path, field: str, value: Any) -> Interval:
    width = value.get("ci95") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not _number(value.get("mean")) or not (width is None or _number(width)):
        raise DataError(f"{path}: {field} has no numbers 'mean' and 'ci95'; give a {_NAMES} of validate or test")
    mean = float(value["mean"])
    if not math.isfinite(mean) or not math.isfinite(width or 0.0):
        raise DataError(f"{path}: {field} is {mean} ± {width}; look for motions with NaN, and run the test again")
    values = value.get("values", [])
    if not isinstance(values, list) or not all(map(_number, values)):
        raise DataError(f"{path}: {field}.values is no list of numbers; run the test again")
    return Interval(mean, None if width is None else float(width), tuple(map(float, values)))


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
    """The receipts in a folder, or in the newest log of a run's folder.

    Raises:
        DataError: there is none.
    """
    holding = newest_with(folder, *_RECEIPTS)
    found = [path for pattern in _RECEIPTS for path in sorted(holding.glob(pattern))]
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
    return [Receipt.read(path).named(name) for name, path in zip(names, paths, strict=True)]


def metric_names(receipts: Sequence[Receipt]) -> list[str]:
    """All metrics, in the order of their first occurrence."""
    return list(dict.fromkeys(name for receipt in receipts for name in receipt.metrics))
