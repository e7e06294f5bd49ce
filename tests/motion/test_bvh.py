"""Reading BVH files, and their joints, units, axes and rates."""

import json
import re

import bvhio
import numpy as np
import pytest

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import load_skeleton
from lightning_realign.motion.bvh.mapping import (
    choose_mapping,
    convert,
    detect_unit,
    detect_up,
    leg_length,
    load_mapping,
    map_joints,
    mapping_names,
    parse_unit,
    resample,
    rest_upward,
    turn_up,
    upward,
)
from lightning_realign.motion.bvh.read import BvhMotion, read_bvh
from tests.helpers.bvh_files import BODY, bvh_text, stick_body, swaying_rows


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.bvh"):
        path = tmp_path / name
        path.write_text(text, newline="")
        return path

    return write


def body_text(frames=12, seed=0, names=BODY.joints, **settings):
    rows = swaying_rows(frames, BODY.num_joints, seed)
    return bvh_text(names, BODY.parents, stick_body(), rows, **settings)


@pytest.mark.parametrize("order", ["ZXY", "XYZ", "YZX"])
def test_positions_are_those_of_bvhio(write, order):
    path = write(body_text(order=order))
    motion = read_bvh(path)
    assert motion.fps == 20.0
    assert set(motion.joints) == set(BODY.joints)
    root = bvhio.readAsHierarchy(str(path))
    for frame in (0, 5, 11):
        root.loadPose(frame, recursive=True)
        for joint, _, _ in root.layout():
            place = motion.positions[frame, motion.joints.index(joint.Name)]
            np.testing.assert_allclose(place, list(joint.PositionWorld), atol=2e-6)


def test_line_ends_and_tabs(write):
    text = body_text()
    plain = read_bvh(write(text))
    odd = read_bvh(write(text.replace("\n", " \r\n\r\n").replace("  ", "\t"), "b.bvh"))
    np.testing.assert_array_equal(plain.positions, odd.positions)
    assert plain.parents == odd.parents


