"""Every step of the extraction against the published procedure's own intermediates on real clips."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.extraction import compare, ours, projections, real_clips
from lightning_realign.motion import (
    extract_features,
    kinematics,
    load_skeleton,
    recover_joints,
    recover_joints_from_rotations,
)
from lightning_realign.motion import features as steps
from lightning_realign.motion.rotations import about_y


@pytest.fixture(scope="module")
def golden(test_data):
    with np.load(test_data / "golden" / "motion_representation.npz", allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(params=range(5))
def clip(golden, request):
    prefix = f"clip{request.param}__"
    return {name.removeprefix(prefix): array for name, array in golden.items() if name.startswith(prefix)}


@pytest.fixture
def skeleton():
    return load_skeleton("humanml3d")


def assert_near(actual, expected, tolerance=1e-4):
    expected = torch.as_tensor(np.asarray(expected), dtype=torch.float64)
    torch.testing.assert_close(actual.double(), expected, atol=tolerance, rtol=0)


def test_constants(golden, skeleton):
    assert skeleton.parents == tuple(golden["parents"])
    assert_near(skeleton.directions(torch.zeros(())), golden["raw_offsets"], 0)
    offsets = skeleton.directions(torch.zeros(())) * skeleton.lengths(torch.zeros(()))[:, None]
    assert_near(offsets, golden["target_offsets"], 1e-7)
    first = torch.from_numpy(golden["target_skeleton_first_frame"])
    assert_near(kinematics.bone_lengths(first, skeleton), skeleton.target_lengths, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_step_of_the_extraction(clip, skeleton, dtype):
    """Each step starts from our own result of the step before."""
    joints = torch.from_numpy(clip["joints_in"]).to(dtype)
    assert_near(kinematics.scale_ratio(joints, skeleton), clip["scale_ratio"])
    assert_near(kinematics.inverse_kinematics(joints, skeleton), clip["ik_quaternions_of_input_not_smoothed"])
    uniform = kinematics.uniform_skeleton(joints, skeleton)
    assert_near(uniform, clip["positions_1_uniform_skeleton"])
    assert_near(uniform[..., 1].min(), clip["floor_height"])
    placed = steps.place_at_origin(uniform)
    assert_near(placed, clip["positions_2_floor_and_origin"])
    assert_near(kinematics.facing(placed[0], skeleton), clip["initial_forward"][0])
    assert_near(steps.initial_yaw(placed, skeleton), clip["initial_yaw_quaternion"][0])
    turned = steps.face_forward(placed, skeleton)
    assert_near(turned, clip["positions_3_face_z_global"])
    quaternions = kinematics.inverse_kinematics(turned, skeleton, smooth=True)
    assert_near(quaternions, clip["ik_quaternions_smoothed"])
    assert_near(steps.root_relative(turned, quaternions[..., 0, :]), clip["positions_4_root_relative"])
    assert_near(extract_features(joints, skeleton), clip["features_263"])


def test_features_in_double_precision(clip, skeleton):
    joints = torch.from_numpy(clip["joints_in"]).double()
    assert_near(extract_features(joints, skeleton), clip["features_263__f64"], 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_step_of_the_recovery(clip, skeleton, dtype):
    features = torch.from_numpy(clip["features_263"]).to(dtype)
    half_yaw, root = steps.recover_root(features)
    assert_near(about_y(half_yaw), clip["recovered_root_quaternion"], 1e-5)
    assert_near(root, clip["recovered_root_position"], 1e-5)
    assert_near(recover_joints(features, skeleton), clip["recovered_joints_ric"], 1e-5)
    assert_near(recover_joints_from_rotations(features, skeleton), clip["recovered_joints_rot"], 1e-5)


def test_projections_of_the_published_features(test_data):
    """`benchmarks/extraction.py --peer CHECKOUT --golden FILE` made the numbers from the published code's features."""
    expected = json.loads((Path(__file__).parent / "published_projections.json").read_text())
    clips = real_clips(test_data)
    assert list(clips) == list(expected)
    assert len(clips) == 53
    for name, joints in clips.items():
        np.testing.assert_allclose(projections(ours(joints)), expected[name], atol=1e-3, rtol=0, err_msg=name)


@pytest.mark.parametrize("channel", [0, 3, 66, 192, 262])
def test_a_wrong_channel_changes_the_projections(channel):
    features = np.random.default_rng(0).standard_normal((90, 263))
    wrong = features.copy()
    wrong[:, channel] += 0.01
    assert max(np.abs(np.subtract(projections(features), projections(wrong)))) > 2e-3


def test_only_a_flipped_yaw_velocity_is_left_out_of_the_comparison():
    features = np.random.default_rng(0).standard_normal((90, 263))
    other = features.copy()
    other[7, 0] *= -1
    assert compare(features, other) == (0.0, 1)
    other[8, 1] *= -1
    other[9, 0] += 1
    difference, flipped = compare(features, other)
    assert difference >= 1
    assert flipped == 1
