"""Inverse and forward kinematics, and the uniform skeleton, as HumanML3D defines them (Guo et al., CVPR 2022)."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lightning_realign.motion import rotations
from lightning_realign.motion.skeleton.skeleton import Skeleton

# The published smoothing of the facing direction: frames, and the filter's reach in standard deviations.
SMOOTHING_SIGMA = 20.0
SMOOTHING_REACH = 4.0


def is_finite_motion(joints: Tensor) -> bool:
    """Whether the joints [T, J, 3] of a motion, and their movement from frame to frame, are numbers.

    Too strong a guidance blows a motion up, until its joints or their speeds are NaN or infinite.
    """
    places = joints.double()
    moved: Tensor = torch.linalg.vector_norm(places.diff(dim=0), dim=-1)
    return bool(places.isfinite().all()) and bool(moved.isfinite().all())


def bone_vectors(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Each joint relative to its parent: [..., J, 3] of joints [..., J, 3]. The root's entry is zero."""
    parents = torch.tensor(skeleton.parents[1:], device=joints.device)
    bones = joints[..., 1:, :] - joints.index_select(-2, parents)
    return functional.pad(bones, (0, 0, 1, 0))


def bone_lengths(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Bone lengths [..., J] of poses [..., J, 3], 0 for the root."""
    lengths: Tensor = torch.linalg.vector_norm(bone_vectors(joints, skeleton), dim=-1)
    return lengths


def scale_ratio(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Leg length of the uniform skeleton divided by that of the first frame: [...] of joints [..., T, J, 3]."""
    legs = list(skeleton.l_idx)
    source = bone_lengths(joints[..., 0, :, :], skeleton)[..., legs].sum(dim=-1)
    return skeleton.lengths(joints)[legs].sum() / source


def uniform_skeleton(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Give a motion the bone lengths of the format's uniform skeleton, and scale its root path by leg length.

    The published code uses inverse and then forward kinematics with the other lengths. That keeps every bone's
    direction, so the directions are used directly here.

    Args:
        joints: [..., T, J, 3], y up.
        skeleton: the feature format.

    Returns:
        [..., T, J, 3].
    """
    bones = functional.normalize(bone_vectors(joints, skeleton), dim=-1)
    bones = bones * skeleton.lengths(joints)[:, None]
    root = joints[..., :1, :] * scale_ratio(joints, skeleton)[..., None, None, None]
    # With the shared matrix last and frames in one dimension, this is one product, not one for each frame.
    return root + (bones.mT.contiguous() @ torch.from_numpy(_ancestors(skeleton.parents)).to(bones).mT).mT


@functools.cache
def _ancestors(parents: tuple[int, ...]) -> NDArray[np.float64]:
    """The matrix [J, J] that sums bone vectors from the root to each joint (parents come before their children)."""
    matrix = np.eye(len(parents))
    matrix[0] = 0
    for joint, parent in enumerate(parents[1:], start=1):
        matrix[joint] += matrix[parent]
    return matrix


def facing(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """The horizontal unit vector [..., 3] a pose [..., J, 3] faces: up x (hips' + shoulders' left-to-right vector)."""
    right_hip, left_hip, right_shoulder, left_shoulder = (joints[..., joint, :] for joint in skeleton.face)
    return functional.normalize(_forward((right_hip - left_hip) + (right_shoulder - left_shoulder)), dim=-1)


def facing_of_kinematics(joints: Tensor, skeleton: Skeleton, smooth: bool) -> Tensor:
    """The facing direction [..., T, 3] that inverse kinematics uses; in the published formats it has a sign quirk.

    The published routine unpacks the face list with the hips swapped, so its hip term has the opposite sign to the one
    in `facing`. Every public data set and checkpoint has this quirk. A user's own skeletons do not: where hips are as
    wide as shoulders, the quirk leaves no direction.

    Args:
        joints: [..., T, J, 3].
        skeleton: the feature format.
        smooth: whether to smooth over time, by a Gaussian 20 frames wide, with the end frames repeated beyond the ends.
    """
    right_hip, left_hip, right_shoulder, left_shoulder = (joints[..., joint, :] for joint in skeleton.face)
    hips = left_hip - right_hip if skeleton.published_facing else right_hip - left_hip
    forward = _forward(hips + (right_shoulder - left_shoulder))
    return functional.normalize(_smooth(forward) if smooth else forward, dim=-1)


def _forward(across: Tensor) -> Tensor:
    """Up x (across / |across|), [..., 3]. It is shorter than 1 where `across` is tilted, to weigh less in a mean."""
    across = functional.normalize(across, dim=-1)
    return torch.stack((across[..., 2], torch.zeros_like(across[..., 0]), -across[..., 0]), dim=-1)


def _smooth(signal: Tensor) -> Tensor:
    """Gaussian filter along the time axis of [..., T, C], the end frames repeated beyond the ends."""
    *batch, frames, channels = signal.shape
    weights = torch.from_numpy(_gaussian()).to(signal)
    radius = len(weights) // 2
    rows = signal.transpose(-1, -2).reshape(-1, channels, frames)
    windows = functional.pad(rows, (radius, radius), mode="replicate").unfold(-1, 2 * radius + 1, 1)
    return (windows @ weights).reshape(*batch, channels, frames).transpose(-1, -2)


@functools.cache
def _gaussian() -> NDArray[np.float64]:
    radius = int(SMOOTHING_REACH * SMOOTHING_SIGMA + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SMOOTHING_SIGMA) ** 2)
    return np.asarray(weights / weights.sum())


def inverse_kinematics(joints: Tensor, skeleton: Skeleton, *, smooth: bool = False) -> Tensor:
    """Joint rotations that turn the rest pose's bones into those of a motion.

    Joint 0 holds the rotation that makes the pose face +z (by definition, the identity in the first frame). Every other
    joint holds the shortest rotation of its bone, relative to the bone before it in its chain. A chain's first bone is
    relative to joint 0.

    Args:
        joints: [..., T, J, 3].
        skeleton: the feature format.
        smooth: whether to smooth the facing direction over time.

    Returns:
        Unit quaternions w x y z, [..., T, J, 4].
    """
    forward = facing_of_kinematics(joints, skeleton, smooth)
    ahead = torch.tensor((0.0, 0.0, 1.0), dtype=joints.dtype, device=joints.device)
    root = rotations.between(forward, ahead)
    identity = torch.tensor((1.0, 0.0, 0.0, 0.0), dtype=joints.dtype, device=joints.device)
    root = torch.cat((identity.expand_as(root[..., :1, :]), root[..., 1:, :]), dim=-2)
    return bone_rotations(joints, root, skeleton)


def bone_rotations(joints: Tensor, root: Tensor, skeleton: Skeleton) -> Tensor:
    """The joint rotations of `inverse_kinematics` for a known rotation of joint 0.

    Args:
        joints: [..., T, J, 3].
        root: unit quaternions [..., T, 4] of joint 0.
        skeleton: the feature format.

    Returns:
        Unit quaternions w x y z, [..., T, J, 4].
    """
    bones = functional.normalize(bone_vectors(joints, skeleton)[..., 1:, :], dim=-1)
    turned = torch.cat((root[..., None, :], rotations.between(skeleton.directions(joints)[1:], bones)), dim=-2)
    before = torch.tensor(skeleton.chain_parents[1:], device=joints.device).clamp_min(0)
    local = rotations.multiply(rotations.conjugate(turned.index_select(-2, before)), turned[..., 1:, :])
    return torch.cat((root[..., None, :], local), dim=-2)


def forward_kinematics(matrices: Tensor, root: Tensor, skeleton: Skeleton) -> Tensor:
    """Joint positions from rotations, with the uniform skeleton's bone lengths: the inverse of `inverse_kinematics`.

    Args:
        matrices: local rotation matrices [..., J, 3, 3]; joint 0 holds the root's.
        root: root positions [..., 3].
        skeleton: the feature format.

    Returns:
        [..., J, 3].
    """
    offsets = skeleton.directions(matrices) * skeleton.lengths(matrices)[:, None]
    positions = [root] * skeleton.num_joints
    for chain in skeleton.chains:
        rotation = matrices[..., 0, :, :]
        for parent, joint in itertools.pairwise(chain):
            rotation = rotation @ matrices[..., joint, :, :]
            positions[joint] = positions[parent] + (rotation @ offsets[joint, :, None])[..., 0]
    return torch.stack(positions, dim=-2)