BROKEN = {
    "no MOTION section": lambda text: text[:300],
    "MOTION section": lambda text: "",
    "rows of numbers for 'Frames: 12'": lambda text: text[: text.rindex("\n", 0, -1)],
    "frame 11 has": lambda text: text[: text.rindex(" ")] + "\n",
    "what is no number": lambda text: text[: text.rindex(" ")] + " x\n",
    "NaN or infinite": lambda text: text[: text.rindex(" ")] + " nan\n",
    "byte-order mark": lambda text: "\ufeff" + text,
    "not a BVH file": lambda text: text.replace("OFFSET", "OFSET", 1),
    "joint 'pelvis' has channels": lambda text: text.replace("Xposition", "Xscale", 1),
    "occurs twice": lambda text: text.replace("right_hip", "left_hip"),
    "Frame Time is": lambda text: text.replace("Frame Time: 0.05", "Frame Time: 0"),
    "row": lambda text: text.replace("Frames: 12", "Frames: 0"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_broken_files_get_one_line(write, reason):
    path = write(BROKEN[reason](body_text()))
    with pytest.raises(DataError, match=reason) as caught:
        read_bvh(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(DataError, match="missing"):
        read_bvh(tmp_path / "none.bvh")
    (tmp_path / "a.bvh").write_bytes(b"HIERARCHY\xff")
    with pytest.raises(DataError, match="not UTF-8"):
        read_bvh(tmp_path / "a.bvh")


@pytest.mark.parametrize(("time", "fps"), [(0.0333333, 30), (0.008333, 120), (0.0166667, 60), (1 / 29.97, 29.97)])
def test_rounded_frame_times(time, fps):
    empty = np.zeros((1, 1, 3))
    assert BvhMotion(("a",), (-1,), empty, empty[0], time).fps == pytest.approx(fps, abs=1e-12)


def source_names(mapping):
    return [name for names in load_mapping(mapping).sources for name in names]


@pytest.mark.parametrize("mapping", mapping_names())
def test_shipped_mappings_are_chosen_by_name(tmp_path, mapping):
    mappings = [load_mapping(name) for name in mapping_names()]
    names = list(dict.fromkeys(source_names(mapping)))
    assert choose_mapping(tmp_path, names, mappings).name == mapping
    assert choose_mapping(tmp_path, [f"rig:{name}".upper() for name in names], mappings).name == mapping
    assert choose_mapping(tmp_path, [f"mixamorig_{name}" for name in names], mappings).name == mapping


def test_unmapped_joints_are_listed_with_proposals(tmp_path):
    names = [name.replace("LeftForeArm", "LeftLowerArm") for name in source_names("mixamo") if name != "Head"]
    with pytest.raises(DataError) as caught:
        choose_mapping(tmp_path / "a.bvh", [*names, "Tail"], [load_mapping(name) for name in mapping_names()])
    message = str(caught.value)
    assert "mapping 'mixamo' misses 2 joints" in message
    assert "left_elbow from LeftForeArm (perhaps LeftLowerArm)" in message
    assert "head from Head" in message
    assert "unused in the file: LeftLowerArm, Tail" in message
    assert "\n" not in message


def test_proposals_are_of_the_same_side_of_the_body(tmp_path):
    names = [name for name in source_names("bandai_namco")]
    with pytest.raises(DataError) as caught:
        choose_mapping(tmp_path / "a.bvh", names, [load_mapping("mixamo")])
    proposed = re.findall(r"(left|right)_\w+ from \w+ \(perhaps (\w+)\)", str(caught.value))
    assert {side for side, _ in proposed} == {"left", "right"}
    assert all(name.endswith("_L" if side == "left" else "_R") for side, name in proposed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("joints: {pelvis: Hips}", "lacks left_hip"),
        ("joints: 3", "no `joints`"),
        ("[", "no YAML"),
        ("skeleton: robot\njoints: {}", "'robot'"),
    ],
)
def test_broken_mappings(tmp_path, text, reason):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        load_mapping(path)


def test_own_mapping_with_a_midpoint(tmp_path):
    lines = [f"  {name}: J_{name}" for name in BODY.joints if name != "spine2"]
    path = tmp_path / "own.yaml"
    path.write_text("joints:\n" + "\n".join(lines) + "\n  spine2: [J_spine1, J_spine3]\n")
    mapping = load_mapping(path)
    names = [f"J_{name}" for name in BODY.joints]
    positions = np.random.default_rng(0).normal(size=(5, 22, 3))
    joints = map_joints(positions, mapping.indices(names))
    middle, low, high = (BODY.index(name) for name in ("spine2", "spine1", "spine3"))
    np.testing.assert_allclose(joints[:, middle], (positions[:, low] + positions[:, high]) / 2)
    with pytest.raises(ConfigError, match="no such file"):
        load_mapping(tmp_path / "none.yaml")


@pytest.mark.parametrize("unit", [1.0, 0.01, 0.001, 0.0254])
@pytest.mark.parametrize("leg", [0.6, 0.83, 1.0])
def test_units_are_told_from_legs(unit, leg):
    assert detect_unit(leg / unit) == unit


def test_other_units_must_be_given():
    assert detect_unit(14.5, [0.0564444]) == 0.0564444
    with pytest.raises(DataError, match="give --unit"):
        detect_unit(14.5)
    assert (parse_unit("inch"), parse_unit("0.5")) == (0.0254, 0.5)
    for bad in ("feet", "-1", "nan"):
        with pytest.raises(ConfigError, match="write one of metre"):
            parse_unit(bad)


def standing(frames=3):
    pose = np.zeros((22, 3))
    for joint, parent in list(enumerate(BODY.parents))[1:]:
        pose[joint] = pose[parent] + stick_body()[joint]
    return np.broadcast_to(pose, (frames, 22, 3))


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_up_axis(up):
    """The turn that `turn_up` undoes, found again from the pose; a proper rotation."""
    turn = turn_up(np.eye(3), up).T
    assert np.linalg.det(turn) == pytest.approx(1.0)
    joints = standing() @ turn
    np.testing.assert_allclose(turn_up(joints, up), standing(), atol=1e-12)
    assert detect_up([upward(joints, BODY)], [np.zeros(3)]) == up
    lying = np.array((1.0, 1.0, 1.0)) / 3
    assert detect_up([lying], [rest_upward(joints[0], BODY)]) == up
    with pytest.raises(DataError, match="give --up"):
        detect_up([lying], [np.zeros(3)])


def test_a_rest_pose_that_is_no_body_does_not_count():
    pose = standing()[0].copy()
    pose[[5, 8, 11], 1] *= -1  # one leg points up
    assert not rest_upward(pose, BODY).any()


def test_resampling():
    source = np.random.default_rng(0).normal(size=(70, 2, 3))
    joints = resample(source, 30.0, 20.0)
    assert len(joints) == 47
    np.testing.assert_allclose(joints[::2], source[::3], atol=1e-12)
    np.testing.assert_allclose(joints[1::2], (source[1::3] + source[2::3])[:23] / 2, atol=1e-12)
    np.testing.assert_array_equal(resample(source, 120.0, 20.0), source[::6])
    np.testing.assert_array_equal(resample(source, 20.0, 20.0), source)
    line = np.arange(40.0)[:, None, None] * np.ones((1, 1, 3))
    np.testing.assert_allclose(resample(line, 24.0, 12.5)[:, 0, 0], np.arange(21) * 24 / 12.5)
    assert resample(source[:1], 30.0, 20.0).shape == (1, 2, 3)


def test_a_motion_of_another_size_is_refused(write):
    motion = read_bvh(write(body_text()))
    mapping = load_mapping("smpl_words")
    joints = convert(motion, mapping, 1.0, "y")
    assert joints.shape == (12, 22, 3)
    assert joints.dtype == np.float32
    with pytest.raises(DataError, match=r"a leg is 0\.008\d+ m long"):
        convert(motion, mapping, 0.01, "y")
    with pytest.raises(DataError, match="does not fit"):
        convert(motion, load_mapping("cmu"), 1.0, "y")


def test_real_recordings(test_data):
    """Within 1 mm of the positions that were made from the same recordings by other code."""
    folder = test_data / "bandai_namco"
    index = {entry["name"]: entry for entry in json.loads((folder / "index.json").read_text())}
    positions = np.load(folder / "positions.npz")["positions"]
    mappings = [load_mapping(name) for name in mapping_names()]
    files = sorted((folder / "bvh").glob("*.bvh"))
    assert len(files) == 24
    ups, legs = [], []
    for path in files:
        motion = read_bvh(path)
        mapping = choose_mapping(path, motion.joints, mappings)
        joints = convert(motion, mapping, 0.01, "y")
        entry = index[path.stem]
        expected = positions[entry["start"] : entry["start"] + entry["length"]] / 4000
        # The reference leaves out the last frame of some recordings.
        assert 0 <= len(joints) - len(expected) <= 1
        assert np.linalg.norm(joints[: len(expected)] - expected, axis=-1).max() < 1e-3
        mapped = map_joints(motion.positions, mapping.indices(motion.joints))
        ups.append(upward(mapped, mapping.skeleton))
        legs.append(leg_length(mapped, mapping.skeleton))
    assert mapping.name == "bandai_namco"
    assert detect_up(ups, [np.zeros(3)] * 24) == "y"
    assert {detect_unit(leg) for leg in legs} == {0.01}
    assert load_skeleton("humanml3d").fps == 20
