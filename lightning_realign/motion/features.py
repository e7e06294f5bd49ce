"""Joint positions to feature vectors and back: HumanML3D's 263-d and KIT-ML's 251-d representation.

Defined by Guo et al., "Generating Diverse and Natural 3D Human Motions from Text" (CVPR 2022), and in
github.com/EricGuo5513/HumanML3D. A frame's vector is (J joints)

    yaw velocity of the root (half the angle)       1    root velocity in x and z                           2
    root height                                     1    joints 1..J-1 seen from the root, yaw removed      3 (J-1)
    6-D rotations of joints 1..J-1                  6 (J-1)    velocities of all joints, yaw removed        3 J
    contacts: left ankle, left toe, right ankle, right toe                                                  4

Every step is a function of its own. All accept leading batch dimensions and float32 or float64.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lightning_realign.errors import FeatureSpecError
from lightning_realign.motion import kinematics, rotations
from lightning_realign.motion.skeleton.skeleton import Skeleton


def extract_features(joints: Tensor, skeleton: Skeleton, *, uniform: bool = True) -> Tensor:
    """The features of a motion. T frames give T - 1 feature vectors, since each holds the velocity to the next frame.

    The yaw velocity differs from the published code in one point. Where the facing direction passes -z, the shorter way
    round is taken; the published code flips the sign of that single frame's velocity.

    Args:
        joints: positions [..., T, J, 3] in the skeleton's unit, y up, right-handed; any floor, place and facing.
        skeleton: the feature format.
        uniform: whether to give the motion the format's bone lengths first; false if it has them already.

    Returns:
        [..., T-1, D]. A bone of length 0 points nowhere, and keeps length 0.

    Raises:
        FeatureSpecError: `joints` is not of shape [..., T >= 2, J, 3], or not a floating-point tensor.
    """
    _check_joints(joints, skeleton)
    if uniform:
        joints = kinematics.uniform_skeleton(joints, skeleton)
    joints = face_forward(place_at_origin(joints), skeleton)
    quaternions = kinematics.inverse_kinematics(joints, skeleton, smooth=True)
    root = quaternions[..., 0, :]
    local = root_relative(joints, root)
    steps = rotations.rotate(root[..., :-1, :], joints[..., 1:, :, :] - joints[..., :-1, :, :])
    parts = (
        root_velocities(joints, root),
        local[..., :-1, 0, 1:2],
        local[..., :-1, 1:, :].flatten(-2),
        rotations.to_cont6d(quaternions[..., :-1, 1:, :]).flatten(-2),
        steps.flatten(-2),
        foot_contacts(joints, skeleton),
    )
    return torch.cat(parts, dim=-1)


def _check_joints(joints: Tensor, skeleton: Skeleton) -> None:
    shape = tuple(joints.shape)
    if joints.ndim < 3 or shape[-2:] != (skeleton.num_joints, 3) or shape[-3] < 2:
        raise FeatureSpecError(
            f"joints have shape {shape}; skeleton {skeleton.name!r} needs (..., frames >= 2, {skeleton.num_joints}, 3)"
        )
    if not joints.is_floating_point():
        raise FeatureSpecError(f"joints have type {joints.dtype}; convert them to float32 or float64")


def place_at_origin(joints: Tensor) -> Tensor:
    """Put a motion [..., T, J, 3] on the floor (the lowest y of all frames is 0), its first root above the origin."""
    floor = joints[..., 1].amin(dim=(-1, -2))
    root = joints[..., 0, 0, :]
    origin = torch.stack((root[..., 0], floor, root[..., 2]), dim=-1)
    return joints - origin[..., None, None, :]


def initial_yaw(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """The rotation [..., 4] about y after which a motion [..., T, J, 3] faces +z in its first frame."""
    ahead = torch.tensor((0.0, 0.0, 1.0), dtype=joints.dtype, device=joints.device)
    return rotations.between(kinematics.facing(joints[..., 0, :, :], skeleton), ahead)


def face_forward(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Turn a motion [..., T, J, 3] about the y axis so that it faces +z in its first frame."""
    return rotations.rotate(initial_yaw(joints, skeleton)[..., None, :], joints)


def root_relative(joints: Tensor, root: Tensor) -> Tensor:
    """Joints [..., T, J, 3] relative to the root's place on the floor, turned by its yaw `root` [..., T, 4]."""
    place = joints[..., :1, :] * joints.new_tensor((1.0, 0.0, 1.0))
    return rotations.rotate(root, joints - place)


