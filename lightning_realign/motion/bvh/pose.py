"""Joint rotations that reproduce joint positions, for animation programs: inverse kinematics along a skeleton's tree.

The feature format's own rotations start every limb anew from the root, and have no twist. These form one hierarchy with
a T-pose at rest. Where bones branch (hips, chest), all of them together fix the rotation. Elsewhere, a bone swings from
its rest direction with the least twist that keeps it continuous. The spine shares the twist between hips and chest.
Each bone aims from where its chain really ends, so that errors do not add up along a chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lightning_realign.errors import DataError
from lightning_realign.motion import rotations
from lightning_realign.motion.skeleton.skeleton import Skeleton

# How fast, in degrees per second, a twist is undone that was needed to pass a singular direction.
_UNTWIST = 360.0


@dataclass(frozen=True)
class Pose:
    """A motion of T frames as rotations. Quaternions are w x y z.

    offsets: joints relative to their parents at rest [J, 3]; 0 for the root. root: root positions [T, 3]. local: joint
    rotations relative to the parents' [T, J, 4].
    """

    offsets: Tensor
    root: Tensor
    local: Tensor


def check_joints(path: Path, joints: NDArray[Any], skeleton: Skeleton) -> None:
    """Raise a DataError that names the file, unless `joints` is [T, J, 3] and finite."""
    if joints.ndim != 3 or joints.shape[1:] != (skeleton.num_joints, 3) or len(joints) == 0:
        raise DataError(
            f"{path}: joints have shape {joints.shape}; skeleton {skeleton.name!r} needs (T, {skeleton.num_joints}, 3)"
        )
    if not np.isfinite(joints).all():
        raise DataError(f"{path}: joints have NaN or infinite entries; repair the motion")


def solve_pose(joints: Tensor, skeleton: Skeleton, fps: float) -> Pose:
    """The rotations of a motion, on a skeleton with its own median bone lengths.

    Args:
        joints: positions [T, J, 3], y up.
        skeleton: the joints' tree.
        fps: frames per second.
    """
    joints = joints.to(torch.float64)
    children = _children(skeleton)
    offsets = _rest_offsets(joints, skeleton, children)
    turned = torch.zeros(*joints.shape[:2], 4, dtype=joints.dtype)
    turned[..., 0] = 1.0
    places = joints.clone()
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            places[:, joint] = places[:, parent] + _rotated(turned[:, parent], offsets[joint])
        before = turned[:, parent] if parent >= 0 else turned[:, joint].clone()
        bones = joints[:, children[joint]] - places[:, joint, None]
        if len(children[joint]) > 1:
            turned[:, joint] = _continuous(_fit(offsets[children[joint]], bones))
        elif children[joint]:
            rest = functional.normalize(offsets[children[joint][0]], dim=-1)
            turned[:, joint] = rotations.multiply(before, _swing(rest, _rotated_back(before, bones[:, 0]), fps))
        else:
            turned[:, joint] = before
    for chain in _links(skeleton, children):
        _share_twist(turned, offsets, chain)
    before = torch.cat((rotations.conjugate(turned), turned.new_tensor((1.0, 0, 0, 0)).expand(len(joints), 1, 4)), 1)
    local = rotations.multiply(before[:, list(skeleton.parents)], turned)
    return Pose(offsets, joints[:, 0], local)


def _children(skeleton: Skeleton) -> list[list[int]]:
    children: list[list[int]] = [[] for _ in skeleton.parents]
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            children[parent].append(joint)
    return children


def _sides(skeleton: Skeleton, children: list[list[int]]) -> list[float]:
    """For each joint the sign of x on its side of the body, which faces +z: -1 right, 1 left, 0 middle."""
    sides = [0.0] * skeleton.num_joints
    for joint, side in zip(skeleton.face, (-1.0, 1.0, -1.0, 1.0), strict=True):
        # The side begins where the tree last branched, so it includes a shoulder's collar bone.
        while skeleton.parents[joint] >= 0 and len(children[skeleton.parents[joint]]) == 1:
            joint = skeleton.parents[joint]
        pending = [joint]
        while pending:
            joint = pending.pop()
            sides[joint] = side
            pending.extend(children[joint])
    return sides


def _rest_directions(skeleton: Skeleton, children: list[list[int]]) -> Tensor:
    """Directions of the bones in a T-pose [J, 3]: arms to the sides, the head up, the rest as in the skeleton."""
    directions = torch.tensor(skeleton.raw_offsets, dtype=torch.float64)
    sides = _sides(skeleton, children)
    arms = set(skeleton.face[2:])
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            continue
        if parent in arms:
            arms.add(joint)
        if sides[joint] and (joint in arms or directions[joint, 0]):
            directions[joint] = torch.tensor((sides[joint], 0.0, 0.0))
        elif not sides[joint] and skeleton.raw_offsets[parent][1] > 0:
            directions[joint] = torch.tensor((0.0, 1.0, 0.0))
    return directions


def _rest_offsets(joints: Tensor, skeleton: Skeleton, children: list[list[int]]) -> Tensor:
    """The rest pose [J, 3]: median bone lengths, and the motion's own angles where bones branch."""
    parents = torch.tensor(skeleton.parents).clamp_min(0)
    bones = joints - joints[:, parents]
    directions = _rest_directions(skeleton, children)
    sides = _sides(skeleton, children)
    for branch in children:
        if {-1.0, 0.0, 1.0} <= {sides[joint] for joint in branch}:
            directions[branch] = _measured(bones[:, branch], [sides[joint] for joint in branch])
        elif len(branch) > 1:
            directions[branch] = _shape(bones[:, branch], directions[branch])
    lengths: Tensor = bones.norm(dim=-1).median(dim=0).values
    return directions * lengths[:, None]


