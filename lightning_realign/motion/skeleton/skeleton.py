"""A skeleton: joints, kinematic chains, and the constants of its feature format. `spec` reads skeletons from files."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError


@dataclass(frozen=True)
class Skeleton:
    """A skeleton of J joints and the constants of its feature format. Joint 0 is the root, y is up.

    joints: J names. parents: J indices, -1 for the root. chains: joint indices from the root or a branching joint
    outwards. raw_offsets: for each joint, the direction of its bone in the rest pose. face: right hip, left hip, right
    shoulder, left shoulder. l_idx: the two leg joints whose bones set the scale. feet_right, feet_left: ankle and toe.
    contact_threshold: squared displacement per frame below which a foot counts as planted. fps: the format's frame
    rate. unit: of joints. target_lengths: bone lengths (from the parent) of the uniform skeleton, in that unit.
    min_length: shortest motion of the published data set, in frames. published_facing: whether the facing direction has
    the sign quirk of the published data sets, see `kinematics.facing_of_kinematics`.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    chains: tuple[tuple[int, ...], ...]
    raw_offsets: tuple[tuple[float, float, float], ...]
    face: tuple[int, int, int, int]
    l_idx: tuple[int, int]
    feet_right: tuple[int, int]
    feet_left: tuple[int, int]
    contact_threshold: float
    fps: float
    unit: Literal["metre", "millimetre"]
    target_lengths: tuple[float, ...]
    min_length: int
    published_facing: bool

    @property
    def num_joints(self) -> int:
        """J."""
        return len(self.joints)

    @property
    def num_features(self) -> int:
        """D = 12 J - 1: 263 for HumanML3D, 251 for KIT-ML."""
        return 12 * self.num_joints - 1

    @property
    def metres_per_unit(self) -> float:
        """What a length in the skeleton's unit is multiplied by to be in metres: 1, or 0.001 for millimetres."""
        return {"metre": 1.0, "millimetre": 0.001}[self.unit]

    @property
    def units_per_metre(self) -> float:
        """What a length in metres is multiplied by to be in the skeleton's unit: 1, or 1000 for millimetres."""
        return {"metre": 1.0, "millimetre": 1000.0}[self.unit]

    @property
    def blocks(self) -> tuple[tuple[str, slice], ...]:
        """The seven blocks of a feature vector, in order, with their places."""
        joints = self.num_joints
        sizes = (
            ("root_yaw_velocity", 1),
            ("root_velocity", 2),
            ("root_height", 1),
            ("positions", 3 * (joints - 1)),
            ("rotations", 6 * (joints - 1)),
            ("velocities", 3 * joints),
            ("contacts", 4),
        )
        blocks, start = [], 0
        for name, size in sizes:
            blocks.append((name, slice(start, start + size)))
            start += size
        return tuple(blocks)

    @property
    def chain_parents(self) -> tuple[int, ...]:
        """For each joint, the joint before it to whose rotation its own is relative; -1 for a chain's first bone.

        Every chain starts from the root's rotation, even one that branches off elsewhere, as in the published inverse
        kinematics.
        """
        before = [-1] * self.num_joints
        for chain in self.chains:
            for previous, joint in itertools.pairwise(chain[1:]):
                before[joint] = previous
        return tuple(before)

    def directions(self, like: Tensor) -> Tensor:
        """The rest directions `raw_offsets` [J, 3] in the type and on the device of `like`."""
        return torch.tensor(self.raw_offsets, dtype=like.dtype, device=like.device)

    def lengths(self, like: Tensor) -> Tensor:
        """The bone lengths `target_lengths` [J] in the type and on the device of `like`."""
        return torch.tensor(self.target_lengths, dtype=like.dtype, device=like.device)

    def index(self, joint: str) -> int:
        """The index of a joint by its name.

        Raises:
            ConfigError: the skeleton has no joint of that name.
        """
        if joint not in self.joints:
            raise ConfigError(f"joint {joint!r} is not in skeleton {self.name!r}; choose from {', '.join(self.joints)}")
        return self.joints.index(joint)
