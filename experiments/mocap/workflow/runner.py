"""Runs the units of the study, each a command in a process of its own, once, and side by side where nothing forbids it.

A unit works in `units/.NAME.part`, which becomes `units/NAME` when its command has ended well and its mark `unit.json`
is written: nothing half done is ever found under a unit's name.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from experiments.mocap.finished import MARK
from experiments.mocap.units import PlannedUnit, inputs, mark, read_mark, why_run
from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import write_text_atomic

LOG = "unit.log"
_COMMAND, _SPENT, _CHECKPOINT = "command.txt", "spent.json", "last.ckpt"
_POLL_SECONDS = 0.2
# Between the request to end and the end.
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Failure:
    """A unit that is not done. reason: one line."""

    unit: str
    reason: str


@dataclass
class _Job:
    """A running unit. before: seconds and CPU seconds of earlier attempts that it goes on from."""

    unit: PlannedUnit
    process: subprocess.Popen[bytes]
    lock: IO[Any]
    start: float
    before: tuple[float, float]
    resumed: bool


def run_units(
    units: Sequence[PlannedUnit], out: Path, jobs: int = 2, report: Callable[[str], None] = print
) -> list[Failure]:
    """Run all units that are not done, up to `jobs` side by side.

    Args:
        units: in order, with all that they need, see `in_order`.
        out: the study's folder.
        jobs: processes at a time.
        report: takes a line per unit.

    Returns:
        The units that failed and those that were left out because they need one of them.

    Raises:
        ConfigError: fewer than one job.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}; give 1 or more")
    return _Schedule(units, out, jobs, report).run()


