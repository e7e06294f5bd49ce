"""From body-level tracks to joint positions.

Forward kinematics place torso and arms. Two-bone inverse kinematics place the legs from where the feet stand. Bones
have the lengths of the uniform skeleton, so that feature extraction leaves the motion as it is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from lightning_realign.data.synthetic.tracks import SIDE_SIGN, Array, Tracks
from lightning_realign.errors import ConfigError
from lightning_realign.motion import Skeleton, load_skeleton, skeleton_names

# Thigh plus shin of HumanML3D's uniform skeleton: the body size for which tracks are written.
REFERENCE_LEG = 0.8260764479
# A standing leg is nearly straight; no leg is ever stretched further than this share of its length.
_STANDING, _STRETCHED = 0.985, 0.997

# Directions of torso bones in the rest pose, seen from the parent; x is outwards (to the joint's own side).
_TORSO = {
    "spine1": (0.0, 1.0, -0.08),
    "spine2": (0.0, 1.0, 0.04),
    "spine3": (0.0, 1.0, 0.06),
    "neck": (0.0, 1.0, -0.02),
    "head": (0.0, 0.85, 0.5),
    "collar": (0.6, 0.8, 0.0),
    "shoulder": (1.0, -0.12, -0.05),
    "hip": (0.58, -0.8, 0.0),
}
# KIT-ML has no collars, and its hips and shoulders are almost level with their parents. They are kept clearly off the
# horizontal, where the feature format's rotations would be half turns about an undetermined axis.
_TORSO_KIT = _TORSO | {"shoulder": (1.0, -0.3, -0.1), "hip": (0.85, -0.5, 0.0)}
# Joints of a flat foot, from toe to ankle: directions of the bones (up and back).
_FOOT = {1: ((0.385, -0.923),), 2: ((0.35, -0.937), (0.8, -0.6))}


@dataclass(frozen=True)
class Body:
    """A skeleton with the geometry that the kinematics need, in the skeleton's unit.

    offsets: [J, 3] bones of the rest pose. foot: for each side, the foot's joints and last the ankle relative to the
    toe, as rows (up, forward). height: height of the standing root. scale: skeleton units per metre of the tracks.
    """

    skeleton: Skeleton
    offsets: Array
    foot: tuple[Array, Array]
    height: float
    scale: float

    def legs(self, side: int) -> tuple[int, int, int, list[int]]:
        """Hip, knee, ankle, and the foot's joints from the toe backwards."""
        name = ("left", "right")[side]
        joints = [f"{name}_toe", f"{name}_foot"] if "left_toe" in self.skeleton.joints else [f"{name}_foot"]
        hip, knee, ankle = (self.skeleton.index(f"{name}_{joint}") for joint in ("hip", "knee", "ankle"))
        return hip, knee, ankle, [self.skeleton.index(joint) for joint in joints]


@functools.cache
def load_body(name: str) -> Body:
    """The body of a skeleton, "humanml3d" or "kit".

    Raises:
        ConfigError: for any other skeleton.
    """
    if name not in skeleton_names():
        names = " and ".join(skeleton_names())
        raise ConfigError(f"skeleton is {name!r}; synthetic motions and their oracle are for {names} alone")
    skeleton = load_skeleton(name)
    torso = _TORSO if "left_collar" in skeleton.joints else _TORSO_KIT
    lengths = np.array(skeleton.target_lengths)
    offsets = np.zeros((skeleton.num_joints, 3))
    for index, joint in enumerate(skeleton.joints):
        side, _, part = joint.rpartition("_")
        if part in torso:
            sign = -1.0 if side == "right" else 1.0
            direction = np.array(torso[part]) * (sign, 1.0, 1.0)
            offsets[index] = lengths[index] * direction / np.linalg.norm(direction)
    feet, heights = [], []
    for side in ("left", "right"):
        joints = [f"{side}_toe", f"{side}_foot"] if "left_toe" in skeleton.joints else [f"{side}_foot"]
        bones = np.array(_FOOT[len(joints)])
        bones *= (lengths[[skeleton.index(joint) for joint in joints]] / np.linalg.norm(bones, axis=1))[:, None]
        feet.append(np.cumsum(bones, axis=0))
        leg = lengths[skeleton.index(f"{side}_knee")] + lengths[skeleton.index(f"{side}_ankle")]
        heights.append(feet[-1][-1, 0] + _STANDING * leg - offsets[skeleton.index(f"{side}_hip"), 1])
    scale = float(lengths[list(skeleton.l_idx)].sum()) / REFERENCE_LEG
    return Body(skeleton, offsets, (feet[0], feet[1]), min(heights), scale)


def _rotation(axis: int, angle: Array) -> Array:
    """Rotation matrices [..., 3, 3] about a coordinate axis."""
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = matrix[..., second, second] = np.cos(angle)
    matrix[..., second, first] = np.sin(angle)
    matrix[..., first, second] = -matrix[..., second, first]
    return matrix


def _leg_geometry(tracks: Tracks, body: Body, pelvis: Array) -> tuple[Array, list[Array]]:
    """Offsets of the hips from the root [T, 2, 3], and per side the foot's joints, ankle last, [T, K, 3]."""
    hips = np.stack([pelvis @ body.offsets[body.legs(side)[0]] for side in (0, 1)], axis=1)
    feet = []
    for side in (0, 1):
        turn = _rotation(1, tracks.foot[:, side, 0]) @ _rotation(0, tracks.foot[:, side, 1])
        up_back = body.foot[side]
        local = np.stack([np.zeros(len(up_back)), up_back[:, 0], up_back[:, 1]], axis=-1)
        toe = body.scale * tracks.ball[:, side, None, :]
        feet.append(np.concatenate([toe, toe + np.einsum("tij,kj->tki", turn, local)], axis=1))
    return hips, feet


