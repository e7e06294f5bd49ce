"""A build that is stopped goes on, to the same bytes as one that is not."""

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lightning_realign.__main__ import main
from lightning_realign.data.build import build as building
from lightning_realign.data.build.build import build_from_joints
from lightning_realign.data.build.resume import PartialBuild, partial_folder
from lightning_realign.errors import DataError
from tests.data.test_build import write_source

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Eight motions: one is left out, and the captions of two need tokens."""
    root = write_source(tmp_path_factory.mktemp("resume") / "source")
    np.save(root / "joints" / "a3.npy", np.zeros((30, 22, 3), np.float32))
    for name in ("a1", "c2"):
        (root / "texts" / f"{name}.txt").write_text("a person turns left\n")
    (root / "labels.csv").write_text("name,content\na1,turn\n")
    return root


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """What an uninterrupted build makes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    report = build_from_joints(source, out, progress=False, mirror=True)
    assert report.resumed == 0
    return contents(out)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run_plan(source, folder, plan):
    (folder / "plan.json").write_text(json.dumps(plan))
    script = Path(__file__).parents[1] / "helpers" / "stopped_build.py"
    command = [sys.executable, script, source, folder / "plan.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_anywhere_and_started_again(source, whole, tmp_path):
    """Killed twice, before random file operations or after random times, and before each of the last operations."""
    draw = random.Random(0)
    stops = [[draw.randint(1, 240), draw.randint(1, 150)] for _ in range(12)]
    stops += [[-last, 0] for last in range(1, 7)]
    stops += [[draw.uniform(0.005, 0.09), draw.uniform(0.005, 0.05)] for _ in range(6)]
    plan = [(str(tmp_path / f"out{number}"), [*pair, 0]) for number, pair in enumerate(stops)]
    killed = resumed = 0
    for (out, _), runs in zip(plan, run_plan(source, tmp_path, plan), strict=True):
        killed += sum(was_killed for was_killed, _ in runs)
        resumed += any(done for was_killed, done in runs if not was_killed)
        assert contents(Path(out)) == whole, (out, runs)
        assert not any(was_killed for was_killed, _ in runs[2:])
    # Those stopped by time may be done before it is up.
    assert killed >= 18
    assert resumed >= 6
    hidden = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(hidden) <= 6  # of builds killed after the rename, which have nothing left to do


def test_what_is_done_is_not_done_again(source, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    made = []
    one_motion = building._motion_files

    def stop_at_the_seventh(source, motion_id):
        if len(made) == 6:
            raise KeyboardInterrupt
        made.append(motion_id)
        return one_motion(source, motion_id)

    monkeypatch.setattr(building, "_motion_files", stop_at_the_seventh)
    with pytest.raises(KeyboardInterrupt):
        build_from_joints(source, out, progress=False, mirror=True)
    assert not out.exists()
    first, made[:] = made[:], []
    monkeypatch.setattr(building, "_motion_files", lambda *args: made.append(args[1]) or one_motion(*args))
    report = build_from_joints(source, out, progress=False, mirror=True)
    assert report.resumed == 6
    assert str(report).endswith("; 6 were done before")
    assert len(made) == 10
    assert not set(made) & set(first)
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def interrupted(source, out, monkeypatch, after=5, error=KeyboardInterrupt):
    """Leave a partial build behind, with `after` motions done."""
    with monkeypatch.context() as patch:
        add, count = PartialBuild.add, []

        def failing(self, *args):
            if len(count) == after:
                raise error
            count.append(1)
            add(self, *args)

        patch.setattr(PartialBuild, "add", failing)
        build_from_joints(source, out, progress=False, mirror=True)


def copy_of(source, place):
    return Path(shutil.copytree(source, place))


CHANGES = {
    "array": lambda root: np.save(root / "joints" / "a1.npy", np.load(root / "joints" / "a2.npy")),
    "caption": lambda root: (root / "texts" / "c1.txt").write_text("another#other/ADJ\n"),
    "split": lambda root: (root / "train.txt").write_text("a4\na1\na2\na3\n"),
    "metadata": lambda root: (root / "metadata.json").write_text('{"min_length": 24, "licence": "other"}'),
    "labels": lambda root: (root / "labels.csv").unlink(),
    "surplus": lambda root: shutil.copyfile(root / "joints" / "a1.npy", root / "joints" / "extra.npy"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_is_not_mixed_in(source, tmp_path, monkeypatch, caplog, change):
    own = copy_of(source, tmp_path / "source")
    with pytest.raises(KeyboardInterrupt):
        interrupted(own, tmp_path / "out", monkeypatch)
    CHANGES[change](own)
    report = build_from_joints(own, tmp_path / "out", progress=False, mirror=True)
    assert report.resumed == 0
    assert "source or settings have changed since its build was stopped; it starts over" in caplog.text
    build_from_joints(own, tmp_path / "new", progress=False, mirror=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "new")


def test_other_settings_start_over(source, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        interrupted(source, tmp_path / "out", monkeypatch)
    assert build_from_joints(source, tmp_path / "out", progress=False).resumed == 0


def test_damaged_and_surplus_files_of_a_stopped_build(source, whole, tmp_path, monkeypatch):
    """As after a power cut: what is not as recorded is made again, and what is not recorded goes."""
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        interrupted(source, out, monkeypatch)
    folder = partial_folder(out)
    features = sorted((folder / "data" / "new_joint_vecs").iterdir())
    features[0].write_bytes(features[0].read_bytes()[:-1] + b"x")
    features[1].write_bytes(b"")
    features[2].unlink()
    (folder / "data" / "new_joints" / "Mb2.npy").write_bytes(b"half")
    (folder / "data" / ".Mean.npy.1234.tmp").write_bytes(b"half")
    with (folder / "done.jsonl").open("a") as record:
        record.write('["b1", {"new_joint')
    report = build_from_joints(source, out, progress=False, mirror=True)
    assert report.resumed == 2
    assert contents(out) == whole


def test_two_builds_at_once(source, tmp_path, monkeypatch):
    """The second one is refused and disturbs nothing; a lock that nobody holds any more is none."""
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        interrupted(source, out, monkeypatch)
    with (partial_folder(out) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = contents(partial_folder(out))
        with pytest.raises(DataError, match="another process is building it; wait for it or choose another --out"):
            build_from_joints(source, out, progress=False, mirror=True)
        assert contents(partial_folder(out)) == before
    assert build_from_joints(source, out, progress=False, mirror=True).resumed == 5


def test_full_disk(source, whole, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(DataError, match=r"out: cannot be written \(No space left on device\); make room") as caught:
        interrupted(source, tmp_path / "out", monkeypatch, error=full)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert build_from_joints(source, tmp_path / "out", progress=False, mirror=True).resumed == 5
    assert contents(tmp_path / "out") == whole


def test_a_place_that_cannot_be_written(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written \(Not a directory\)|cannot be written \(File exists\)"):
        build_from_joints(source, tmp_path / "file" / "out", progress=False)


@pytest.fixture
def heeded_interrupts():
    """Jobs in the background of a shell are started with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_says_how_to_go_on(source, tmp_path, monkeypatch, capsys, heeded_interrupts):
    out = tmp_path / "out"

    def stop(*_):
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(building, "_write_lists", stop)
        with pytest.raises(SystemExit) as caught:
            main(["data", "build", "--joints", str(source), "--out", str(out)])
    assert caught.value.code == 130
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"stopped: {out} is not complete; the same command goes on" in error
    assert str(partial_folder(out)) in error
    assert not out.exists()
    main(["data", "build", "--joints", str(source), "--out", str(out)])
    assert "8 were done before" in capsys.readouterr().out
