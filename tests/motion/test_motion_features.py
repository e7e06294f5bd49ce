import math

import numpy as np
import pytest
import torch

from lightning_realign.errors import FeatureSpecError
from lightning_realign.motion import (
    extract_features,
    load_skeleton,
    recover_joints,
    recover_joints_from_rotations,
)
from lightning_realign.motion.features import face_forward, place_at_origin
from lightning_realign.motion.kinematics import uniform_skeleton
from lightning_realign.motion.rotations import about_y, rotate
from tests.helpers.moving import moving_joints

SKELETONS = ("humanml3d", "kit")
CLIPS = ("000000", "012314", "M010968")


@pytest.fixture(params=SKELETONS)
def skeleton(request):
    return load_skeleton(request.param)


def canonical(joints, skeleton):
    return face_forward(place_at_origin(uniform_skeleton(joints, skeleton)), skeleton)


def clip(test_data, name):
    root = test_data / "humanml3d_samples"
    features, joints = (
        torch.from_numpy(np.load(root / folder / f"{name}.npy", allow_pickle=False))
        for folder in ("new_joint_vecs", "new_joints")
    )
    return features, joints


@pytest.mark.parametrize("name", CLIPS)
def test_recovery_reproduces_published_joints(test_data, name):
    features, joints = clip(test_data, name)
    recovered = recover_joints(features, load_skeleton("humanml3d"))
    torch.testing.assert_close(recovered, joints.to(recovered.dtype), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CLIPS)
def test_extraction_reproduces_published_features(test_data, name):
    """The clip lacks its last frame, so the smoothed facing direction differs a little, most near the end."""
    skeleton = load_skeleton("humanml3d")
    features, joints = clip(test_data, name)
    error = (extract_features(joints.double(), skeleton) - features[:-1]).abs()
    limits = {"positions": 7e-3, "rotations": 1.4e-2, "contacts": 0.0}
    for block, place in skeleton.blocks:
        assert error[:, place].max() <= limits.get(block, 4.5e-4), block


@pytest.mark.parametrize("turn", [0.0, 2.0, 3 * math.pi, -3 * math.pi])
def test_recovery_undoes_extraction(skeleton, turn):
    """Exactly, also where the facing direction passes -z."""
    joints = moving_joints(skeleton, frames=80, seed=1, turn=turn)
    expected = canonical(joints, skeleton)
    features = extract_features(joints, skeleton)
    scale = expected.abs().max()
    assert features.shape == (79, skeleton.num_features)
    torch.testing.assert_close(recover_joints(features, skeleton) / scale, expected[:-1] / scale, atol=1e-10, rtol=0)
    # The published routines turn rotations by the root's yaw in the same sense, so both ways back agree.
    from_rotations = recover_joints_from_rotations(features, skeleton)
    torch.testing.assert_close(from_rotations / scale, expected[:-1] / scale, atol=1e-10, rtol=0)


def test_extraction_of_recovered_joints_is_stable(skeleton):
    """Features of a motion, recovered and extracted again, stay the same up to the smoothing at the end."""
    features = extract_features(moving_joints(skeleton, frames=120, seed=2), skeleton)
    again = extract_features(recover_joints(features, skeleton), skeleton, uniform=False)
    scale = features.abs().amax(dim=0).clamp_min(1e-6)
    assert ((again - features[:-1]) / scale)[:30].abs().max() < 0.05


def test_uniform_is_identity_for_a_uniform_motion(skeleton):
    joints = moving_joints(skeleton, seed=3)
    torch.testing.assert_close(
        extract_features(joints, skeleton), extract_features(joints, skeleton, uniform=False), atol=1e-9, rtol=1e-9
    )


def test_batch_equals_single(skeleton):
    motions = torch.stack([moving_joints(skeleton, seed=seed, turn=seed) for seed in range(4)])
    singles = torch.stack([extract_features(motion, skeleton) for motion in motions])
    batched = extract_features(motions.unflatten(0, (2, 2)), skeleton).flatten(0, 1)
    torch.testing.assert_close(batched, singles, atol=1e-10, rtol=1e-10)
    recovered = recover_joints(batched.unflatten(0, (2, 2)), skeleton).flatten(0, 1)
    torch.testing.assert_close(recovered, torch.stack([recover_joints(one, skeleton) for one in singles]))
    rotated = recover_joints_from_rotations(batched, skeleton)
    torch.testing.assert_close(rotated[2], recover_joints_from_rotations(singles[2], skeleton))


