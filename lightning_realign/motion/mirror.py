"""Mirror images of motions: x negated, left and right swapped. Each function is its own inverse."""

from __future__ import annotations

import functools

from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.motion.features import check_features
from lightning_realign.motion.skeleton.joint_names import name_parts, swap_sides
from lightning_realign.motion.skeleton.skeleton import Skeleton


@functools.cache
def mirror_partners(skeleton: Skeleton) -> tuple[int, ...]:
    """For each joint, the joint on the other side, by its name. Joints in the middle are their own partners.

    Raises:
        ConfigError: a joint of one side has no counterpart, or the two sides are connected differently.

    >>> from lightning_realign.motion import load_skeleton
    >>> mirror_partners(load_skeleton("humanml3d"))[:6]
    (0, 2, 1, 3, 5, 4)
    """
    names = [name_parts(joint) for joint in skeleton.joints]
    partners = []
    for joint, name in zip(skeleton.joints, names, strict=True):
        other = swap_sides(name)
        if names.count(other) != 1:
            raise ConfigError(
                f"skeleton {skeleton.name!r}: joint {joint!r} has {names.count(other)} counterparts on the other side; "
                "name both sides alike but for left and right, or build without mirroring"
            )
        partners.append(names.index(other))
    for index, parent in enumerate(skeleton.parents[1:], 1):
        if skeleton.parents[partners[index]] != partners[parent]:
            raise ConfigError(
                f"skeleton {skeleton.name!r}: the parents of {skeleton.joints[index]!r} and "
                f"{skeleton.joints[partners[index]]!r} are no mirror images; correct its chains"
            )
    return tuple(partners)


def mirror_joints(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """The mirror image of joint positions [..., J, 3] in the plane x = 0.

    Raises:
        ConfigError: the skeleton's joints are not in left and right pairs.
    """
    return joints[..., list(mirror_partners(skeleton)), :] * joints.new_tensor((-1.0, 1.0, 1.0))


def mirror_features(features: Tensor, skeleton: Skeleton) -> Tensor:
    """The features of the mirror image of a body whose bones are as long on the left as on the right.

    The uniform skeletons of the published formats are not such bodies. For them, the result differs from the features
    of the mirrored joints by the difference between the sides. The data sets hold the features of the mirrored joints.

    Args:
        features: [..., T, D], in the data set's own units (not normalised).
        skeleton: the feature format, with mirrored rest directions.

    Returns:
        [..., T, D].

    Raises:
        ConfigError: the skeleton is not the same on both sides.
        FeatureSpecError: the last dimension is not D.
    """
    check_features(features, skeleton)
    order, signs = _feature_mirror(skeleton)
    return features[..., list(order)] * features.new_tensor(signs)


@functools.cache
def _feature_mirror(skeleton: Skeleton) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The source channel of each mirrored channel, and its sign."""
    partners = mirror_partners(skeleton)
    for joint, (x, y, z) in enumerate(skeleton.raw_offsets):
        if skeleton.raw_offsets[partners[joint]] != (-x, y, z):
            raise ConfigError(
                f"skeleton {skeleton.name!r}: the rest direction of {skeleton.joints[joint]!r} is no mirror image of "
                f"{skeleton.joints[partners[joint]]!r}'s; mirror the joints and extract the features again"
            )
    before = skeleton.chain_parents
    for joint, other in enumerate(partners):
        if before[other] != (partners[before[joint]] if before[joint] >= 0 else -1):
            raise ConfigError(
                f"skeleton {skeleton.name!r}: the chains of {skeleton.joints[joint]!r} and {skeleton.joints[other]!r} "
                "begin differently; give both sides the same chains"
            )
    feet = skeleton.feet_left + skeleton.feet_right
    body = [joint - 1 for joint in partners[1:]]
    parts = {
        "root_yaw_velocity": ([0], (-1.0,)),
        "root_velocity": ([0], (-1.0, 1.0)),
        "root_height": ([0], (1.0,)),
        "positions": (body, (-1.0, 1.0, 1.0)),
        # The first two columns of S R S with S = diag(-1, 1, 1).
        "rotations": (body, (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)),
        "velocities": (list(partners), (-1.0, 1.0, 1.0)),
        "contacts": ([feet.index(partners[foot]) for foot in feet], (1.0,)),
    }
    order: list[int] = []
    signs: list[float] = []
    for name, block in skeleton.blocks:
        sources, own = parts[name]
        for source in sources:
            order += [block.start + source * len(own) + channel for channel in range(len(own))]
            signs += own
    return tuple(order), tuple(signs)
