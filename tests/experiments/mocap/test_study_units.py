"""The study through doit: what runs, in which order, and what a stop or a change makes run again."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.mocap.__main__ import listing
from experiments.mocap.plan.units import FOLDER, PlannedUnit
from experiments.mocap.workflow.engine import in_order, run_units, why_run
from lightning_realign.errors import ConfigError
from tests.helpers.cli_bench import ROOT

COUNTING = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True)
counter = pathlib.Path(sys.argv[2]); counter.open("a").write("ran\\n")
(folder / "result.txt").write_text(" ".join(sys.argv[3:]))
"""


@pytest.fixture
def units(tmp_path):
    """Makes units that count how often they ran; and what they left."""

    def make(name: str, *words: str, needs: tuple[str, ...] = (), code: str = COUNTING, **settings) -> PlannedUnit:
        counter = str(tmp_path / f"{name}.count")
        return PlannedUnit(name, ("python", "-c", code, FOLDER, counter, *words), needs, **settings)

    def ran(name: str) -> int:
        path = tmp_path / f"{name}.count"
        return len(path.read_text().splitlines()) if path.is_file() else 0

    return make, ran


def run(units, out, **settings):
    lines: list[str] = []
    failures = run_units(in_order(units), out, report=lines.append, **settings)
    return failures, lines


def test_units_run_once_in_the_order_of_their_needs(units, tmp_path):
    make, ran = units
    out = tmp_path / "out"
    reads = COUNTING + "(folder / 'seen.txt').write_text((folder.parent / 'first' / 'result.txt').read_text())"
    planned = [make("second", needs=("first",), code=reads), make("first", "a word")]
    failures, lines = run(planned, out)
    assert failures == [] and [ran(name) for name in ("first", "second")] == [1, 1]
    assert (out / "units/second/seen.txt").read_text() == "a word"
    mark = json.loads((out / "units/first/unit.json").read_text())
    assert mark["command"] == planned[1].line(out) and str(out / "units/first") in mark["command"]
    assert mark["seconds"] > 0 and mark["cpu_seconds"] > 0 and mark["versions"]["torch"] and mark["hardware"]
    assert "first: done in" in lines[1] and lines[1].endswith("1 left") and lines[-1].endswith("0 left")
    assert not [path for path in (out / "units").iterdir() if path.is_dir() and path.name.startswith(".")]
    assert run(planned, out) == ([], ["first: done earlier", "second: done earlier"])
    assert [ran(name) for name in ("first", "second")] == [1, 1]


def test_a_changed_command_runs_again_with_what_follows_from_it(units, tmp_path):
    make, ran = units
    out = tmp_path / "out"
    others = [make("second", needs=("first",)), make("third")]
    run([make("first", "old"), *others], out)
    changed = [make("first", "new"), *others]
    assert why_run(in_order(changed), out) == {"first": "its command has changed", "second": "first runs before"}
    run(changed, out)
    assert [ran(name) for name in ("first", "second", "third")] == [2, 2, 1]
    assert (out / "units/first/result.txt").read_text() == "new"


def test_a_changed_file_runs_again_and_one_that_was_only_written_again_does_not(units, tmp_path):
    make, ran = units
    out, file = tmp_path / "out", tmp_path / "settings.yaml"
    file.write_text("a: 1")
    planned = [make("only", files=(file,)), make("after", needs=("only",))]
    run(planned, out)
    time.sleep(0.05)
    file.write_text("a: 1")
    assert why_run(planned, out) == {}
    file.write_text("a: 2")
    assert why_run(planned, out) == {"only": f"{file} has changed", "after": "only runs before"}
    run(planned, out)
    assert (ran("only"), ran("after")) == (2, 2)
    file.unlink()
    with pytest.raises(ConfigError, match=r"settings\.yaml: is not there"):
        why_run(planned, out)


def test_results_in_a_folder_that_was_copied_are_known(units, tmp_path, monkeypatch):
    make, ran = units
    planned, out = [make("first"), make("second", needs=("first",))], Path("study")
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        if place == "there":
            shutil.copytree(tmp_path / "here/study", tmp_path / "there/study")
        monkeypatch.chdir(tmp_path / place)
        run(planned, out)
    assert [ran(name) for name in ("first", "second")] == [1, 1]