@pytest.mark.parametrize("yaw", [0.4, math.pi / 2, 3.0, math.pi])
def test_features_ignore_place_and_facing(skeleton, yaw):
    joints = moving_joints(skeleton, seed=4)
    size = joints.abs().max()
    moved = rotate(about_y(torch.tensor(yaw / 2, dtype=joints.dtype)), joints) + size * joints.new_tensor([2, -0.5, 3])
    expected = extract_features(joints, skeleton)
    torch.testing.assert_close(extract_features(moved, skeleton), expected, atol=1e-9 * float(size), rtol=1e-9)


def test_features_ignore_the_size_of_the_body(skeleton):
    """A body twice as large walks twice as far: the uniform skeleton has the same motion."""
    joints = moving_joints(skeleton, seed=5)
    expected = extract_features(joints, skeleton)
    torch.testing.assert_close(extract_features(2 * joints, skeleton), expected, atol=1e-8, rtol=1e-9)


def test_yaw_velocity_is_half_the_angle():
    """A rigid body turning by 0.02 radians a frame, away from the ends where smoothing bends it."""
    skeleton = load_skeleton("humanml3d")
    pose = moving_joints(skeleton, frames=2, seed=6)[0]
    angles = 0.02 * torch.arange(240, dtype=torch.float64)
    joints = rotate(about_y(angles / 2), pose.expand(240, -1, -1))
    features = extract_features(joints, skeleton)
    torch.testing.assert_close(features[100:140, 0], torch.full((40,), -0.01, dtype=torch.float64), atol=1e-6, rtol=0)


def test_contacts_and_height():
    skeleton = load_skeleton("humanml3d")
    blocks = dict(skeleton.blocks)
    joints = moving_joints(skeleton, frames=2, seed=7)[:1].repeat(30, 1, 1)
    still = extract_features(joints, skeleton)
    assert (still[:, blocks["contacts"]] == 1).all()
    assert still[:, blocks["velocities"]].abs().max() < 1e-12
    floor = canonical(joints, skeleton)[..., 1].min()
    assert floor.abs() < 1e-12
    # 5 cm a frame is beyond sqrt(0.002) = 4.5 cm, 4 cm is not.
    for step, planted in ((0.05, 0), (0.04, 1)):
        walk = joints + torch.linspace(0, 29 * step, 30, dtype=joints.dtype)[:, None, None] * joints.new_tensor(
            [1, 0, 0]
        )
        assert (extract_features(walk, skeleton)[:, blocks["contacts"]] == planted).all()


def test_recovery_is_differentiable(skeleton):
    features = extract_features(moving_joints(skeleton, frames=4, seed=8), skeleton).requires_grad_()
    scale = max(skeleton.target_lengths)
    assert torch.autograd.gradcheck(lambda x: recover_joints(x, skeleton) / scale, features)
    # Random directions only, as this way back is slower.
    assert torch.autograd.gradcheck(
        lambda x: recover_joints_from_rotations(x, skeleton) / scale, features, fast_mode=True
    )


def test_single_precision_stays_single(skeleton):
    joints = moving_joints(skeleton, seed=9)
    features = extract_features(joints.float(), skeleton)
    assert features.dtype == torch.float32
    assert recover_joints(features, skeleton).dtype == torch.float32
    scale = float(joints.abs().max())
    torch.testing.assert_close(features.double(), extract_features(joints, skeleton), atol=1e-5 * scale, rtol=1e-4)


def test_two_frames_are_enough(skeleton):
    assert extract_features(moving_joints(skeleton, frames=2), skeleton).isfinite().all()


@pytest.mark.parametrize("shape", [(5, 3), (5, 20, 3), (5, 22, 2), (1, 22, 3)])
def test_wrong_joints_are_refused(shape):
    with pytest.raises(FeatureSpecError, match=r"'humanml3d' needs \(\.\.\., frames >= 2, 22, 3\)"):
        extract_features(torch.zeros(shape), load_skeleton("humanml3d"))


def test_integer_joints_are_refused():
    with pytest.raises(FeatureSpecError, match="float32 or float64"):
        extract_features(torch.zeros(5, 22, 3, dtype=torch.int32), load_skeleton("humanml3d"))


@pytest.mark.parametrize("recover", [recover_joints, recover_joints_from_rotations])
def test_wrong_features_are_refused(recover):
    with pytest.raises(FeatureSpecError, match=r"\(4, 251\).*needs \(\.\.\., frames, 263\)"):
        recover(torch.zeros(4, 251), load_skeleton("humanml3d"))
