"""Motions as BVH files, which Blender, Unreal Engine and MotionBuilder read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.motion import rotations
from lightning_realign.motion.bvh.pose import Pose, check_joints, solve_pose
from lightning_realign.motion.skeleton.skeleton import Skeleton

# The order in which rotations are written; the first one turns about an axis of the parent.
_ORDER = ("Zrotation", "Xrotation", "Yrotation")
# Length of a limb's end bone, which has no joint at its end, in lengths of the bone before it.
_END = 0.5


def write_bvh(path: Path, joints: NDArray[Any], skeleton: Skeleton, fps: float) -> None:
    """Write a motion as BVH: centimetres, y up, rotations in degrees without jumps, the motion's own bone lengths.

    Args:
        path: the file; replaced when it exists.
        joints: positions [T, J, 3] in the skeleton's unit.
        skeleton: the joints' names and tree.
        fps: frames per second.

    Raises:
        DataError: `joints` is misshapen or not finite.
    """
    check_joints(path, joints, skeleton)
    centimetres = torch.from_numpy(joints.astype(np.float64)) * (100.0 * skeleton.metres_per_unit)
    pose = solve_pose(centimetres, skeleton, fps)
    order = _depth_first(skeleton)
    angles = _euler(rotations.to_matrix(pose.local).numpy())[:, order]
    rows = np.concatenate((pose.root.numpy(), angles.reshape(len(angles), -1)), axis=1)
    lines = [
        "HIERARCHY",
        *_hierarchy(0, 0, skeleton, pose),
        "MOTION",
        f"Frames: {len(rows)}",
        f"Frame Time: {1 / fps:.9g}",
        *(" ".join(f"{value:.6f}" for value in row) for row in rows),
    ]
    write_text_atomic(path, "\n".join(lines) + "\n")


def _depth_first(skeleton: Skeleton, joint: int = 0) -> list[int]:
    """The joints in the order in which BVH lists them."""
    below = [child for child, parent in enumerate(skeleton.parents) if parent == joint]
    return [joint, *(index for child in below for index in _depth_first(skeleton, child))]


def _hierarchy(joint: int, depth: int, skeleton: Skeleton, pose: Pose) -> list[str]:
    """The lines of a joint and all below it."""
    channels = _ORDER if depth else ("Xposition", "Yposition", "Zposition", *_ORDER)
    offset = pose.offsets[joint].tolist()
    lines = [
        f"{'JOINT' if depth else 'ROOT'} {skeleton.joints[joint]}",
        "{",
        f"\tOFFSET {_numbers(offset)}",
        f"\tCHANNELS {len(channels)} {' '.join(channels)}",
    ]
    below = [child for child, parent in enumerate(skeleton.parents) if parent == joint]
    for child in below:
        lines += [f"\t{line}" for line in _hierarchy(child, depth + 1, skeleton, pose)]
    if not below:
        end = _numbers([_END * value for value in offset])
        lines += ["\tEnd Site", "\t{", f"\t\tOFFSET {end}", "\t}"]
    return [*lines, "}"]


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def _euler(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles in degrees [T, J, 3] about z, x and y of R = Rz Rx Ry [T, J, 3, 3], each near its last frame's."""
    angles = np.zeros(matrices.shape[:-1])
    before = np.zeros(matrices.shape[1:-1])
    for frame, matrix in enumerate(matrices):
        x = np.arcsin(matrix[..., 2, 1].clip(-1.0, 1.0))
        # If x is a right angle, only the sum or difference of the others is fixed. Then z stays, and y is the rest.
        locked = np.hypot(matrix[..., 0, 1], matrix[..., 1, 1]) < 1e-9
        z = np.where(locked, before[..., 0], np.arctan2(-matrix[..., 0, 1], matrix[..., 1, 1]))
        cosine, sine = np.cos(z), np.sin(z)
        # The first row of Ry, of Rx Ry = Rz^-1 R: stable also near the lock.
        y = np.arctan2(
            cosine * matrix[..., 0, 2] + sine * matrix[..., 1, 2], cosine * matrix[..., 0, 0] + sine * matrix[..., 1, 0]
        )
        first = np.stack((z, x, y), axis=-1)
        second = np.stack((z + math.pi, math.pi - x, y + math.pi), axis=-1)
        # Two triples of angles for the same rotation, each with the full turns that bring it nearest to the last frame.
        choices = [angle + 2 * math.pi * np.round((before - angle) / (2 * math.pi)) for angle in (first, second)]
        distances = [np.abs(choice - before).sum(axis=-1, keepdims=True) for choice in choices]
        before = np.where(distances[0] <= distances[1], *choices)
        angles[frame] = before
    return np.degrees(angles)
