"""The units of the study as tasks of doit, which orders them, knows what is up to date, and runs them side by side.

A task's target is its unit's mark. It depends on the marks of the units that it needs and on its own files, by content,
and on its command line.
"""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from doit.control import TaskControl
from doit.dependency import Dependency, JsonDB
from doit.exceptions import BaseFail, InvalidCommand, InvalidDodoFile, InvalidTask, UnmetDependency
from doit.reporter import ZeroReporter
from doit.runner import MThreadRunner
from doit.task import Stream, Task, dict_to_task
from doit.tools import config_changed

from experiments.mocap.plan.units import PlannedUnit
from experiments.mocap.workflow.command import RunCommand
from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import write_text_atomic

_STATE, _LOCK = ".doit.json", ".lock"


@dataclass(frozen=True)
class Failure:
    """A unit that is not done. reason: one line."""

    unit: str
    reason: str


def in_order(units: Sequence[PlannedUnit], only: Sequence[str] = ()) -> list[PlannedUnit]:
    """The units, or those named and all that they need, every one after what it needs.

    Raises:
        ConfigError: two units of one name, a name that no unit has, or units that need each other.
    """
    known = {unit.name: unit for unit in units}
    with _in_one_line():
        return [known[task.name] for task in _walk(_control(units, Path(), only))]


def why_run(units: Sequence[PlannedUnit], out: Path) -> dict[str, str]:
    """The units that have to run, of some in order, and why, in a few words.

    Raises:
        ConfigError: a file that a unit depends on is missing.
    """
    found: dict[str, str] = {}
    with _in_one_line():
        control, state = _control(units, out), _state(out)
        for task in _walk(control):
            if reason := _reason(task, state, control, found):
                found[task.name] = reason
    return found


def _reason(task: Task, state: Dependency, control: TaskControl, pending: Mapping[str, str]) -> str:
    waits = next((name for name in task.task_dep if name in pending), None)
    makers = control.targets
    if lacking := [path for path in task.file_dep if path not in makers and not Path(path).is_file()]:
        raise ConfigError(f"{lacking[0]}: is not there; run this in the repository's folder")
    status = state.get_status(task, control.tasks, get_log=True)
    if status.status == "up-to-date":
        return f"{waits} runs before" if waits else ""
    if "missing_target" in status.reasons:
        return "not done"
    if "uptodate_false" in status.reasons:
        return "its command has changed"
    if waits:
        return f"{waits} runs before"
    changed = status.reasons.get("changed_file_dep") or ["what it needs"]
    return f"{makers.get(changed[0], changed[0])} has changed"


def run_units(
    units: Sequence[PlannedUnit], out: Path, jobs: int = 2, report: Callable[[str], None] = print
) -> list[Failure]:
    """Run all units that are not done, up to `jobs` side by side.

    Args:
        units: with all that they need.
        out: the study's folder.
        jobs: processes at a time.
        report: takes a line per unit.

    Returns:
        The units that failed and those that were left out because they need one of them.

    Raises:
        ConfigError: fewer than one job, a plan that cannot be run, or another process at work in the folder.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}; give 1 or more")
    with _locked(out) as lock, _terminable(), _in_one_line():
        control = _control(units, out, lock=lock, report=report)
        reporter = _Reporter(report, len(control.tasks))
        runner = MThreadRunner(_state(out), reporter, continue_=True, stream=Stream(0), num_process=jobs)
        try:
            runner.run_all(control.task_dispatcher())
        finally:
            for task in control.tasks.values():
                task.actions[0].stop()
    return reporter.failures


def _control(
    units: Sequence[PlannedUnit],
    out: Path,
    only: Sequence[str] = (),
    lock: IO[Any] | None = None,
    report: Callable[[str], None] = print,
) -> TaskControl:
    known = {unit.name: unit for unit in units}
    tasks = []
    for unit in units:
        if lacking := [name for name in unit.needs if name not in known]:
            raise ConfigError(f"no unit is called {lacking[0]!r}, which {unit.name} needs; `--list` shows all names")
        tasks.append(
            dict_to_task(
                {
                    "name": unit.name,
                    "actions": [] if lock is None else [RunCommand(unit, out, lock, report)],
                    "targets": [str(unit.mark(out))],
                    "task_dep": list(unit.needs),
                    "file_dep": [*(str(known[name].mark(out)) for name in unit.needs), *map(str, unit.files)],
                    "uptodate": [config_changed(unit.line(out))],
                }
            )
        )
    control = TaskControl(tasks)
    control.process(list(only) or None)
    return control


def _walk(control: TaskControl) -> Iterator[Task]:
    """The selected tasks and all that they need, in the order in which they would run."""
    nodes, node = control.task_dispatcher().generator, None
    while True:
        try:
            node = nodes.send(node)
        except StopIteration:
            return
        node.run_status = "up-to-date"
        yield node.task


class _Durable(JsonDB):  # type: ignore[misc]
    """What doit knows of the tasks, written whenever it changes, so that it outlives a process that is killed."""

    def set(self, task_id: str, dependency: str, value: object) -> None:
        super().set(task_id, dependency, value)
        self.dump()

    def remove(self, task_id: str) -> None:
        super().remove(task_id)
        self.dump()

    def dump(self) -> None:
        write_text_atomic(Path(self.name), self.codec.encode(self._db))


def _state(out: Path) -> Dependency:
    return Dependency(_Durable, str(out / _STATE))


class _Reporter(ZeroReporter):  # type: ignore[misc]
    """Turns what doit reports into a line per unit.

    Args:
        report: takes the lines.
        left: units that have not ended.
    """

    def __init__(self, report: Callable[[str], None], left: int) -> None:
        self.report, self.left, self.failures = report, left, list[Failure]()

    def skip_uptodate(self, task: Task) -> None:
        self.left -= 1
        self.report(f"{task.name}: done earlier")

    def add_success(self, task: Task) -> None:
        self.left -= 1
        self.report(f"{task.name}: {task.actions[0].result}; {self.left} left")

    def add_failure(self, task: Task, failure: BaseFail) -> None:
        self.left -= 1
        left_out = isinstance(failure, UnmetDependency)
        reason = f"left out, since it needs {failure.message.split()[0]}" if left_out else failure.message
        self.failures.append(Failure(task.name, reason))
        self.report(f"{task.name}: {reason if left_out else f'FAILED, {reason}'}")

    def runtime_error(self, message: str) -> None:
        raise ConfigError(message)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn doit's complaints about a plan into the user's error."""
    try:
        yield
    except InvalidCommand as error:
        raise ConfigError(f"no unit is called {error.not_found!r}; `--list` shows all names") from None
    except (InvalidDodoFile, InvalidTask) as error:
        raise ConfigError(f"the plan cannot be run: {' '.join(str(error).split())}") from None


@contextmanager
def _locked(out: Path) -> Iterator[IO[Any]]:
    """The lock of the study's folder, which running commands hold, too."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{out}: another process is at work here; wait for it, or stop it") from None
        yield file


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
