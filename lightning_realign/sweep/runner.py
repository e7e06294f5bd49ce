"""Runs the points of a sweep file one after the other, as the W&B agent would, and sums them up."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.shipped_configs import resolve
from lightning_realign.report.plots import heat_map, line_plot
from lightning_realign.report.table import format_table
from lightning_realign.sweep.inputs import files_behind
from lightning_realign.sweep.search import search
from lightning_realign.sweep.spec import SweepSpec, read_sweep

_LOG = logging.getLogger(__name__)
_METRICS, _DONE, _OUTPUT = "metrics.json", "point.json", "output.log"
_SCRIPT = "train.py"


@dataclass(frozen=True)
class Outcome:
    """What came of one point. value: the sweep's metric, None where it failed. failure: why, in one line, else ""."""

    point: Mapping[str, Any]
    folder: Path
    value: float | None
    seconds: float
    failure: str = ""


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep. table: as shown in the terminal. picture: None where no one or two numbers vary."""

    outcomes: tuple[Outcome, ...]
    best: Outcome | None
    table: str
    table_file: Path
    picture: Path | None

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The points that failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.failure)

    @property
    def exit_code(self) -> int:
        """1 where a point failed, else 0."""
        return 1 if self.failures else 0


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Each name's last part where that is unique, else the whole name."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: tail if last.count(tail) == 1 else name for name, tail in zip(names, last, strict=True)}


def point_folder(spec: SweepSpec, point: Mapping[str, Any], extra: Sequence[str], out: Path) -> Path:
    """The folder of a point: readable, and another one as soon as its command changes, or a file that it reads."""
    digest = hashlib.sha256()
    arguments = (*spec.arguments(point), *extra)
    for part in arguments:
        digest.update(part.encode() + b"\0")
    for identity in files_behind(arguments):
        digest.update(identity + b"\0")
    names = short_names(list(point))
    varying = {parameter.name for parameter in spec.parameters if parameter.varies}
    label = ",".join(f"{names[name]}={_shown(value)}" for name, value in point.items() if name in varying)
    safe = re.sub(r"[^\w.,=+-]", "_", label)[:80] or "point"
    return out / f"{safe}-{digest.hexdigest()[:8]}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _measure(folder: Path, metric: str) -> float:
    """The sweep's metric from a point's metrics.json.

    Raises:
        ConfigError: there is no such file, or it does not hold the metric as a finite number.
    """
    path = folder / _METRICS
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        value = metrics.get(metric)
    except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{path}: missing or unreadable; the command must end by writing it") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        known = ", ".join(sorted(metrics)) or "nothing"
        raise ConfigError(f"{path}: metric {metric!r} is {value!r}; the file has {known}")
    return float(value)


def _finished(folder: Path, metric: str) -> tuple[float, float] | None:
    """The metric and the seconds of a point that ended well earlier."""
    try:
        done = json.loads((folder / _DONE).read_text(encoding="utf-8"))
        return _measure(folder, metric), float(done["seconds"])
    except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    # W&B has its say after the program's error.
    own = [line for line in lines if not line.startswith("wandb:")]
    return (own or lines or ["no output"])[-1][:300]


def _runnable(arguments: Sequence[str]) -> list[str]:
    """The arguments as they run here: outside a clone there is no train.py, but the package does the same."""
    if Path(_SCRIPT).exists():
        return list(arguments)
    return [part for word in arguments for part in (("-m", "lightning_realign") if word == _SCRIPT else (word,))]


def _run(spec: SweepSpec, point: Mapping[str, Any], extra: Sequence[str], folder: Path) -> Outcome:
    """Run one point in a process of its own; its output goes to output.log."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (_DONE, _METRICS):
        (folder / stale).unlink(missing_ok=True)
    environment = {
        **os.environ,
        "REALIGN_SWEEP_POINT": json.dumps(dict(point)),
        "REALIGN_RUN_DIR": str(folder),
        # So that `python` in the command is the one that runs the sweep.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    command = [*_runnable(spec.arguments(point)), *extra, f"--trainer.default_root_dir={folder}"]
    output, start = folder / _OUTPUT, time.monotonic()
    with output.open("wb") as log:
        try:
            code = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False
            ).returncode
        except OSError as error:
            raise ConfigError(f"{spec.path}: command: {command[0]!r} cannot be run ({error.strerror})") from None
    seconds = time.monotonic() - start
    if code != 0:
        return Outcome(point, folder, None, seconds, f"exit code {code}: {_last_line(output)} (log: {output})")
    try:
        value = _measure(folder, spec.metric)
    except ConfigError as error:
        return Outcome(point, folder, None, seconds, f"{error} (log: {output})")
    record = {"point": dict(point), "command": command, "seconds": seconds}
    write_text_atomic(folder / _DONE, json.dumps(record, indent=2) + "\n")
    return Outcome(point, folder, value, seconds)


