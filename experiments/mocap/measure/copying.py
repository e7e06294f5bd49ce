"""How near a motion is to given ones: the distance of its poses to theirs, in their order, at whatever pace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.mocap.measure.content import facing_directions
from lightning_realign.motion import Skeleton

Array = NDArray[Any]

STRIDE = 2
"""Every second frame of a motion is compared, with all frames of the others: half the time, nearly the same value."""


@dataclass(frozen=True)
class Gallery:
    """The poses of N motions, each as long as the longest of them.

    poses: [N, L, P], a motion's last pose repeated. squares: [N, L] their squared lengths.
    """

    poses: Array
    squares: Array

    @classmethod
    def of(cls, motions: Iterable[Array]) -> Gallery:
        """A gallery of the poses [T, P] of at least one motion."""
        found = list(motions)
        longest = max(map(len, found))
        poses = np.stack([np.pad(motion, ((0, longest - len(motion)), (0, 0)), mode="edge") for motion in found])
        return cls(poses, np.square(poses).sum(axis=-1))

    def distances(self, motion: Array) -> Array:
        """The distance of a motion to each of the gallery, [N] in metres.

        Every compared pose is matched with one of the other motion, never with an earlier one than the pose before it.
        So the other may start earlier, end later, and be slower or faster: of all such matches the one with the
        smallest mean distance counts (dynamic time warping with open ends). The distance of two poses is the root mean
        square over joints of how far they are apart. A motion of the gallery, and any part of it, has distance 0. So
        has one of its poses held still: the distance says where poses come from, and not whether there is movement.

        Args:
            motion: poses [T, P], see `pose_vectors`.
        """
        compared = motion[::STRIDE]
        products = np.matmul(self.poses, compared.T)  # [N, L, t]
        squares = self.squares[..., None] + np.square(compared).sum(axis=1) - 2 * products
        apart = np.sqrt(np.maximum(squares, 0.0, out=squares), out=squares)
        costs = np.ascontiguousarray(np.moveaxis(apart, -1, 0))  # [t, N, L]
        total = costs[0]
        for cost in costs[1:]:
            total = np.minimum.accumulate(total, axis=1)
            total += cost
        mean: Array = total.min(axis=1) / len(compared)
        return mean


def pose_vectors(joints: Array, skeleton: Skeleton) -> Array:
    """Poses without their path: seen from the root's place on the floor, facing ahead.

    Args:
        joints: [T, J, 3] in metres, y up.
        skeleton: of the joints.

    Returns:
        [T, 3 J], such that the length of a difference is the root mean square over joints of how far they are apart.
    """
    ahead = facing_directions(joints, skeleton)[:, None]
    x, z = (joints[..., axis] - joints[:, :1, axis] for axis in (0, 2))
    across, along = x * ahead[..., 1] - z * ahead[..., 0], x * ahead[..., 0] + z * ahead[..., 1]
    seen = np.stack((across, joints[..., 1], along), axis=-1).reshape(len(joints), -1)
    scaled: Array = seen / np.sqrt(joints.shape[1])
    return scaled
