"""A body around a skeleton: capsules between joints, and between points that hang on them.

A plan is made once for a skeleton and holds for every pose. Its lengths are those of an adult, scaled by the legs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_realign.motion.skeleton.skeleton import Skeleton

MIDDLE, LEFT, RIGHT, MARK = range(4)
"""The sides of a capsule, which have a colour each; MARK is the nose."""
# In metres, for legs of this length from hip to ankle.
_LEGS = 0.82
_LEG_RADII = (0.088, 0.06, 0.042, 0.036, 0.034)
_ARM_RADII = (0.052, 0.043, 0.031, 0.027)
# At the root, the waist and the chest.
_TRUNK_RADII = (0.146, 0.126, 0.155)
# How deep the trunk is, from front to back, for its width.
_DEPTH = 0.66
# How far the head is above the shoulders, at least; some skeletons have it lower.
_NECK = 0.17
# Joints of the trunk above this share of the way from the root to the shoulders belong to the neck.
_CHEST = 0.85


class _Plan:
    """Points and capsules, as they are collected; lengths are multiplied by `scale`."""

    def __init__(self, joints: int, scale: float) -> None:
        self.joints, self.scale = joints, scale
        self.points: list[dict[str, Any]] = []
        self.capsules: list[list[float]] = []

    def point(self, mix: Sequence[int], along: Sequence[tuple[int, int, float]] = (), ahead: float = 0.0) -> int:
        """The number of a point: the mean of the points `mix`, moved.

        Args:
            mix: numbers of joints or points.
            along: two joints or points, and how far to go in the direction from the first to the second.
            ahead: how far to go in the direction that the body faces.
        """
        moves = [[start, stop, length * self.scale] for start, stop, length in along]
        self.points.append({"mix": list(mix), "along": moves, "ahead": ahead * self.scale})
        return self.joints + len(self.points) - 1

    def capsule(self, start: int, stop: int, radii: tuple[float, float], side: int, depth: float = 1.0) -> None:
        """A capsule between two points; `depth` below 1 flattens it from front to back."""
        self.capsules.append([start, stop, radii[0] * self.scale, radii[1] * self.scale, side, depth])


def body_plan(skeleton: Skeleton, metres: NDArray[Any]) -> dict[str, Any]:
    """The body of a skeleton, as values for JSON.

    Args:
        skeleton: the skeleton.
        metres: joints [T, J, 3] of a motion in metres, for the lengths of bones.

    Returns:
        `points`: what follows the J joints, each from those before it. `capsules`: start, stop, their radii, the side,
        and the depth. `face`: right hip, left hip, right shoulder, left shoulder. `toes`: left and right.
    """
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.face
    legs = [
        _upwards(skeleton, toe, hip)
        for (_, toe), hip in ((skeleton.feet_left, left_hip), (skeleton.feet_right, right_hip))
    ]
    long = np.linalg.norm(np.diff(metres[:, legs[0][: _ankle(legs[0]) + 1]], axis=1), axis=-1).mean(axis=0).sum()
    plan = _Plan(skeleton.num_joints, float(long) / _LEGS)
    for leg, side in zip(legs, (LEFT, RIGHT), strict=True):
        _leg(plan, leg, side)
    for shoulder, side in ((left_shoulder, LEFT), (right_shoulder, RIGHT)):
        _arm(plan, _longest(skeleton, shoulder), side)
    _trunk(plan, skeleton, metres)
    return {
        "points": plan.points,
        "capsules": plan.capsules,
        "face": list(skeleton.face),
        "toes": [skeleton.feet_left[1], skeleton.feet_right[1]],
        "ankles": [leg[_ankle(leg)] for leg in legs],
        "scale": plan.scale,
    }


def _upwards(skeleton: Skeleton, joint: int, top: int) -> list[int]:
    """The joints from `top` down to `joint`."""
    way = [joint]
    while way[-1] != top and way[-1] > 0:
        way.append(skeleton.parents[way[-1]])
    return way[::-1]


def _ankle(leg: Sequence[int]) -> int:
    """The place of the ankle among the joints of a leg: after hip and knee, or the end of a shorter leg."""
    return 2 if len(leg) > 2 else len(leg) - 1


def _longest(skeleton: Skeleton, joint: int) -> list[int]:
    """The joints from `joint` to the end of its longest limb."""
    ways = [_longest(skeleton, child) for child, parent in enumerate(skeleton.parents) if parent == joint]
    return [joint, *max(ways, key=len, default=[])]


def _limb(plan: _Plan, joints: Sequence[int], radii: Sequence[float], side: int) -> None:
    for place, (start, stop) in enumerate(itertools.pairwise(joints)):
        pair = radii[min(place, len(radii) - 1)], radii[min(place + 1, len(radii) - 1)]
        plan.capsule(start, stop, pair, side)


def _leg(plan: _Plan, joints: Sequence[int], side: int) -> None:
    """Thigh, shin and a foot with a heel, whose toes reach beyond the last joint."""
    _limb(plan, joints, _LEG_RADII, side)
    place, last = _ankle(joints), joints[-1]
    if joints[place] != last:
        knee, ankle = joints[place - 1 : place + 1]
        heel = plan.point([ankle], [(knee, ankle, 0.035), (ankle, last, -0.045)])
        tip = plan.point([last], [(heel, last, 0.055)])
        plan.capsule(heel, last, (0.036, 0.04), side)
        plan.capsule(last, tip, (0.04, 0.028), side)


def _arm(plan: _Plan, joints: Sequence[int], side: int) -> None:
    """Upper arm, forearm and hand."""
    _limb(plan, joints, _ARM_RADII, side)
    if len(joints) > 1:
        before, wrist = joints[-2:]
        palm, tip = (plan.point([wrist], [(before, wrist, length)]) for length in (0.045, 0.12))
        plan.capsule(wrist, palm, (0.03, 0.041), side)
        plan.capsule(palm, tip, (0.041, 0.022), side)


def _trunk(plan: _Plan, skeleton: Skeleton, metres: NDArray[Any]) -> None:
    """Pelvis, trunk, shoulders, neck and head."""
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.face
    shoulders, hips = plan.point([left_shoulder, right_shoulder]), plan.point([left_hip, right_hip])
    spine = _spine(skeleton, metres)
    chest = plan.point([shoulders], [(shoulders, hips, 0.07)])
    radii = np.interp(np.linspace(0, 1, len(spine) + 1), (0, 0.45, 1), _TRUNK_RADII)
    for place, (start, stop) in enumerate(itertools.pairwise([*spine, chest])):
        plan.capsule(start, stop, (float(radii[place]), float(radii[place + 1])), MIDDLE, _DEPTH)
    plan.capsule(left_hip, right_hip, (0.094, 0.094), MIDDLE)
    sides = [plan.point([shoulder], [(shoulder, shoulders, 0.02)]) for shoulder in (left_shoulder, right_shoulder)]
    plan.capsule(sides[0], sides[1], (0.062, 0.062), MIDDLE, 0.85)
    head = _head(skeleton)
    below, anchor = (hips, shoulders) if head is None else (shoulders, head)
    lift = _NECK
    if head is not None:
        neck = metres[:, head] - metres[:, [left_shoulder, right_shoulder]].mean(axis=1)
        lift = max(0.0, _NECK - float(np.linalg.norm(neck, axis=-1).mean()) / plan.scale)
    jaw, skull = (plan.point([anchor], [(below, anchor, lift + length)], 0.01) for length in (0.0, 0.07))
    throat = plan.point([shoulders], [(below, anchor, 0.06)])
    plan.capsule(shoulders, throat, (0.105, 0.06), MIDDLE, 0.72)
    plan.capsule(throat, jaw, (0.06, 0.054), MIDDLE)
    plan.capsule(jaw, skull, (0.08, 0.104), MIDDLE)
    nose = plan.point([jaw, skull], ahead=0.094)
    plan.capsule(nose, nose, (0.02, 0.02), MARK)


def _spine(skeleton: Skeleton, metres: NDArray[Any]) -> list[int]:
    """The joints from the root to below the shoulders."""
    _, _, right_shoulder, left_shoulder = skeleton.face
    left, right = (set(_upwards(skeleton, joint, 0)) for joint in (left_shoulder, right_shoulder))
    shared = sorted(left & right)
    up = metres[:, [left_shoulder, right_shoulder]].mean(axis=1) - metres[:, 0]
    share = [
        float(((metres[:, joint] - metres[:, 0]) * up).sum(axis=-1).mean() / (up**2).sum(axis=-1).mean())
        for joint in shared
    ]
    return [joint for joint, place in zip(shared, share, strict=True) if place < _CHEST]


def _head(skeleton: Skeleton) -> int | None:
    """The last joint that hangs on the trunk, and on neither an arm nor a leg."""
    _, _, right_shoulder, left_shoulder = skeleton.face
    above = set(_upwards(skeleton, left_shoulder, 0)) & set(_upwards(skeleton, right_shoulder, 0))
    chest = max(above, key=lambda joint: len(_upwards(skeleton, joint, 0)))
    arms = {
        joint
        for joint in range(skeleton.num_joints)
        if set(_upwards(skeleton, joint, 0)) & {left_shoulder, right_shoulder}
    }
    ways = [
        way
        for child, parent in enumerate(skeleton.parents)
        if parent == chest and not set(way := _longest(skeleton, child)) & arms
    ]
    return max(ways, key=len)[-1] if ways else None