class _Schedule:
    """The units that wait, run, and are done."""

    def __init__(self, units: Sequence[PlannedUnit], out: Path, jobs: int, report: Callable[[str], None]) -> None:
        self.units, self.out, self.jobs, self.report = {unit.name: unit for unit in units}, out, jobs, report
        self.waiting = list(units)
        self.running: list[_Job] = []
        self.done: set[str] = set()
        self.failures: dict[str, Failure] = {}

    def run(self) -> list[Failure]:
        with _terminable():
            try:
                self._begin_ready()
                while self.running:
                    if self._collect():
                        self._begin_ready()
                    else:
                        time.sleep(_POLL_SECONDS)
            finally:
                for job in self.running:
                    self._stop(job)
        return list(self.failures.values())

    def _begin_ready(self) -> None:
        """Begin what can begin; units come after what they need, so that one pass settles all that need no run."""
        for unit in list(self.waiting):
            lacking = [name for name in unit.needs if name in self.failures]
            if lacking:
                self.waiting.remove(unit)
                self._fail(unit, f"left out, since it needs {lacking[0]}")
            elif self.done.issuperset(unit.needs) and not why_run(unit, self.out, self.units):
                self.waiting.remove(unit)
                self.done.add(unit.name)
                self.report(f"{unit.name}: done earlier")
            elif self.done.issuperset(unit.needs) and len(self.running) < self.jobs:
                self.waiting.remove(unit)
                self._begin(unit)

    def _begin(self, unit: PlannedUnit) -> None:
        folder, line = unit.part(self.out), unit.line(self.out)
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder.with_suffix(".lock"))
        if lock is None:
            self._fail(unit, "left out, since another process is running it")
            return
        going_on = unit.resume != "anew" and _read(folder / _COMMAND) == line
        if not going_on:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / _COMMAND, line)
        command = [sys.executable if word == "python" else word for word in unit.arguments(folder)]
        resumed = unit.resume == "checkpoint" and (folder / _CHECKPOINT).is_file()
        if resumed:
            command.append(f"--ckpt_path={folder / _CHECKPOINT}")
        with (folder / LOG).open("ab") as log:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_environment(),
                    # As long as the command runs, even without this process, nobody else runs it.
                    pass_fds=(lock.fileno(),),
                )
            except OSError as error:
                lock.close()
                self._fail(unit, f"{command[0]!r} cannot be run ({error.strerror})")
                return
        spent = _spent(folder) if going_on else (0.0, 0.0)
        self.running.append(_Job(unit, process, lock, time.monotonic(), spent, resumed))
        self.report(f"{unit.name}: begins{' where it was stopped' if resumed else ''}")

    def _collect(self) -> bool:
        """Take the units whose commands have ended out of `running`; whether there was any."""
        ended = False
        for job in list(self.running):
            pid, status, usage = os.wait4(job.process.pid, os.WNOHANG)
            if not pid:
                continue
            ended = True
            job.process.returncode = code = os.waitstatus_to_exitcode(status)
            self.running.remove(job)
            seconds = job.before[0] + time.monotonic() - job.start
            cpu = job.before[1] + usage.ru_utime + usage.ru_stime
            if code == 0:
                self._finish(job, seconds, cpu)
            else:
                self._lose(job, seconds, cpu, code)
            job.lock.close()
        return ended

    def _finish(self, job: _Job, seconds: float, cpu: float) -> None:
        unit, folder = job.unit, job.unit.part(self.out)
        marks = {name: read_mark(self.units[name], self.out) for name in unit.needs}
        content = mark(unit, self.out, seconds, cpu, inputs(unit, self.out, marks))
        (folder / _SPENT).unlink(missing_ok=True)
        write_text_atomic(folder / MARK, json.dumps(content, indent=2) + "\n")
        target, old = unit.folder(self.out), folder.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        folder.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        self.done.add(unit.name)
        self.report(f"{unit.name}: done in {seconds:.0f} s; {len(self.waiting) + len(self.running)} left")

    def _lose(self, job: _Job, seconds: float, cpu: float, code: int) -> None:
        folder = job.unit.part(self.out)
        _keep_spent(folder, seconds, cpu)
        if job.resumed and code > 0:
            # The checkpoint may be what is wrong: the next attempt begins anew.
            (folder / _COMMAND).unlink(missing_ok=True)
        log = folder / LOG
        self._fail(job.unit, f"exit code {code} after {seconds:.0f} s: {_last_line(log)} (log: {log})")

    def _fail(self, unit: PlannedUnit, reason: str) -> None:
        self.failures[unit.name] = Failure(unit.name, reason)
        self.report(f"{unit.name}: {reason if reason.startswith('left out') else f'FAILED, {reason}'}")

    def _stop(self, job: _Job) -> None:
        job.process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        pid, _, usage = os.wait4(job.process.pid, os.WNOHANG)
        while not pid:
            # A run of Lightning ends with its batch, which may take minutes.
            if time.monotonic() > deadline:
                os.kill(job.process.pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
            pid, _, usage = os.wait4(job.process.pid, os.WNOHANG)
        job.process.returncode = -signal.SIGTERM
        seconds = job.before[0] + time.monotonic() - job.start
        _keep_spent(job.unit.part(self.out), seconds, job.before[1] + usage.ru_utime + usage.ru_stime)
        job.lock.close()


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn a request to end into an exception, so that the commands under way are ended, too."""

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _locked(path: Path) -> IO[Any] | None:
    """The lock of a unit; None where another process holds it."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _environment() -> dict[str, str]:
    # These would send a run's record elsewhere, or check it against another sweep's values.
    others = ("REALIGN_RUN_DIR", "REALIGN_SWEEP_POINT")
    own = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return {name: value for name, value in os.environ.items() if name not in others} | own


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _keep_spent(folder: Path, seconds: float, cpu: float) -> None:
    write_text_atomic(folder / _SPENT, json.dumps({"seconds": seconds, "cpu_seconds": cpu}))


def _spent(folder: Path) -> tuple[float, float]:
    path = folder / _SPENT
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return float(found.get("seconds", 0.0)), float(found.get("cpu_seconds", 0.0))


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
