"""Runs the command of a unit in a process of its own.

A unit works in `units/.NAME.part`. The folder becomes `units/NAME` when the command has ended well and its mark
`unit.json` is written, so that nothing half done is ever found under a unit's name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import IO, Any

from doit.action import BaseAction
from doit.exceptions import TaskFailed

from experiments.mocap.plan.units import MARK, PlannedUnit
from experiments.mocap.workflow.mark import mark
from lightning_realign.files.atomic import write_text_atomic

LOG = "unit.log"
_COMMAND, _SPENT, _CHECKPOINT = "command.txt", "spent.json", "last.ckpt"
_POLL_SECONDS = 0.2
# Between the request to end and the end.
_GRACE_SECONDS = 10.0


class RunCommand(BaseAction):  # type: ignore[misc]
    """The action of a unit's task.

    Args:
        unit: whose command runs.
        out: the study's folder.
        lock: an open file that the command holds as long as it runs, even if this process is gone.
        report: takes a line for the terminal.
    """

    def __init__(self, unit: PlannedUnit, out: Path, lock: IO[Any], report: Callable[[str], None]) -> None:
        self.unit, self.study, self.lock, self.report = unit, out, lock, report
        self.result: str | None = None
        self.values: dict[str, Any] = {}
        # What doit keeps of a command's output; the log has it here.
        self.out = self.err = ""
        self._pid = 0
        self._ended = Event()

    def execute(self, out: object = None, err: object = None) -> TaskFailed | None:
        """Run the command to its end.

        Returns:
            None if it ended well, else the failure with a reason of one line.
        """
        folder, line = self.unit.part(self.study), self.unit.line(self.study)
        going_on = self.unit.resume != "anew" and _read(folder / _COMMAND) == line
        if not going_on:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / _COMMAND, line)
        before = _spent(folder)
        command = [sys.executable if word == "python" else word for word in self.unit.arguments(folder)]
        resumed = self.unit.resume == "checkpoint" and (folder / _CHECKPOINT).is_file()
        if resumed:
            command.append(f"--ckpt_path={folder / _CHECKPOINT}")
        start = time.monotonic()
        try:
            process = self._begin(command, folder)
        except OSError as error:
            return TaskFailed(f"{command[0]!r} cannot be run ({error.strerror})", report=False)
        self.report(f"{self.unit.name}: begins{' where it was stopped' if resumed else ''}")
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = code = os.waitstatus_to_exitcode(status)
            seconds = before[0] + time.monotonic() - start
            cpu = before[1] + usage.ru_utime + usage.ru_stime
            if code == 0:
                self._finish(folder, seconds, cpu)
                return None
            return self._lose(folder, seconds, cpu, code, resumed)
        finally:
            self._ended.set()

    def _begin(self, command: list[str], folder: Path) -> subprocess.Popen[bytes]:
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                pass_fds=(self.lock.fileno(),),
            )
        self._pid = process.pid
        return process

    def _finish(self, folder: Path, seconds: float, cpu: float) -> None:
        (folder / _SPENT).unlink(missing_ok=True)
        content = mark(self.unit, self.study, seconds, cpu)
        write_text_atomic(folder / MARK, json.dumps(content, indent=2) + "\n")
        target, old = self.unit.folder(self.study), folder.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        folder.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        self.result = f"done in {seconds:.0f} s"

    def _lose(self, folder: Path, seconds: float, cpu: float, code: int, resumed: bool) -> TaskFailed:
        write_text_atomic(folder / _SPENT, json.dumps({"seconds": seconds, "cpu_seconds": cpu}))
        if resumed and code > 0:
            # The checkpoint may be what is wrong: the next attempt begins anew.
            (folder / _COMMAND).unlink(missing_ok=True)
        log = folder / LOG
        return TaskFailed(f"exit code {code} after {seconds:.0f} s: {_last_line(log)} (log: {log})", report=False)

    def stop(self) -> None:
        """End the command if it runs, and wait until what it has spent is written."""
        if not self._pid or self._ended.is_set():
            return
        os.kill(self._pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        # A run of Lightning ends with its batch, which may take minutes.
        while not self._ended.wait(_POLL_SECONDS):
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    # These would send a run's record elsewhere, or check it against another sweep's values.
    others = ("REALIGN_RUN_DIR", "REALIGN_SWEEP_POINT")
    own = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return {name: value for name, value in os.environ.items() if name not in others} | own


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _spent(folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of earlier attempts that a unit goes on from."""
    path = folder / _SPENT
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return float(found.get("seconds", 0.0)), float(found.get("cpu_seconds", 0.0))


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
