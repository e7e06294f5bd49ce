"""Positions to BVH and back, read by bvhio."""

import bvhio
import numpy as np
import pytest
import roma
import torch

from lightning_realign.__main__ import main
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import extract_features, load_skeleton
from lightning_realign.motion.bvh.pose import solve_pose
from lightning_realign.motion.bvh.read import read_bvh
from lightning_realign.motion.bvh.write import _euler, write_bvh
from lightning_realign.motion.export import export_motions, load_joints
from lightning_realign.motion.rotations import conjugate, multiply
from tests.helpers.bvh_files import BODY, bvh_text, stick_body, swaying_rows

UNIT = {"metre": 0.01, "millimetre": 10.0}


def read_back(path, skeleton):
    motion = read_bvh(path)
    return motion.positions[:, [motion.joints.index(name) for name in skeleton.joints]] * UNIT[skeleton.unit]


@pytest.fixture
def swaying(tmp_path):
    """A rigid body in motion, [30, 22, 3] in metres."""
    rows = swaying_rows(30, BODY.num_joints, 3)
    (tmp_path / "source.bvh").write_text(bvh_text(BODY.joints, BODY.parents, stick_body(), rows))
    motion = read_bvh(tmp_path / "source.bvh")
    return motion.positions[:, [motion.joints.index(name) for name in BODY.joints]]


def test_round_trip_of_a_rigid_body(tmp_path, swaying):
    """Exact up to the digits written; bvhio as the reader."""
    path = tmp_path / "out.bvh"
    write_bvh(path, swaying, BODY, 20.0)
    np.testing.assert_allclose(read_back(path, BODY), swaying, atol=1e-6)
    container = bvhio.readAsBvh(str(path))
    assert (container.FrameCount, container.FrameTime) == (30, 0.05)
    root = bvhio.readAsHierarchy(str(path))
    for frame in (0, 29):
        root.loadPose(frame, recursive=True)
        for joint, _, _ in root.layout():
            expected = swaying[frame, BODY.index(joint.Name)]
            np.testing.assert_allclose(np.array(list(joint.PositionWorld)) / 100, expected, atol=1e-5)


def test_the_rest_pose_is_a_t_pose_with_own_bone_lengths(tmp_path, swaying):
    write_bvh(tmp_path / "out.bvh", swaying * 0.8, BODY, 20.0)
    motion = read_bvh(tmp_path / "out.bvh")
    rest = {name: motion.rest[number] / 100 for number, name in enumerate(motion.joints)}
    assert rest["left_wrist"][0] > rest["left_elbow"][0] > rest["left_shoulder"][0] > rest["left_collar"][0] > 0
    assert rest["right_wrist"][0] < rest["right_elbow"][0] < 0
    assert rest["head"][1] > rest["neck"][1] > 0 > rest["left_knee"][1] > rest["left_ankle"][1]
    assert rest["left_foot"][2] > rest["left_ankle"][2]
    lengths = np.linalg.norm(motion.rest[1:] - motion.rest[list(motion.parents[1:])], axis=-1) / 100
    expected = [0.8 * BODY.target_lengths[BODY.index(name)] for name in motion.joints[1:]]
    np.testing.assert_allclose(lengths, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["humanml3d", "kit"])
def test_bones_that_change_their_length(tmp_path, name):
    """Errors stay near the noise and do not grow along the limbs."""
    skeleton = load_skeleton(name)
    random = np.random.default_rng(0)
    offsets = np.array(skeleton.raw_offsets) * np.array(skeleton.target_lengths)[:, None]
    if name == "kit":  # the format's rest directions are those of a mirrored body
        offsets[:, 0] *= -1
    pose = np.zeros_like(offsets)
    for joint, parent in list(enumerate(skeleton.parents))[1:]:
        pose[joint] = pose[parent] + offsets[joint]
    noise = 0.01 * max(skeleton.target_lengths)
    joints = pose + noise * random.normal(size=(20, *pose.shape))
    write_bvh(tmp_path / "out.bvh", joints, skeleton, skeleton.fps)
    errors = np.linalg.norm(read_back(tmp_path / "out.bvh", skeleton) - joints, axis=-1)
    assert errors.mean() < 2 * noise
    assert read_bvh(tmp_path / "out.bvh").fps == skeleton.fps


def test_a_limb_past_its_opposite_direction_stays_continuous():
    """The shortest swing turns over there, from one frame to the next; ours does not."""
    joints = np.zeros((41, 22, 3))
    for joint, parent in list(enumerate(BODY.parents))[1:]:
        joints[:, joint] = joints[:, parent] + stick_body()[joint]
    angle = torch.linspace(2.8, 3.5, 41, dtype=torch.float64)
    knee, ankle, foot = (BODY.index(f"left_{name}") for name in ("knee", "ankle", "foot"))
    # Almost straight up: the thigh passes its opposite direction at a distance of 0.6 degrees.
    thigh = torch.stack((0.01 * torch.ones(41), -angle.cos(), angle.sin()), dim=-1).numpy() * [1, -1, 1]
    joints[:, knee] = joints[:, 1] - 0.4 * thigh / np.linalg.norm(thigh, axis=-1, keepdims=True)
    joints[:, ankle] = joints[:, knee] + (0.0, -0.2, 0.3)
    joints[:, foot] = joints[:, ankle] + (0.0, 0.0, 0.1)
    pose = solve_pose(torch.from_numpy(joints), BODY, 20.0)
    hip = pose.local[:, 1]
    step = multiply(conjugate(hip[:-1]), hip[1:])
    degrees = torch.rad2deg(2 * torch.acos(step[:, 0].abs().clamp(max=1)))
    assert degrees.max() < 25


