"""The units of the study: what each runs, what it needs, and whether it is done."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import lightning_realign
from experiments.mocap.finished import MARK
from lightning_realign.errors import ConfigError

FOLDER = "{folder}"
# As in the receipts of test runs.
_PACKAGES = ("torch", "lightning", "torchmetrics", "diffusers", "transformers", "numpy")


@dataclass(frozen=True)
class PlannedUnit:
    """A command whose results lie in a folder of its own.

    Attributes:
        name: of the unit and its folder.
        command: argument list in which `{folder}` stands for that folder; `python` is this very interpreter.
        needs: units that must be finished before.
        files: files that it depends on beside its command; a change of one makes it run again.
        resume: what a unit that was stopped does: begin anew; go on from its training's last.ckpt; run in the folder
            as it was left, for commands that know by themselves what is done.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    resume: Literal["anew", "checkpoint", "folder"] = "anew"

    def arguments(self, folder: Path) -> list[str]:
        """The command, for a folder."""
        return [word.replace(FOLDER, str(folder)) for word in self.command]

    def line(self, out: Path) -> str:
        """The command as a user would type it."""
        return shlex.join(self.arguments(self.folder(out)))

    def folder(self, out: Path) -> Path:
        """Where its results are once it is done."""
        return out / "units" / self.name

    def part(self, out: Path) -> Path:
        """Where it works."""
        return out / "units" / f".{self.name}.part"


def in_order(units: Sequence[PlannedUnit], only: Sequence[str] = ()) -> list[PlannedUnit]:
    """The units, or those named and all that they need, every one after what it needs.

    Raises:
        ConfigError: two units of one name, a name that no unit has, or units that need each other.
    """
    known = {unit.name: unit for unit in units}
    if len(known) != len(units):
        twice = next(unit.name for unit in units if known[unit.name] is not unit)
        raise ConfigError(f"two units are called {twice!r}; rename one")
    wanted: set[str] = set()
    waiting = list(only or known)
    while waiting:
        name = waiting.pop()
        if name not in known:
            raise ConfigError(f"no unit is called {name!r}; `--list` shows all names")
        if name not in wanted:
            wanted.add(name)
            waiting += known[name].needs
    graph = {unit.name: unit.needs for unit in units if unit.name in wanted}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise ConfigError(f"units need each other: {' <- '.join(error.args[1])}; drop one need") from None
    order: dict[str, PlannedUnit] = {}

    def add(name: str) -> None:
        for need in graph[name]:
            add(need)
        order.setdefault(name, known[name])

    for name in graph:
        add(name)
    return list(order.values())


def read_mark(unit: PlannedUnit, out: Path) -> dict[str, Any] | None:
    """A unit's mark; None where it is not done, or its mark is no JSON object."""
    try:
        found = json.loads((unit.folder(out) / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def inputs(unit: PlannedUnit, out: Path, marks: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """What a unit's results follow from: when what it needs was finished, and the SHA-256 of its files."""
    times = {name: str((marks.get(name) or {}).get("finished", "")) for name in unit.needs}
    return times | {str(path): _digest(path) for path in unit.files}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); run this from the repository") from None


def why_run(
    unit: PlannedUnit, out: Path, units: Mapping[str, PlannedUnit], pending: frozenset[str] = frozenset()
) -> str:
    """Why a unit has to run: in a few words; empty where it is done.

    Args:
        unit: of interest.
        out: the study's folder.
        units: all units by name.
        pending: units that are going to run before.
    """
    done = read_mark(unit, out)
    if done is None:
        return "not done"
    if done.get("command") != unit.line(out):
        return "its command has changed"
    # A mark without inputs is that of results that were brought from elsewhere.
    recorded: Any = done.get("inputs")
    if not isinstance(recorded, dict):
        return ""
    if again := sorted(pending.intersection(unit.needs)):
        return f"{again[0]} runs before"
    marks = {name: read_mark(units[name], out) for name in unit.needs}
    changed = [name for name, now in inputs(unit, out, marks).items() if recorded.get(name) != now]
    return f"{changed[0]} has changed" if changed else ""


def missing(units: Sequence[PlannedUnit], out: Path) -> dict[str, str]:
    """The units that have to run, of some in order, and why."""
    known, found = {unit.name: unit for unit in units}, dict[str, str]()
    for unit in units:
        if why := why_run(unit, out, known, frozenset(found)):
            found[unit.name] = why
    return found


def mark(
    unit: PlannedUnit, out: Path, seconds: float, cpu_seconds: float, came_from: Mapping[str, str]
) -> dict[str, Any]:
    """The content of a finished unit's mark."""
    return {
        "name": unit.name,
        "command": unit.line(out),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": _revision(),
        "hardware": _hardware(),
        "versions": _versions(),
        "inputs": dict(came_from),
    }


@cache
def _revision() -> str:
    """The commit of the code, with `-dirty` where it has changes; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


@cache
def _hardware() -> str:
    models = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


@cache
def _versions() -> dict[str, str]:
    own = {"lightning_realign": lightning_realign.__version__, "python": platform.python_version()}
    return own | {package: version(package) for package in _PACKAGES}
