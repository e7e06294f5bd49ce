"""Physical quality of motions as pure functions of joints [..., T, J, 3]. Symbols: T frames, J joints.

y is up and the ground is y = 0, as in the feature formats. Joints are in the unit of the skeleton (KIT-ML's is the
millimetre); results are in metres and seconds. Joints lie inside the body: a standing foot's are a little above 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lightning_realign.errors import DataError
from lightning_realign.motion import Skeleton
from lightning_realign.motion.contacts import toe_steps


def in_metres(joints: Tensor, skeleton: Skeleton, frames: int = 1) -> Tensor:
    """Joints [..., T, J, 3] in metres, float64.

    Raises:
        DataError: joints of another skeleton, fewer frames than `frames`, or values that are not finite.
    """
    if joints.dim() < 3 or joints.shape[-2:] != (skeleton.num_joints, 3):
        raise DataError(
            f"joints have shape {tuple(joints.shape)}: expected [..., T, {skeleton.num_joints}, 3] for skeleton "
            f"{skeleton.name!r}"
        )
    if joints.shape[-3] < frames:
        raise DataError(f"a motion of {joints.shape[-3]} frames is too short: this metric needs at least {frames}")
    if not joints.isfinite().all():
        raise DataError("joints hold NaN or infinity: physical quality is not defined for them; check the motion")
    return joints.double() * skeleton.metres_per_unit


def foot_skating_ratio(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Fraction of frames in which a toe slides while it is on the ground.

    Karunratanakul et al., GMD (ICCV 2023, github.com/korrawe/guided-motion-diffusion), also used by OmniControl: a toe
    skates from one frame to the next if it is below 5 cm in both, and its horizontal speed as well as that speed's
    mean over a window of 5 steps (zero beyond the ends) exceed 0.5 m/s, which is 2.5 cm per frame at 20 frames per
    second. Either foot counts.

    Args:
        joints: [..., T, J, 3] in the skeleton's unit, T >= 2.
        skeleton: the motion's skeleton; the second entries of its feet are the toes.

    Returns:
        [...] fractions in [0, 1], float64.

    Raises:
        DataError: see `in_metres`.
    """
    skating = toe_steps(in_metres(joints, skeleton, frames=2), skeleton).sliding
    ratio: Tensor = skating.any(dim=-2).double().mean(dim=-1)
    return ratio


def foot_height(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean over frames of the height of the lowest of the four foot joints, in metres. Compare it with real motions'.

    It is the counterpart of PhysDiff's "Float" (Yuan et al., ICCV 2023), which is measured on body meshes.

    Args:
        joints: [..., T, J, 3] in the skeleton's unit.
        skeleton: the motion's skeleton.

    Returns:
        [...] metres, float64; negative where the feet are below the ground.

    Raises:
        DataError: see `in_metres`.
    """
    feet = [*skeleton.feet_left, *skeleton.feet_right]
    return in_metres(joints, skeleton)[..., feet, 1].amin(dim=-1).mean(dim=-1)


def jerk(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean over frames and joints of the length of the third derivative of position, in m/s^3.

    The "jitter" of TransPose (Yi et al., SIGGRAPH 2021), also used by DNO (github.com/korrawe/
    Diffusion-Noise-Optimization), by third differences.

    Args:
        joints: [..., T, J, 3] in the skeleton's unit, T >= 4.
        skeleton: the motion's skeleton.

    Returns:
        [...] m/s^3, float64.

    Raises:
        DataError: see `in_metres`.
    """
    third = torch.diff(in_metres(joints, skeleton, frames=4), n=3, dim=-3) * skeleton.fps**3
    length: Tensor = torch.linalg.vector_norm(third, dim=-1)
    return length.mean(dim=(-1, -2))


def ground_penetration(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean over frames of how deep the lowest joint is below the ground, in metres.

    It is the counterpart of PhysDiff's "Penetrate" (Yuan et al., ICCV 2023), which is measured on body meshes. A body
    may be below the ground while its joints are just above it.

    Args:
        joints: [..., T, J, 3] in the skeleton's unit.
        skeleton: the motion's skeleton.

    Returns:
        [...] metres >= 0, float64.

    Raises:
        DataError: see `in_metres`.
    """
    lowest = in_metres(joints, skeleton)[..., 1].amin(dim=-1)
    return (-lowest).clamp_min(0).mean(dim=-1)


PHYSICAL: Mapping[str, Callable[[Tensor, Skeleton], Tensor]] = {
    "foot_skating": foot_skating_ratio,
    "foot_height": foot_height,
    "jerk": jerk,
    "penetration": ground_penetration,
}
"""The metrics that `test` measures of every motion, by their names in its table. A new one needs one line here."""

# The fewest frames for which all of them are defined: jerk is a third difference.
SHORTEST = 4
