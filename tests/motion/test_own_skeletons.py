"""Properties that hold for any skeleton: random ones with 8 to 30 joints, and random smooth motions."""

import math

import numpy as np
import pytest
import torch

from lightning_realign.metrics.functional.physical import foot_height, foot_skating_ratio, ground_penetration, jerk
from lightning_realign.motion import (
    extract_features,
    feature_statistics,
    load_skeleton,
    recover_joints,
    recover_joints_from_rotations,
)
from lightning_realign.motion.bvh.read import read_bvh
from lightning_realign.motion.bvh.write import write_bvh
from lightning_realign.motion.features import face_forward, place_at_origin
from lightning_realign.motion.kinematics import bone_lengths, uniform_skeleton
from lightning_realign.motion.mirror import mirror_features, mirror_joints
from lightning_realign.motion.rotations import about_y, rotate
from tests.helpers.bvh_files import bvh_text, swaying_rows
from tests.helpers.moving import moving_joints
from tests.helpers.own_skeletons import random_skeleton, random_spec

SEEDS = range(24)


@pytest.fixture(params=SEEDS)
def case(request):
    """A skeleton and a motion of a body with other bone lengths, turning by up to a full turn."""
    skeleton = random_skeleton(request.param)
    random = np.random.default_rng(request.param + 1000)
    joints = moving_joints(skeleton, frames=40, seed=request.param, turn=random.uniform(-2, 2) * math.pi)
    return skeleton, joints * random.uniform(0.5, 2)


def test_the_random_skeletons_are_diverse():
    skeletons = [random_skeleton(seed) for seed in range(200)]
    sizes = {skeleton.num_joints for skeleton in skeletons}
    assert min(sizes) == 8 and 26 <= max(sizes) <= 30
    assert len({skeleton.parents for skeleton in skeletons}) > 150
    assert {skeleton.unit for skeleton in skeletons} == {"metre", "millimetre"}
    assert {isinstance(random_spec(seed)["l_idx"][0], str) for seed in SEEDS} == {True, False}


def test_features_give_the_joints_back(case):
    skeleton, joints = case
    expected = face_forward(place_at_origin(uniform_skeleton(joints, skeleton)), skeleton)[:-1]
    scale = expected.abs().max()
    features = extract_features(joints, skeleton)
    assert features.shape == (39, 12 * skeleton.num_joints - 1)
    for recover in (recover_joints, recover_joints_from_rotations):
        recovered = recover(features, skeleton)
        torch.testing.assert_close(recovered / scale, expected / scale, atol=1e-9, rtol=0)
    lengths = bone_lengths(recovered, skeleton)
    torch.testing.assert_close(lengths, skeleton.lengths(lengths).expand_as(lengths), atol=1e-9 * float(scale), rtol=0)


def test_place_and_facing_of_the_input_change_nothing(case):
    skeleton, joints = case
    size = float(joints.abs().max())
    expected = extract_features(joints, skeleton)
    for yaw in (0.7, math.pi, -2.5):
        turned = rotate(about_y(torch.tensor(yaw / 2, dtype=joints.dtype)), joints)
        moved = turned + size * joints.new_tensor([2.0, -0.7, 3.0])
        torch.testing.assert_close(extract_features(moved, skeleton), expected, atol=1e-8 * size, rtol=1e-8)


def test_mirroring_twice_is_the_identity(case):
    skeleton, joints = case
    assert torch.equal(mirror_joints(mirror_joints(joints, skeleton), skeleton), joints)
    features = extract_features(joints, skeleton)
    assert torch.equal(mirror_features(mirror_features(features, skeleton), skeleton), features)
    assert not torch.equal(mirror_features(features, skeleton), features)
    # Both sides have equal bones, so mirrored features are those of mirrored joints.
    mirrored = extract_features(mirror_joints(joints, skeleton), skeleton)
    size = float(joints.abs().max())
    torch.testing.assert_close(mirrored, mirror_features(features, skeleton), atol=1e-9 * size, rtol=1e-8)


def test_statistics_and_physical_figures_follow(case):
    skeleton, joints = case
    features = extract_features(joints, skeleton)
    _, std = feature_statistics([features.numpy()], skeleton)
    for name, block in skeleton.blocks:
        assert len(np.unique(std[block])) == 1, name
    motion = recover_joints(features, skeleton)
    metres = 0.001 if skeleton.unit == "millimetre" else 1.0
    feet = motion[:, [*skeleton.feet_left, *skeleton.feet_right], 1].amin(dim=1).mean() * metres
    torch.testing.assert_close(foot_height(motion, skeleton), feet)
    assert 0 <= foot_skating_ratio(motion, skeleton) <= 1
    assert ground_penetration(motion, skeleton) >= 0 and jerk(motion, skeleton) > 0


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_export_keeps_positions_and_own_bone_lengths(seed, tmp_path):
    """A body whose joints rotate one after the other, as captured bodies do."""
    skeleton = random_skeleton(seed)
    metres = 0.001 if skeleton.unit == "millimetre" else 1.0
    offsets = np.array(skeleton.raw_offsets) * np.array(skeleton.target_lengths)[:, None] * metres
    rows = swaying_rows(40, skeleton.num_joints, seed)
    (tmp_path / "source.bvh").write_text(bvh_text(skeleton.joints, skeleton.parents, offsets, rows))
    source = read_bvh(tmp_path / "source.bvh")
    joints = source.positions[:, [source.joints.index(name) for name in skeleton.joints]]
    write_bvh(tmp_path / "made.bvh", joints / metres, skeleton, skeleton.fps)
    made = read_bvh(tmp_path / "made.bvh")
    assert made.fps == pytest.approx(skeleton.fps)
    again = made.positions[:, [made.joints.index(name) for name in skeleton.joints]] / 100
    assert np.linalg.norm(again - joints, axis=-1).max() < 1e-4
    found = bone_lengths(torch.from_numpy(again), skeleton)[0] / metres
    torch.testing.assert_close(found, skeleton.lengths(found), atol=1e-4 / metres, rtol=0)


def test_the_sign_quirk_is_the_published_formats_alone():
    """A body that turns steadily: with hips as wide as shoulders the published facing direction vanishes."""
    wide = random_skeleton(next(seed for seed in SEEDS if len(random_spec(seed)["joints"]) > 12))
    assert load_skeleton("humanml3d").published_facing and load_skeleton("kit").published_facing
    assert not wide.published_facing
    pose = moving_joints(wide, frames=2, seed=1)[0]
    right_hip, left_hip, right_shoulder, left_shoulder = wide.face
    pose[right_shoulder], pose[left_shoulder] = (
        pose[hip] + pose.new_tensor([0.0, float(pose.abs().max()), 0.0]) for hip in (right_hip, left_hip)
    )
    joints = rotate(about_y(0.01 * torch.arange(240, dtype=torch.float64)), pose.expand(240, -1, -1))
    features = extract_features(joints, wide, uniform=False)
    torch.testing.assert_close(features[100:140, 0], torch.full((40,), -0.01, dtype=torch.float64), atol=1e-6, rtol=0)
