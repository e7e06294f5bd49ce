import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from lightning_realign.errors import ConfigError
from lightning_realign.motion import load_skeleton, rotations, skeleton_names
from lightning_realign.motion.kinematics import (
    _smooth,
    bone_lengths,
    facing,
    facing_of_kinematics,
    forward_kinematics,
    inverse_kinematics,
    uniform_skeleton,
)
from tests.helpers.moving import moving_joints


@pytest.fixture(params=["humanml3d", "kit"])
def skeleton(request):
    return load_skeleton(request.param)


def test_skeletons_are_consistent(skeleton):
    joints = skeleton.num_joints
    assert len({len(skeleton.parents), len(skeleton.raw_offsets), len(skeleton.target_lengths), joints}) == 1
    assert len(set(skeleton.joints)) == joints
    assert skeleton.parents[0] == -1
    assert all(parent < joint for joint, parent in enumerate(skeleton.parents))
    assert all(length > 0 for length in skeleton.target_lengths[1:])
    ends = [place.stop for _, place in skeleton.blocks]
    starts = [place.start for _, place in skeleton.blocks]
    assert starts == [0, *ends[:-1]]
    assert ends[-1] == skeleton.num_features == {"humanml3d": 263, "kit": 251}[skeleton.name]


def test_sides_of_a_kind_have_equal_names_and_places(skeleton):
    right = {joint for joint in skeleton.joints if joint.startswith("right_")}
    assert {joint.replace("right_", "left_") for joint in right} <= set(skeleton.joints)
    names = [skeleton.joints[joint] for joint in skeleton.face]
    assert names == ["right_hip", "left_hip", "right_shoulder", "left_shoulder"]
    assert all(skeleton.joints[joint].startswith("right_") for joint in skeleton.feet_right)
    assert all(skeleton.joints[joint].startswith("left_") for joint in skeleton.feet_left)


def test_unknown_skeleton():
    assert skeleton_names() == ("humanml3d", "kit")
    with pytest.raises(ConfigError, match="'smplx'; choose one of humanml3d, kit"):
        load_skeleton("smplx")
    with pytest.raises(ConfigError, match="'tail' is not in skeleton 'kit'"):
        load_skeleton("kit").index("tail")


@pytest.mark.parametrize(("folder", "name"), [("humanml3d_samples", "humanml3d"), ("kit_ml", "kit")])
def test_blocks_are_those_of_the_public_statistics(test_data, folder, name):
    """Std is constant within each block and differs between neighbouring blocks."""
    skeleton = load_skeleton(name)
    std = np.load(test_data / folder / "evaluator_std.npy", allow_pickle=False)
    assert std.shape == (skeleton.num_features,)
    values = [std[place] for _, place in skeleton.blocks]
    assert all(np.ptp(block) < 1e-5 * block[0] for block in values)
    assert all(abs(before[0] / after[0] - 1) > 1e-3 for before, after in itertools.pairwise(values))


def test_forward_kinematics_undoes_inverse_kinematics(skeleton):
    """And with other bone lengths on the way in, together they are the uniform skeleton."""
    joints = moving_joints(skeleton, seed=1, turn=2.0)
    root = joints[..., 0, :]
    stretched = joints * joints.new_tensor([1.1, 0.9, 1.2])
    for motion, smooth in ((joints, False), (joints, True), (stretched, False)):
        matrices = rotations.to_matrix(inverse_kinematics(motion, skeleton, smooth=smooth))
        rebuilt = forward_kinematics(matrices, root, skeleton)
        expected = uniform_skeleton(motion, skeleton)
        expected = expected - expected[..., :1, :] + root[..., None, :]
        torch.testing.assert_close(rebuilt, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(uniform_skeleton(joints, skeleton), joints, atol=1e-9, rtol=1e-9)


def test_uniform_skeleton_has_the_target_bones(skeleton):
    joints = moving_joints(skeleton, seed=2) * torch.tensor([1.3, 0.8, 1.1], dtype=torch.float64)
    lengths = bone_lengths(uniform_skeleton(joints, skeleton), skeleton)
    expected = torch.tensor(skeleton.target_lengths, dtype=torch.float64).expand_as(lengths)
    torch.testing.assert_close(lengths, expected, atol=1e-9, rtol=1e-9)


def test_smoothing_agrees_with_scipy():
    signal = torch.randn(2, 70, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter1d(signal.numpy(), 20, axis=-2, mode="nearest")
    torch.testing.assert_close(_smooth(signal), torch.from_numpy(expected), atol=1e-12, rtol=0)


def test_facing_and_its_quirk():
    """The plain direction is normal to hips + shoulders; the other one to shoulders - hips."""
    skeleton = load_skeleton("humanml3d")
    joints = moving_joints(skeleton, seed=3)
    hips = joints[:, skeleton.index("right_hip")] - joints[:, skeleton.index("left_hip")]
    shoulders = joints[:, skeleton.index("right_shoulder")] - joints[:, skeleton.index("left_shoulder")]
    for direction, across in (
        (facing(joints, skeleton), hips + shoulders),
        (facing_of_kinematics(joints, skeleton, smooth=False), shoulders - hips),
    ):
        zero, one = torch.zeros(len(joints), dtype=joints.dtype), torch.ones(len(joints), dtype=joints.dtype)
        torch.testing.assert_close((direction * across).sum(-1), zero, atol=1e-12, rtol=0)
        torch.testing.assert_close(direction.norm(dim=-1), one)
        torch.testing.assert_close(direction[:, 1], zero)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_between(dtype):
    vectors = torch.nn.functional.normalize(
        torch.randn(200, 3, dtype=dtype, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    start, end = (
        torch.cat((vectors, torch.eye(3, dtype=dtype))),
        torch.cat((vectors.roll(1, 0), -torch.eye(3, dtype=dtype))),
    )
    quaternion = rotations.between(start, end)
    torch.testing.assert_close(quaternion.norm(dim=-1), torch.ones(len(start), dtype=dtype))
    torch.testing.assert_close(rotations.rotate(quaternion, start[:, None])[:, 0], end, atol=2e-4, rtol=0)
    about = rotations.between(torch.tensor([0, 0, -1], dtype=dtype), torch.tensor([0, 0, 1], dtype=dtype))
    assert about.abs().tolist() == [0, 0, 1, 0]


def test_quaternion_order_and_products():
    half = torch.tensor(0.3, dtype=torch.float64)
    quaternion = rotations.about_y(half)
    x = torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    expected = torch.stack((torch.cos(2 * half), torch.zeros(()), -torch.sin(2 * half)))
    torch.testing.assert_close(rotations.rotate(quaternion, x)[0], expected)
    generator = torch.Generator().manual_seed(2)
    first, second = torch.nn.functional.normalize(
        torch.randn(2, 7, 4, dtype=torch.float64, generator=generator), dim=-1
    )
    product = rotations.to_matrix(rotations.multiply(first, second))
    torch.testing.assert_close(product, rotations.to_matrix(first) @ rotations.to_matrix(second))
    identity = rotations.multiply(first, rotations.conjugate(first))
    torch.testing.assert_close(identity, identity.new_tensor([1, 0, 0, 0]).expand(7, 4))
    torch.testing.assert_close(rotations.cont6d_to_matrix(rotations.to_cont6d(first)), rotations.to_matrix(first))