def root_velocities(joints: Tensor, root: Tensor) -> Tensor:
    """Yaw velocity (half the angle, radians per frame) and x, z velocity in the next frame's heading.

    Args:
        joints: [..., T, J, 3].
        root: root yaw [..., T, 4].

    Returns:
        [..., T-1, 3].
    """
    turn = rotations.multiply(root[..., 1:, :], rotations.conjugate(root[..., :-1, :]))
    half_angle = torch.asin((turn[..., 2:3] * torch.where(turn[..., :1] < 0, -1, 1)).clamp(-1, 1))
    steps = joints[..., 1:, :1, :] - joints[..., :-1, :1, :]
    velocity = rotations.rotate(root[..., 1:, :], steps)[..., 0, :]
    return torch.cat((half_angle, velocity[..., 0:1], velocity[..., 2:3]), dim=-1)


def foot_contacts(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Whether each foot joint stays in place until the next frame: [..., T-1, 4] of 0 and 1, the left pair first."""
    feet = joints[..., list(skeleton.feet_left + skeleton.feet_right), :]
    moved = (feet[..., 1:, :, :] - feet[..., :-1, :, :]).square().sum(dim=-1)
    return (moved < skeleton.contact_threshold).to(joints.dtype)


def check_features(features: Tensor, skeleton: Skeleton) -> None:
    """Raise a FeatureSpecError unless `features` is of shape [..., T, D]."""
    if features.ndim < 2 or features.shape[-1] != skeleton.num_features:
        raise FeatureSpecError(
            f"features have shape {tuple(features.shape)}; skeleton {skeleton.name!r} needs "
            f"(..., frames, {skeleton.num_features})"
        )


def _per_joint(features: Tensor, block: str, skeleton: Skeleton) -> Tensor:
    """A block of the features as [..., T, J-1, C]."""
    return features[..., dict(skeleton.blocks)[block]].reshape(*features.shape[:-1], skeleton.num_joints - 1, -1)


def recover_root(features: Tensor) -> tuple[Tensor, Tensor]:
    """The root's half yaw [..., T] (radians; a turn by twice this makes it face +z) and position [..., T, 3]."""
    velocity = functional.pad(features[..., :-1, :3], (0, 0, 1, 0))
    half_yaw = velocity[..., 0].cumsum(dim=-1)
    x, z = _turn_back(half_yaw, velocity[..., 1], velocity[..., 2])
    return half_yaw, torch.stack((x.cumsum(dim=-1), features[..., 3], z.cumsum(dim=-1)), dim=-1)


def _turn_back(half_yaw: Tensor, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Undo the yaw: rotate (x, z) about y by minus twice `half_yaw`."""
    cosine, sine = (2 * half_yaw).cos(), (2 * half_yaw).sin()
    return cosine * x - sine * z, sine * x + cosine * z


def recover_joints(features: Tensor, skeleton: Skeleton) -> Tensor:
    """Joint positions from features, by the root's path and the local positions; differentiable.

    Args:
        features: [..., T, D], in the data set's own units (not normalised).
        skeleton: the feature format.

    Returns:
        [..., T, J, 3], on the floor, starting above the origin.

    Raises:
        FeatureSpecError: if the last dimension is not D.
    """
    check_features(features, skeleton)
    half_yaw, root = recover_root(features)
    local = _per_joint(features, "positions", skeleton)
    x, z = _turn_back(half_yaw[..., None], local[..., 0], local[..., 2])
    others = torch.stack((x + root[..., None, 0], local[..., 1], z + root[..., None, 2]), dim=-1)
    return torch.cat((root[..., None, :], others), dim=-2)


def recover_joints_from_rotations(features: Tensor, skeleton: Skeleton) -> Tensor:
    """Joint positions from features, by the root's path and the 6-D rotations, with the uniform skeleton's bones.

    Differentiable.

    Args:
        features: [..., T, D].
        skeleton: the feature format.

    Returns:
        [..., T, J, 3].

    Raises:
        FeatureSpecError: if the last dimension is not D.
    """
    check_features(features, skeleton)
    half_yaw, root = recover_root(features)
    local = _per_joint(features, "rotations", skeleton)
    yaw = rotations.to_matrix(rotations.about_y(half_yaw))
    matrices = torch.cat((yaw[..., None, :, :], rotations.cont6d_to_matrix(local)), dim=-3)
    return kinematics.forward_kinematics(matrices, root, skeleton)