def _measured(bones: Tensor, sides: list[float]) -> Tensor:
    """Median directions [N, 3] of bones [T, N, 3] that branch to both sides and upwards.

    The coordinates are those of a frame whose y axis is the middle bone, and whose x axis points from the ends of the
    right bones to the ends of the left ones.
    """
    side = torch.tensor(sides, dtype=bones.dtype)
    up = functional.normalize(bones[:, side == 0].mean(dim=1), dim=-1)
    across = bones[:, side > 0].mean(dim=1) - bones[:, side < 0].mean(dim=1)
    across = functional.normalize(across - (across * up).sum(dim=-1, keepdim=True) * up, dim=-1)
    frame = torch.stack((across, up, torch.linalg.cross(across, up, dim=-1)), dim=-1)
    return functional.normalize((functional.normalize(bones, dim=-1) @ frame).median(dim=0).values, dim=-1)


def _shape(bones: Tensor, rest: Tensor) -> Tensor:
    """Median directions [N, 3] of bones [T, N, 3] relative to each other, turned to match directions `rest` [N, 3]."""
    directions = functional.normalize(bones, dim=-1)
    frames = rotations.to_matrix(_fit(directions[0], directions))
    shape = functional.normalize((directions @ frames).median(dim=0).values, dim=-1)
    return shape @ rotations.to_matrix(_fit(shape, rest[None])[0]).mT


def _fit(rest: Tensor, bones: Tensor) -> Tensor:
    """The rotations [T, 4] that best turn N rest offsets [N, 3] into bones [T, N, 3] (least squares)."""
    matrices = roma.rigid_vectors_registration(rest.expand_as(bones).contiguous(), bones)
    quaternions: Tensor = roma.quat_xyzw_to_wxyz(roma.rotmat_to_unitquat(matrices))
    return quaternions


def _continuous(quaternions: Tensor) -> Tensor:
    """The same rotations [T, 4], without changes of sign between frames."""
    flips = (quaternions[1:] * quaternions[:-1]).sum(dim=-1) < 0
    signs = torch.cat((flips.new_zeros(1), flips)).cumsum(dim=0) % 2
    return quaternions * (1 - 2 * signs)[:, None]


def _swing(rest: Tensor, bones: Tensor, fps: float) -> Tensor:
    """Rotations [T, 4] of the rest direction [3] to bones [T, 3], with as little twist as continuity allows.

    The shortest rotation jumps where a bone passes the direction opposite to its rest. The twist that removes the jump
    is kept from frame to frame and undone at a limited speed.
    """
    shortest = _continuous(rotations.between(rest, functional.normalize(bones, dim=-1)))
    jumps = _twist(rotations.multiply(rotations.conjugate(shortest[1:]), shortest[:-1]), rest).tolist()
    allowed = math.radians(_UNTWIST) / fps
    twists = [0.0]
    for jump in jumps:
        carried = math.remainder(twists[-1] + jump, 2 * math.pi)
        twists.append(math.copysign(max(abs(carried) - allowed, 0.0), carried))
    return rotations.multiply(shortest, _about(rest, torch.tensor(twists, dtype=rest.dtype)))


def _twist(quaternion: Tensor, axis: Tensor) -> Tensor:
    """The angle [...] by which a rotation [..., 4] turns about an axis [3] before it swings."""
    angle = 2 * torch.atan2((quaternion[..., 1:] * axis).sum(dim=-1), quaternion[..., 0])
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def _about(axis: Tensor, angle: Tensor) -> Tensor:
    """The rotations [T, 4] about an axis [3] by angles [T]."""
    return torch.cat(((angle / 2).cos()[:, None], (angle / 2).sin()[:, None] * axis), dim=-1)


def _links(skeleton: Skeleton, children: list[list[int]]) -> list[list[int]]:
    """The chains of joints between two branching joints, such as the spine. Both ends have a fixed rotation."""
    links = []
    for joint, branch in enumerate(children):
        chain = [joint]
        while skeleton.parents[chain[0]] >= 0 and len(children[skeleton.parents[chain[0]]]) == 1:
            chain.insert(0, skeleton.parents[chain[0]])
        if len(branch) > 1 and len(chain) > 1:
            links.append(chain)
    return links


def _share_twist(turned: Tensor, offsets: Tensor, chain: list[int]) -> None:
    """Spread the twist of a chain's last joint evenly over the chain, in place. No joint moves."""
    last, above = chain[-1], chain[-2]
    axis = functional.normalize(offsets[last], dim=-1)
    twist = _twist(rotations.multiply(rotations.conjugate(turned[:, above]), turned[:, last]), axis)
    twist = torch.from_numpy(np.unwrap(twist.numpy()))
    for number, joint in enumerate(chain[:-1], 1):
        bone = functional.normalize(offsets[chain[number]], dim=-1)
        turned[:, joint] = rotations.multiply(turned[:, joint], _about(bone, twist * number / len(chain)))


def _rotated(quaternions: Tensor, vector: Tensor) -> Tensor:
    """A vector [3] or vectors [T, 3] turned by [T, 4]."""
    return (rotations.to_matrix(quaternions) @ vector[..., None])[..., 0]


def _rotated_back(quaternions: Tensor, vectors: Tensor) -> Tensor:
    return _rotated(rotations.conjugate(quaternions), vectors)
