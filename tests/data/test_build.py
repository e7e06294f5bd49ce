"""Joint positions with captions to a data set in HumanML3D's layout."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from lightning_realign.data.build.build import build_from_joints
from lightning_realign.errors import ConfigError, DataError, FeatureSpecError
from lightning_realign.motion import extract_features, feature_statistics, load_skeleton, recover_joints

SPLITS = {"train": ["a1", "a2", "a3", "a4"], "val": ["b1", "b2"], "test": ["c1", "c2"]}


def random_walk(skeleton, frames, seed):
    """A body in its rest pose with swaying joints on a random path, float32 [frames, J, 3]."""
    random = np.random.default_rng(seed)
    pose = np.zeros((skeleton.num_joints, 3))
    for joint, parent in list(enumerate(skeleton.parents))[1:]:
        pose[joint] = pose[parent] + np.array(skeleton.raw_offsets[joint]) * skeleton.target_lengths[joint]
    size = max(skeleton.target_lengths)
    sway = 0.02 * np.cumsum(random.normal(size=(frames, skeleton.num_joints, 3)), axis=0)
    path = 0.05 * np.cumsum(random.normal(size=(frames, 1, 3)), axis=0)
    return (pose + size * (sway + path)).astype(np.float32)


def write_source(root, skeleton_name="humanml3d", **metadata):
    skeleton = load_skeleton(skeleton_name)
    for folder in ("joints", "texts"):
        (root / folder).mkdir(parents=True)
    number = 0
    for split, ids in SPLITS.items():
        (root / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for name in ids:
            np.save(root / "joints" / f"{name}.npy", random_walk(skeleton, 30 + number, number))
            (root / "texts" / f"{name}.txt").write_text(f"motion {name}.#motion/NOUN {name}/NOUN#0.0#0.0\n")
            number += 1
    content = {"name": "walks", "fps": 20, "skeleton": skeleton_name, "min_length": 24, "max_length": 200, **metadata}
    (root / "metadata.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source")


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["humanml3d", "kit"])
def test_build(tmp_path, name):
    skeleton = load_skeleton(name)
    source = write_source(tmp_path / "source", name, licence="test")
    (source / "labels.csv").write_text("name,content\na1,walk\n")
    out = tmp_path / "deep" / "out"
    report = build_from_joints(source, out, progress=False)
    assert report.splits == {"train": 4, "val": 2, "test": 2}
    assert report.left_out == ()
    assert str(report) == f"{out}: 4 train, 2 val, 2 test motions; 0 left out (listed in left_out.txt)"
    for split, ids in SPLITS.items():
        assert (out / f"{split}.txt").read_text().split() == ids
    assert (out / "all.txt").read_text().split() == [motion for ids in SPLITS.values() for motion in ids]
    for motion in report_ids():
        joints = torch.from_numpy(np.load(source / "joints" / f"{motion}.npy"))
        features = np.load(out / "new_joint_vecs" / f"{motion}.npy", allow_pickle=False)
        assert features.dtype == np.float32
        assert features.shape == (len(joints) - 1, skeleton.num_features)
        np.testing.assert_array_equal(features, extract_features(joints, skeleton).numpy())
        recovered = recover_joints(torch.from_numpy(features), skeleton).numpy()
        np.testing.assert_array_equal(np.load(out / "new_joints" / f"{motion}.npy"), recovered)
        text = (out / "texts" / f"{motion}.txt").read_text()
        assert text == (source / "texts" / f"{motion}.txt").read_text()
    mean, std = feature_statistics([np.load(out / "new_joint_vecs" / f"{m}.npy") for m in SPLITS["train"]], skeleton)
    np.testing.assert_allclose(np.load(out / "Mean.npy"), mean, rtol=1e-6)
    np.testing.assert_allclose(np.load(out / "Std.npy"), std, rtol=1e-6)
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["licence"] == "test"
    assert (metadata["min_length"], metadata["max_length"], metadata["fps"]) == (23, 200, 20)
    assert (metadata["unit"], metadata["skeleton"]) == (skeleton.unit, name)
    assert (out / "labels.csv").read_text() == (source / "labels.csv").read_text()
    assert leftovers(out.parent) == []


def report_ids():
    return [motion for ids in SPLITS.values() for motion in ids]


def test_same_source_gives_the_same_bytes(tmp_path, source):
    for name in ("one", "two"):
        build_from_joints(source, tmp_path / name, progress=False)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) > 24
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


def broken_nan(joints):
    joints[3, 4, 1] = np.nan
    return joints


BROKEN = {
    "NaN or infinite": broken_nan,
    r"shape \(30, 21, 3\)": lambda joints: joints[:, :21],
    "23 frames; the minimum length is 24": lambda joints: joints[:23],
    "bone of left_hip has length 0 in frame 0": lambda joints: np.zeros_like(joints),
    "has length inf in frame 0": lambda joints: joints * np.float32(1e37),
    "not one array of numbers": lambda joints: joints.astype(str),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_broken_motions_are_listed_and_left_out(tmp_path, source, reason):
    path = source / "joints" / "a1.npy"
    np.save(path, BROKEN[reason](np.load(path)))
    report = build_from_joints(source, tmp_path / "out", progress=False)
    assert report.splits["train"] == 3
    ((name, why),) = report.left_out
    assert name == "a1"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(why)
    assert (tmp_path / "out" / "left_out.txt").read_text() == f"a1\t{why}\n"
    assert "a1" not in (tmp_path / "out" / "train.txt").read_text().split()
    assert not (tmp_path / "out" / "new_joint_vecs" / "a1.npy").exists()
    assert json.loads((tmp_path / "out" / "metadata.json").read_text())["left_out"] == 1


def test_missing_files_and_captions_are_listed(tmp_path, source):
    (source / "joints" / "a1.npy").unlink()
    (source / "texts" / "a2.txt").unlink()
    (source / "texts" / "a3.txt").write_text("\n")
    (source / "texts" / "b1.txt").write_text("a caption without tokens##0.0#0.0\n")
    shutil.copyfile(source / "joints" / "a4.npy", source / "joints" / "unlisted.npy")
    report = build_from_joints(source, tmp_path / "out", progress=False)
    reasons = dict(report.left_out)
    assert report.splits == {"train": 1, "val": 1, "test": 2}
    assert set(reasons) == {"a1", "a2", "a3", "b1", "unlisted"}
    assert "missing" in reasons["a1"]
    assert "missing" in reasons["a2"]
    assert "no caption" in reasons["a3"]
    assert "no tokens" in reasons["b1"]
    assert "listed in no split" in reasons["unlisted"]


def test_an_emptied_split_is_an_error_and_leaves_nothing(tmp_path, source):
    for name in SPLITS["val"]:
        (source / "joints" / f"{name}.npy").unlink()
    with pytest.raises(DataError, match=r"val\.txt: none of its 2 motions can be used; first, .*b1\.npy"):
        build_from_joints(source, tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_output_that_holds_something_is_refused(tmp_path, source):
    out = tmp_path / "out"
    out.mkdir()
    build_from_joints(source, out, progress=False)
    before = (out / "Mean.npy").read_bytes()
    with pytest.raises(DataError, match="output exists and is not an empty folder"):
        build_from_joints(source, out, progress=False)
    assert (out / "Mean.npy").read_bytes() == before


@pytest.mark.parametrize("folder", ["joints", "texts"])
def test_missing_folder(tmp_path, source, folder):
    shutil.rmtree(source / folder)
    with pytest.raises(DataError, match=f"{folder}: folder is missing"):
        build_from_joints(source, tmp_path / "out", progress=False)


def test_splits_must_not_overlap(tmp_path, source):
    (source / "test.txt").write_text("c1\na2\n")
    with pytest.raises(DataError, match=r"test\.txt: id 'a2' is also in train\.txt"):
        build_from_joints(source, tmp_path / "out", progress=False)


def test_ids_are_plain_names(tmp_path, source):
    (source / "test.txt").write_text("c1\n../c2\n")
    with pytest.raises(DataError, match="not a plain file name"):
        build_from_joints(source, tmp_path / "out", progress=False)


@pytest.mark.parametrize(("field", "value"), [("unit", "centimetre"), ("up", "z")])
def test_other_units_and_axes_are_refused(tmp_path, field, value):
    source = write_source(tmp_path / "source", **{field: value})
    with pytest.raises(FeatureSpecError, match=f"{field} is '{value}'"):
        build_from_joints(source, tmp_path / "out", progress=False)


def test_skeleton_is_checked(tmp_path, source):
    with pytest.raises(FeatureSpecError, match="skeleton is 'humanml3d', not 'kit'"):
        build_from_joints(source, tmp_path / "out", skeleton="kit", progress=False)
    with pytest.raises(ConfigError, match="'robot'"):
        build_from_joints(source, tmp_path / "out", skeleton="robot", progress=False)


def test_metadata_is_optional(tmp_path, source):
    """Without it the limits are the published ones: 40 frames at least."""
    (source / "metadata.json").unlink()
    for number, name in enumerate(["a1", "b1", "c2"]):
        np.save(source / "joints" / f"{name}.npy", random_walk(load_skeleton("humanml3d"), 50, number))
    report = build_from_joints(source, tmp_path / "out", progress=False)
    assert report.splits == {"train": 1, "val": 1, "test": 1}
    assert len(report.left_out) == 5


def test_real_motions(tmp_path, test_data):
    """A slice of the real motion capture, unpacked by its own script."""
    unpacked = tmp_path / "bandai_namco"
    script = test_data / "bandai_namco" / "unpack.py"
    subprocess.run([sys.executable, str(script), str(unpacked)], check=True, capture_output=True)
    for split, size in (("train", 60), ("val", 10), ("test", 10)):
        names = (unpacked / f"{split}.txt").read_text().split()[:size]
        (unpacked / f"{split}.txt").write_text("\n".join(names) + "\n")
    report = build_from_joints(unpacked, tmp_path / "out", progress=False)
    assert report.splits == {"train": 60, "val": 10, "test": 10}
    assert all("listed in no split" in reason for _, reason in report.left_out)
    skeleton = load_skeleton("humanml3d")
    std = np.load(tmp_path / "out" / "Std.npy")
    assert all(np.ptp(std[block]) == 0 for _, block in skeleton.blocks)
    assert std.min() > 0