def _root(tracks: Tracks, body: Body, hips: Array, feet: list[Array], fps: float) -> Array:
    """Root positions [T, 3]: those of the tracks, but never so high that a leg would have to stretch to its foot."""
    root = body.scale * tracks.root
    allowed = np.full(len(root), np.inf)
    for side in (0, 1):
        _, knee, ankle, _ = body.legs(side)
        reach = _STRETCHED * (body.skeleton.target_lengths[knee] + body.skeleton.target_lengths[ankle])
        away = feet[side][:, -1] - root - hips[:, side]
        level = np.maximum(reach**2 - away[:, 0] ** 2 - away[:, 2] ** 2, 0.0)
        allowed = np.minimum(allowed, feet[side][:, -1, 1] + np.sqrt(level) - hips[:, side, 1])
    asked = body.height + root[:, 1]
    excess = np.maximum(asked - allowed, 0.0)
    sigma = 0.06 * fps
    window = 2 * int(np.ceil(2 * sigma)) + 1
    lowered = -minimum_filter1d(-excess, window, mode="nearest")
    root[:, 1] = asked - gaussian_filter1d(lowered, sigma, mode="nearest", radius=window // 2)
    return np.asarray(root)


def _two_bone(hip: Array, ankle: Array, left: Array, thigh: float, shin: float) -> Array:
    """The knee [T, 3], bent forward, between a hip and an ankle; `left` [T, 3] is the knee's axis."""
    axis = ankle - hip
    distance = np.linalg.norm(axis, axis=-1, keepdims=True)
    axis = axis / distance
    along = (thigh**2 - shin**2 + distance**2) / (2 * distance)
    forward = np.cross(axis, left)
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    return np.asarray(hip + along * axis + np.sqrt(np.maximum(thigh**2 - along**2, 0.0)) * forward)


def _place_legs(joints: Array, tracks: Tracks, body: Body, hips: Array, feet: list[Array]) -> None:
    for side in (0, 1):
        hip, knee, ankle, foot = body.legs(side)
        lengths = body.skeleton.target_lengths
        joints[:, hip] = joints[:, 0] + hips[:, side]
        yaw = 0.5 * (tracks.turn[:, 0] + tracks.foot[:, side, 0])
        left = np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], axis=-1)
        target = feet[side][:, -1]
        joints[:, knee] = _two_bone(joints[:, hip], target, left, lengths[knee], lengths[ankle])
        joints[:, ankle] = target
        for row, joint in enumerate(foot):
            joints[:, joint] = feet[side][:, row]


def _place_arms(joints: Array, tracks: Tracks, body: Body, chest: Array) -> None:
    skeleton = body.skeleton
    for side, name in enumerate(("left", "right")):
        flexion, abduction, inward, bend = np.moveaxis(tracks.arms[:, side], -1, 0)
        sign = SIDE_SIGN[side]
        upper = chest @ _rotation(0, -flexion) @ _rotation(2, sign * abduction) @ _rotation(1, -sign * inward)
        lower = upper @ _rotation(0, -bend)
        shoulder, elbow, wrist = (skeleton.index(f"{name}_{joint}") for joint in ("shoulder", "elbow", "wrist"))
        joints[:, elbow] = joints[:, shoulder] - skeleton.target_lengths[elbow] * upper[..., :, 1]
        joints[:, wrist] = joints[:, elbow] - skeleton.target_lengths[wrist] * lower[..., :, 1]


def to_joints(tracks: Tracks, body: Body, fps: float) -> Array:
    """Joint positions [T, J, 3] of a motion, in the skeleton's unit, with the ground at y = 0."""
    skeleton = body.skeleton
    pelvis = _rotation(1, tracks.turn[:, 0]) @ _rotation(0, tracks.turn[:, 1]) @ _rotation(2, tracks.turn[:, 2])
    third = tracks.spine / 3
    bend = _rotation(1, third[:, 0]) @ _rotation(0, third[:, 1]) @ _rotation(2, third[:, 2])
    vertebrae = [name for name in ("spine1", "spine2", "spine3") if name in skeleton.joints]
    frames: dict[str, Array] = {"pelvis": pelvis}
    for index, name in enumerate(vertebrae):
        steps = 1 if index < len(vertebrae) - 1 else 3 - index
        frames[name] = frames["pelvis" if index == 0 else vertebrae[index - 1]]
        for _ in range(steps):
            frames[name] = frames[name] @ bend
    chest = frames[vertebrae[-1]]
    frames["neck"] = chest @ _rotation(0, tracks.head)
    hips, feet = _leg_geometry(tracks, body, pelvis)
    joints = np.zeros((len(tracks), skeleton.num_joints, 3))
    joints[:, 0] = _root(tracks, body, hips, feet, fps)
    for index, joint in enumerate(skeleton.joints[1:], 1):
        part = joint.rpartition("_")[2]
        if part in _TORSO and part != "hip":
            parent = skeleton.parents[index]
            turn = frames.get(skeleton.joints[parent], chest)
            if part in ("collar", "shoulder"):
                turn = chest
            joints[:, index] = joints[:, parent] + turn @ body.offsets[index]
    _place_legs(joints, tracks, body, hips, feet)
    _place_arms(joints, tracks, body, chest)
    return joints
