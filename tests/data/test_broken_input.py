"""Broken input ends as docs/data.md says: in an error of one line, or in a motion that is left out."""

import re
import shutil
from pathlib import Path

import pytest

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.data.build.build import build_from_joints, build_from_source
from lightning_realign.data.build.bvh import BvhFolder
from lightning_realign.data.check.doctor import examine, quarantine
from lightning_realign.errors import DataError, RealignError
from tests.data.test_build import write_source
from tests.data.test_build_bvh import NAMES, write_bvh_file, write_captions
from tests.helpers.broken_input import ARRAYS, CAPTIONS, FILES, MARK, RECORDINGS, SETS, full_disk, scaled_recording

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture(scope="module")
def joints(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("joints") / "source")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("bvh") / "source"
    for seed, name in enumerate(NAMES):
        write_bvh_file(root / f"{name}.bvh", seed, scale=100.0)
    (root / "a1.bvh").write_text(scaled_recording(100.0))
    write_captions(root)
    return root


@pytest.fixture(scope="module")
def data_set(joints, tmp_path_factory):
    out = tmp_path_factory.mktemp("set") / "out"
    build_from_joints(joints, out, progress=False)
    return out


# What the doctor says besides where a motion is gone from the training split.
FOLLOWS = {("statistics differ", "warning"), ("surplus motions", "note"), ("surplus captions", "note")}


def spoilt(row, source, folder):
    copy = Path(shutil.copytree(source, folder / "source"))
    row.spoil(copy)
    return copy


def check(row, build, folder):
    """The outcome that a row promises; nothing but a complete data set is ever left."""
    if row.result == "error":
        with pytest.raises(RealignError, match=row.says) as caught:
            build()
        assert "\n" not in str(caught.value)
        assert [path.name for path in folder.iterdir()] == ["source"]
        return
    left_out = dict(build().left_out)
    assert not (folder / "source" / MARK).exists()
    if row.result == "read":
        assert left_out == {}
        return
    assert len(left_out) == 1
    ((name, reason),) = left_out.items()
    assert re.search(row.says, reason), reason
    assert (folder / "out" / "left_out.txt").read_text() == f"{name}\t{reason}\n"
    assert not (folder / "out" / "new_joint_vecs" / f"{name}.npy").exists()
    assert name not in (folder / "out" / "all.txt").read_text().split()


@pytest.mark.parametrize("row", [*ARRAYS, *CAPTIONS, *FILES], ids=lambda row: row.what)
def test_joints(row, joints, tmp_path):
    source = spoilt(row, joints, tmp_path)
    check(row, lambda: build_from_joints(source, tmp_path / "out", progress=False), tmp_path)


@pytest.mark.parametrize("row", RECORDINGS, ids=lambda row: row.what)
def test_recordings(row, recordings, tmp_path):
    source = spoilt(row, recordings, tmp_path)
    check(
        row,
        lambda: build_from_source(BvhFolder(source, min_length=24), tmp_path / "out", progress=False),
        tmp_path,
    )


def test_full_disk(joints, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.raises(DataError, match=r"No space left on device\); make room"):
            build_from_joints(joints, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    assert build_from_joints(joints, tmp_path / "out", progress=False).resumed == 2


def load(root):
    module = HumanML3DDataModule(root)
    module.setup("fit")
    return module


def concerned(left_out):
    """Kind by id of what a loader left out; part ids count as their motion's."""
    return {item.id.rpartition("_")[2]: item.kind for item in left_out}


@pytest.mark.parametrize("row", SETS, ids=lambda row: row.what)
def test_data_sets(row, data_set, tmp_path):
    root = spoilt(row, data_set, tmp_path)
    before = {(finding.kind, finding.severity) for finding in examine(data_set).findings}
    checkup = examine(root)
    found = {(item.kind, item.severity): item.ids for item in checkup.findings}
    assert set(found) - before - FOLLOWS == ({row.finds} if row.finds else set())
    if row.loads == "error":
        with pytest.raises(RealignError) as caught:
            load(root)
        assert "\n" not in str(caught.value)
    else:
        left_out = concerned(load(root).left_out["train"])
        assert left_out == ({} if row.loads == "used" else {"a1": row.loads})
    assert not (root / MARK).exists()
    if row.finds and row.finds[1] != "note" and found[row.finds]:
        quarantine(checkup)
        module = load(root)
        assert concerned(module.left_out["train"])["a1"] == "quarantined"


def documented(heading):
    """The rows of a table in the documentation."""
    section = DOCS.read_text().partition(f"### {heading}\n")[2].partition("\n#")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {tuple(row) for row in rows[1:]}


def test_every_kind_is_documented():
    rows = [*ARRAYS, *CAPTIONS, *FILES, *RECORDINGS]
    assert len(rows) + len(SETS) >= 40
    expected = {(row.what, row.result) for row in rows} | {("full disk", "error")}
    assert documented("While it is built") == expected
    expected = {(row.what, row.finds[0] if row.finds else "nothing", row.loads) for row in SETS}
    assert documented("In a finished data set") == expected