def test_what_is_done_is_known_even_if_the_study_is_killed(tmp_path):
    code = "import pathlib, sys; pathlib.Path(sys.argv[1], 'result.txt').write_text('x')"
    kill = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    first = PlannedUnit("first", ("python", "-c", code, FOLDER))
    last = PlannedUnit("last", ("python", "-c", kill), ("first",))
    plan = f"PlannedUnit('first', {first.command!r}), PlannedUnit('last', {last.command!r}, ('first',))"
    done = subprocess.run([sys.executable, "-c", DRIVER.format(units=plan), str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert why_run([first, last], tmp_path) == {"last": "not done"}


def test_a_failure_is_one_line_and_spares_the_others(units, tmp_path):
    make, ran = units
    out = tmp_path / "out"
    fails = COUNTING + "print('told'); sys.exit('cannot be done')"
    planned = [
        make("bad", code=fails),
        make("after", needs=("bad",)),
        make("last", needs=("after",)),
        make("good"),
    ]
    failures, lines = run(planned, out)
    assert [failure.unit for failure in failures] == ["bad", "after", "last"]
    (told_line,) = [line for line in lines if "FAILED" in line]
    log = Path(re.search(r"\(log: (.*)\)", told_line)[1])
    assert "exit code 1" in told_line and "cannot be done" in told_line and "told" in log.read_text()
    assert "needs bad" in failures[1].reason and "needs after" in failures[2].reason
    assert (ran("good"), ran("after")) == (1, 0) and not (out / "units/bad").exists()
    failures, _ = run([make("bad"), *planned[1:]], out)
    assert failures == [] and [ran(name) for name in ("bad", "after", "last", "good")] == [2, 1, 1, 1]


TRAINING = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
given = [word for word in sys.argv[2:] if word.startswith("--ckpt_path=")]
if not given:
    (folder / "last.ckpt").write_text("half"); time.sleep(60)
(folder / "result.txt").write_text(pathlib.Path(given[0].partition("=")[2]).read_text())
"""
DRIVER = """
import sys
from pathlib import Path
from experiments.mocap.plan.units import PlannedUnit
from experiments.mocap.workflow.engine import run_units
run_units([{units}], Path(sys.argv[1]))
"""


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint(tmp_path):
    plan = "PlannedUnit('long', ('python', '-c', sys.argv[2], '{folder}'), resume='checkpoint')"
    code = DRIVER.replace("{units}", plan)
    driver = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), TRAINING], cwd=ROOT)
    part = tmp_path / "units/.long.part"
    unit = PlannedUnit("long", ("python", "-c", TRAINING, FOLDER), resume="checkpoint")
    deadline = time.monotonic() + 60
    while not (part / "last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    with pytest.raises(ConfigError, match="another process is at work"):
        run([unit], tmp_path)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(30) != 0
    spent = json.loads((part / "spent.json").read_text())["seconds"]
    assert not (tmp_path / "units/long").exists() and spent > 0
    failures, lines = run([unit], tmp_path)
    assert failures == [] and "where it was stopped" in lines[0]
    assert (tmp_path / "units/long/result.txt").read_text() == "half"
    assert json.loads((tmp_path / "units/long/unit.json").read_text())["seconds"] > spent


def test_a_stopped_unit_of_another_command_begins_anew(units, tmp_path):
    make, _ = units
    left = COUNTING + "(folder / 'left.txt').write_text('x'); sys.exit(1)"
    kept = COUNTING + "(folder / 'found.txt').write_text(str((folder / 'left.txt').exists()))"
    out = tmp_path / "out"
    run([make("a", code=left, resume="folder")], out)
    run([make("a", code=kept, resume="folder")], out)
    assert (out / "units/a/found.txt").read_text() == "False"


def test_units_run_side_by_side(tmp_path):
    meet = (
        "import pathlib, sys, time\nown, other = (pathlib.Path(sys.argv[1]) / name for name in sys.argv[2:])\n"
        "own.touch()\nfor _ in range(300):\n    time.sleep(0.1)\n    if other.exists(): sys.exit(0)\nsys.exit(1)"
    )
    planned = [PlannedUnit(f"u{own}", ("python", "-c", meet, str(tmp_path), own, other)) for own, other in ("ab", "ba")]
    assert run(planned, tmp_path / "out", jobs=2)[0] == []
    with pytest.raises(ConfigError, match="--jobs is 0"):
        run(planned, tmp_path / "out", jobs=0)


def test_wrong_plans_are_refused(units):
    make, _ = units
    with pytest.raises(ConfigError, match="no unit is called 'b'"):
        in_order([make("a", needs=("b",))])
    with pytest.raises(ConfigError, match="a -> b -> a"):
        in_order([make("a", needs=("b",)), make("b", needs=("a",))])
    with pytest.raises(ConfigError, match=r"must be unique\. a"):
        in_order([make("a"), make("a")])
    names = [unit.name for unit in in_order([make("a"), make("b", needs=("a",)), make("c")], ["b"])]
    assert names == ["a", "b"]


def test_a_dry_run_shows_what_would_run(units, tmp_path):
    make, _ = units
    first, second = make("first"), make("second", needs=("first",))
    run([first], tmp_path)
    assert listing([first, second], tmp_path, commands=True, finished=False) == [
        "second: not done",
        f"    {second.line(tmp_path)}",
        "1 of 2 to run",
    ]
    assert listing([first], tmp_path, commands=False, finished=True)[0] == "first: done"