def _table(spec: SweepSpec, outcomes: Sequence[Outcome], best: Outcome | None, out: Path) -> tuple[str, Path]:
    """The table for the terminal and, with full names and precision, table.csv."""
    names = [parameter.name for parameter in spec.parameters]
    short = short_names(names)
    rows = [[*(entry.point[name] for name in names), entry.value, entry.seconds] for entry in outcomes]
    marks = ["failed" if entry.failure else "best" if entry is best else "" for entry in outcomes]
    marked = [[*row, mark] for row, mark in zip(rows, marks, strict=True)]
    shown = format_table([*(short[name] for name in names), spec.metric, "seconds", ""], marked)
    file = out / "table.csv"
    write_text_atomic(file, format_table([*names, spec.metric, "seconds", "status"], marked, "csv"))
    return shown, file


def _picture(spec: SweepSpec, outcomes: Sequence[Outcome], out: Path) -> Path | None:
    """A heat map over two varying numbers, a line over one; nothing otherwise, or where every point failed."""
    if all(entry.value is None for entry in outcomes):
        return None
    names = [parameter.name for parameter in spec.parameters if parameter.varies]
    columns = [[entry.point[name] for entry in outcomes] for name in names]
    numeric = all(
        isinstance(value, int | float) and not isinstance(value, bool) for column in columns for value in column
    )
    if len(names) not in (1, 2) or not numeric:
        return None
    short, path = short_names(names), out / f"{'_'.join(name.rpartition('.')[2] for name in names)}.png"
    values = [math.nan if entry.value is None else entry.value for entry in outcomes]
    if len(names) == 2:
        heat_map(columns[0], columns[1], values, (short[names[0]], short[names[1]], spec.metric), path)
    else:
        line_plot(columns[0], values, (short[names[0]], spec.metric), path)
    return path


def run_sweep(
    file: Path,
    out: Path | None = None,
    *,
    extra: Sequence[str] = (),
    seed: int = 0,
    report: Callable[[str], None] = _LOG.info,
) -> SweepResult:
    """Run a W&B sweep file without a server.

    Each point runs the argument list that the W&B agent would run, in the current folder, followed by `extra` and
    `--trainer.default_root_dir=<point's folder>`; its environment names the values asked for, so that `SweepGuard`
    can check them, and the folder, where `RunRecord` writes metrics.json. A point that ended well is not run again, as
    long as its command is the same, the configurations and checkpoints behind it are, and the program itself; folders
    of data are not looked at.

    Args:
        file: the sweep file, or the name of one that comes with the package. Grid, random and bayes (Optuna's TPE) are
            supported; early termination is ignored.
        out: folder of the results; by default runs/sweeps/<name of the file>.
        extra: further arguments for every point.
        seed: of random and bayes.
        report: takes progress, failures and the final table line by line, for example `print`.

    Returns:
        The outcomes; `exit_code` is 1 where a point failed.

    Raises:
        ConfigError: the sweep file cannot be used.
    """
    spec = read_sweep(resolve(file))
    out = Path("runs") / "sweeps" / file.stem if out is None else out
    points = search(spec, seed)
    outcomes: list[Outcome] = []
    measured: float | None = None
    while spec.run_cap is None or len(outcomes) < spec.run_cap:
        try:
            point = points.send(measured) if outcomes else next(points)
        except StopIteration:
            break
        outcome = _resume_or_run(spec, point, extra, out, report)
        measured = outcome.value
        outcomes.append(outcome)
    points.close()
    return _summary(spec, outcomes, out, report)


def _resume_or_run(
    spec: SweepSpec, point: Mapping[str, Any], extra: Sequence[str], out: Path, report: Callable[[str], None]
) -> Outcome:
    folder = point_folder(spec, point, extra, out)
    label = ", ".join(f"{name}={_shown(value)}" for name, value in point.items())
    if (earlier := _finished(folder, spec.metric)) is not None:
        report(f"{label}: {spec.metric} = {earlier[0]:.4g} (finished earlier)")
        return Outcome(point, folder, *earlier)
    outcome = _run(spec, point, extra, folder)
    result = f"failed, {outcome.failure}" if outcome.value is None else f"{spec.metric} = {outcome.value:.4g}"
    report(f"{label}: {result}")
    return outcome


def _summary(spec: SweepSpec, outcomes: Sequence[Outcome], out: Path, report: Callable[[str], None]) -> SweepResult:
    """Choose the best point, and write the table and the picture."""
    good = [(entry.value, entry) for entry in outcomes if entry.value is not None]
    sign = 1.0 if spec.maximise else -1.0
    best = max(good, key=lambda pair: sign * pair[0])[1] if good else None
    table, table_file = _table(spec, outcomes, best, out)
    picture = _picture(spec, outcomes, out)
    report(table.rstrip("\n"))
    report(f"table: {table_file}" + (f", picture: {picture}" if picture else ""))
    failed = sum(bool(entry.failure) for entry in outcomes)
    if failed:
        report(f"{failed} of {len(outcomes)} points failed; run the same command again to retry them")
    return SweepResult(tuple(outcomes), best, table, table_file, picture)