def test_euler_angles_are_those_rotations_and_have_no_jumps():
    time = torch.linspace(0, 4, 200, dtype=torch.float64)
    # Twice around z, and x through its lock at 90 degrees.
    angles = torch.stack((200 * time, 120 * (time * 1.3).sin(), 80 * time.cos()), dim=-1)
    matrices = roma.euler_to_rotmat("ZXY", angles, degrees=True)
    found = _euler(matrices[:, None].numpy())[:, 0]
    again = roma.euler_to_rotmat("ZXY", torch.from_numpy(found), degrees=True)
    torch.testing.assert_close(again, matrices, atol=1e-9, rtol=0)
    assert np.abs(np.diff(found, axis=0)).max() < 10
    locked = roma.euler_to_rotmat("ZXY", torch.tensor([[30.0, 90.0, 20.0]], dtype=torch.float64), degrees=True)
    found = _euler(locked[:, None].numpy())[:, 0]
    again = roma.euler_to_rotmat("ZXY", torch.from_numpy(found), degrees=True)
    torch.testing.assert_close(again, locked, atol=1e-9, rtol=0)


def save_prediction(path, joints, **fields):
    content = {"joints": joints, "skeleton": np.array("humanml3d"), "fps": np.array(20.0), **fields}
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    return path


def test_files_of_every_kind(tmp_path, swaying, capsys):
    features = extract_features(torch.from_numpy(swaying), BODY, uniform=False)
    data = tmp_path / "data" / "new_joint_vecs"
    data.mkdir(parents=True)
    (tmp_path / "data" / "metadata.json").write_text('{"fps": 10}')
    np.save(data / "b.npy", features.numpy())
    np.save(tmp_path / "c.npy", swaying)
    save_prediction(tmp_path / "a.npz", swaying)
    files = [tmp_path / "a.npz", data / "b.npy", tmp_path / "c.npy"]
    main(["export", *map(str, files), "--out", str(tmp_path / "out")])
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert [read_bvh(tmp_path / "out" / f"{name}.bvh").fps for name in "abc"] == [20, 10, 20]
    np.testing.assert_allclose(read_back(tmp_path / "out" / "a.bvh", BODY), swaying, atol=1e-6)
    assert len(read_bvh(tmp_path / "out" / "b.bvh").positions) == 29
    assert export_motions(files[:1], tmp_path / "one.bvh") == [tmp_path / "one.bvh"]
    assert (tmp_path / "one.bvh").read_bytes() == (tmp_path / "out" / "a.bvh").read_bytes()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"fps": None}, "field 'fps' is missing"),
        ({"fps": np.array(-1.0)}, "not one positive number"),
        ({"skeleton": np.array("robot")}, "'robot', which is not known"),
        ({"joints": np.zeros((4, 21, 3))}, "joints have shape"),
        ({"joints": np.full((4, 22, 3), np.nan)}, "NaN or infinite"),
    ],
)
def test_broken_predictions(tmp_path, swaying, fields, reason):
    path = save_prediction(tmp_path / "a.npz", **{"joints": swaying, **fields})
    with pytest.raises(DataError, match=reason):
        export_motions([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_settings(tmp_path, swaying):
    path = save_prediction(tmp_path / "a.npz", swaying)
    with pytest.raises(ConfigError, match="give a folder"):
        export_motions([path, path], tmp_path / "a.bvh")
    with pytest.raises(ConfigError, match="two of them named a"):
        export_motions([path, path], tmp_path / "out")
    with pytest.raises(ConfigError, match="fps is -1"):
        load_joints(path, fps=-1)
    with pytest.raises(ConfigError, match="leave --skeleton out"):
        load_joints(path, skeleton="kit")
    np.save(tmp_path / "b.npy", np.zeros((4, 7)))
    with pytest.raises(DataError, match="neither features nor joints"):
        load_joints(tmp_path / "b.npy")


def test_real_motions(tmp_path, test_data):
    """Half a millimetre on average: what real bones stretch."""
    golden = np.load(test_data / "golden" / "motion_representation.npz")
    motions = [golden[name] for name in golden.files if name.endswith(("joints_in", "recovered_joints_ric"))]
    motions += [np.load(path) for path in sorted((test_data / "humanml3d_samples" / "new_joints").glob("*.npy"))]
    assert len(motions) >= 12
    for joints in motions:
        write_bvh(tmp_path / "out.bvh", joints, BODY, 20.0)
        errors = np.linalg.norm(read_back(tmp_path / "out.bvh", BODY) - joints, axis=-1)
        assert errors.mean() < 5e-4
