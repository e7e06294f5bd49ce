"""What the oracle measures: smooth curves of a motion, independent of the skeleton's size, place and heading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from lightning_realign.data.synthetic.body import load_body
from lightning_realign.data.synthetic.tracks import Array
from lightning_realign.motion import Skeleton

_POSE_SMOOTHING, _VELOCITY_SMOOTHING = 0.05, 0.15  # seconds


@dataclass(frozen=True)
class Signals:
    """Curves over T frames; lengths in metres on a body with HumanML3D's legs, hands in arm lengths.

    velocity: [T, 2] of the root, forward and to the left. yaw: [T] heading in radians, positive to the left.
    drop: [T] root below its standing height. airborne: [T] height of the lowest foot joint. incline: [T] angle of the
    torso from upright, forward. hand_up, hand_forward, hand_out: [T, 2] wrists (left, right) from their shoulders,
    up, forward and outwards. hands_apart: [T] distance of the wrists. foot_up, foot_forward: [T, 2] ankles above the
    ground and before the root.
    """

    fps: float
    velocity: Array
    yaw: Array
    drop: Array
    airborne: Array
    incline: Array
    hand_up: Array
    hand_forward: Array
    hand_out: Array
    hands_apart: Array
    foot_up: Array
    foot_forward: Array

    @property
    def speed(self) -> Array:
        """[T] of the root along the ground, metres per second."""
        return np.asarray(np.linalg.norm(self.velocity, axis=-1))


def _heading(joints: Array, skeleton: Skeleton) -> Array:
    """Unwrapped yaw [T] of the plane through hips and shoulders."""
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.face
    across = joints[:, left_hip] - joints[:, right_hip] + joints[:, left_shoulder] - joints[:, right_shoulder]
    return np.asarray(np.unwrap(np.arctan2(-across[:, 2], across[:, 0])))


def measure(joints: Array, skeleton: Skeleton) -> Signals:
    """Measure joint positions [T, J, 3] (y up, in the skeleton's unit)."""
    body = load_body(skeleton.name)
    fps = skeleton.fps
    points: Array = gaussian_filter1d(joints / body.scale, _POSE_SMOOTHING * fps, axis=0, mode="nearest")
    yaw = gaussian_filter1d(_heading(points, skeleton), _VELOCITY_SMOOTHING * fps, mode="nearest")
    forward = np.stack([np.sin(yaw), np.zeros_like(yaw), np.cos(yaw)], axis=-1)
    left = np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], axis=-1)

    def named(part: str) -> Array:
        return np.take(points, [skeleton.index(f"{side}_{part}") for side in ("left", "right")], axis=1)

    root = points[:, 0]
    path = gaussian_filter1d(root, _VELOCITY_SMOOTHING * fps, axis=0, mode="nearest")
    moving = np.gradient(path, axis=0) * fps
    lowest = points[:, [*skeleton.feet_left, *skeleton.feet_right]][..., 1].min(axis=1)
    ground = np.percentile(lowest, 10)
    trunk = points[:, skeleton.index("neck")] - root
    shoulders, wrists, ankles = named("shoulder"), named("wrist"), named("ankle")
    arm = sum(skeleton.target_lengths[skeleton.index(f"left_{part}")] for part in ("elbow", "wrist")) / body.scale
    hands = (wrists - shoulders) / arm
    return Signals(
        fps=fps,
        velocity=np.stack([(moving * forward).sum(-1), (moving * left).sum(-1)], axis=-1),
        yaw=yaw,
        drop=body.height / body.scale - (root[:, 1] - ground),
        airborne=lowest - ground,
        incline=np.arctan2((trunk * forward).sum(-1), trunk[:, 1]),
        hand_up=hands[..., 1],
        hand_forward=np.einsum("tsk,tk->ts", hands, forward),
        hand_out=np.einsum("tsk,tk->ts", hands, left) * np.array([1.0, -1.0]),
        hands_apart=np.linalg.norm(wrists[:, 0] - wrists[:, 1], axis=-1),
        foot_up=ankles[..., 1] - ground,
        foot_forward=np.einsum("tsk,tk->ts", ankles - root[:, None], forward),
    )
