"""When a toe stands on the ground, and when it slides there: joints [..., T, J, 3], y up, the ground at y = 0."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_realign.motion.skeleton.skeleton import Skeleton

CONTACT_HEIGHT = 0.05
SKATING_SPEED = 0.5
SKATING_WINDOW = 5


class ToeSteps(NamedTuple):
    """Booleans [..., 2, T - 1] for the left and the right toe and each step from one frame to the next.

    contact: below 5 cm in both frames. sliding: in contact, and too fast for it.
    """

    contact: Tensor
    sliding: Tensor


def toe_steps(metres: Tensor, skeleton: Skeleton) -> ToeSteps:
    """Where toes are on the ground and slide, as GMD counts them (Karunratanakul et al., ICCV 2023).

    A toe slides from one frame to the next if it is below 5 cm in both, and its horizontal speed as well as that
    speed's mean over a window of 5 steps (zero beyond the ends) exceed 0.5 m/s.

    Args:
        metres: joints [..., T, J, 3] in metres, T >= 2.
        skeleton: the motion's skeleton; the second entries of its feet are the toes.
    """
    feet = metres[..., [skeleton.feet_left[1], skeleton.feet_right[1]], :]
    steps = feet[..., 1:, :, [0, 2]] - feet[..., :-1, :, [0, 2]]
    speed = torch.linalg.vector_norm(steps, dim=-1).transpose(-1, -2) * skeleton.fps
    mean = F.avg_pool1d(speed.flatten(0, -2), SKATING_WINDOW, stride=1, padding=SKATING_WINDOW // 2).reshape(
        speed.shape
    )
    low = (feet[..., 1] < CONTACT_HEIGHT).transpose(-1, -2)
    contact = low[..., 1:] & low[..., :-1]
    return ToeSteps(contact, contact & (speed > SKATING_SPEED) & (mean > SKATING_SPEED))
