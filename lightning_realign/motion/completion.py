"""Whole feature vectors from their first blocks: the root's path and the local positions say where all joints are.

Some generators make only those blocks (67 of HumanML3D's 263 numbers, 64 of KIT-ML's 251; Meng et al., arXiv
2411.16575), while rewards and evaluators read whole vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_realign.motion import kinematics, rotations
from lightning_realign.motion.features import foot_contacts, recover_joints, recover_root
from lightning_realign.motion.skeleton.skeleton import Skeleton


def position_features(skeleton: Skeleton) -> int:
    """How many numbers the blocks before the rotations have: root velocities, root height and local positions."""
    return int(dict(skeleton.blocks)["positions"].stop)


def complete_features(motion: Tensor, skeleton: Skeleton) -> Tensor:
    """The features of one motion, or of several of one length, from their first blocks, which stay as they are.

    Rotations, velocities and contacts are computed from the joints and the root's yaw, as in `extract_features`. The
    frame after the last one is not known; the last velocities and contacts are those of a body that holds its pose
    while the root moves on. All is differentiable except the contacts, which are 0 or 1.

    Args:
        motion: [..., T, P], in the data set's own units.
        skeleton: the feature format; P is `position_features(skeleton)`.

    Returns:
        [..., T, D].
    """
    missing = motion.new_zeros(*motion.shape[:-1], skeleton.num_features - motion.shape[-1])
    padded = torch.cat((motion, missing), dim=-1)
    held = torch.cat((padded, padded[..., -1:, :]), dim=-2)
    path = recover_joints(held, skeleton)
    joints = path[..., :-1, :, :]
    yaw = rotations.about_y(recover_root(held)[0])[..., :-1, :]
    turns = kinematics.bone_rotations(joints, yaw, skeleton)[..., 1:, :]
    steps = rotations.rotate(yaw, path[..., 1:, :, :] - joints)
    parts = (motion, rotations.to_cont6d(turns).flatten(-2), steps.flatten(-2), foot_contacts(path, skeleton))
    return torch.cat(parts, dim=-1)
