"""Every step of the extraction against the published procedure's own intermediates on real clips."""

import numpy as np
import pytest
import torch

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
