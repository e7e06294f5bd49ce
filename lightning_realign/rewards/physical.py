"""Physical rewards: differentiable functions of clean motions that need no text. Symbols: T frames, J joints.

A new one is a class with one method, `of_joints`. They are the metrics of `metrics.physical_functional`, negative,
and smooth where those count.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.files.imports import named_part
from lightning_realign.motion import Normaliser, Skeleton, recover_joints, skeleton_reference
from lightning_realign.motion.contacts import CONTACT_HEIGHT
from lightning_realign.rewards.reward import BatchReward
from lightning_realign.types import valid_mask


class JointReward(ABC):
    """A reward of the joints of clean motions; there is no step token, so it refuses noisy ones.

    Guide with location `x0` or `x0_through`. In `prepare` it is multiplied by mu; it knows no x^c.

    Args:
        skeleton: of the motions.
    """

    latents = None

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton_reference(skeleton)
        self.spec = skeleton
        # The identity: it reads the data set's own units.
        self.normaliser = Normaliser(skeleton.num_features).requires_grad_(False)

    @abstractmethod
    def of_joints(self, joints: Tensor, lengths: Tensor) -> Tensor:
        """The rewards [B] of joints [B, T, J, 3] in metres; frames at and beyond `lengths` [B] must not count."""

    def prepare(self, captions: Sequence[str], references: Tensor | None, *, mu: float, eta: float) -> BatchReward:
        """The reward times mu.

        Raises:
            ConfigError: raised by the result, for a motion that is not clean.
        """

        def evaluate(motion: Tensor, lengths: Tensor, alpha_bar: float) -> Tensor:
            if alpha_bar < 1:
                raise ConfigError(
                    f"{type(self).__name__} reads clean motions, but got one of signal level {alpha_bar:.3g}; "
                    "use location x0 or x0_through"
                )
            return mu * self.score(motion, lengths, captions)

        return evaluate

    def score(self, features: Tensor, lengths: Tensor, captions: Sequence[str]) -> Tensor:
        """The rewards [B] of clean motions [B, T, D] in the data set's own units."""
        scale = self.spec.metres_per_unit
        return self.of_joints(recover_joints(features, self.spec) * scale, lengths.to(features.device))


class FootSkating(JointReward):
    """Minus the mean horizontal speed, in m/s, of toes on the ground, over frames and both toes.

    The metric counts frames with toes below 5 cm that slide fast; here a toe is on the ground to the degree
    sigmoid((5 cm - height) / softness), in a frame and the next.

    Args:
        skeleton: of the motions; the second entries of its feet are the toes.
        softness: metres over which contact fades.

    Raises:
        ConfigError: softness is not positive.
    """

    def __init__(self, skeleton: Skeleton, softness: float = 0.01) -> None:
        super().__init__(skeleton)
        if not softness > 0:
            raise ConfigError(f"FootSkating softness={softness}: need a positive number of metres")
        self.softness = softness

    def of_joints(self, joints: Tensor, lengths: Tensor) -> Tensor:
        """See `JointReward.of_joints`."""
        toes = joints[:, :, [self.spec.feet_left[1], self.spec.feet_right[1]]]
        speed = torch.linalg.vector_norm(toes[:, 1:, :, [0, 2]] - toes[:, :-1, :, [0, 2]], dim=-1) * self.spec.fps
        contact = torch.sigmoid((CONTACT_HEIGHT - toes[..., 1]) / self.softness)
        return -_mean((contact[:, 1:] * contact[:, :-1] * speed).mean(dim=-1), lengths - 1)


class Jerkiness(JointReward):
    """Minus the mean length, in m/s^3, of the third derivative of the joints' positions."""

    def of_joints(self, joints: Tensor, lengths: Tensor) -> Tensor:
        """See `JointReward.of_joints`."""
        third = torch.diff(joints, n=3, dim=1) * self.spec.fps**3
        return -_mean(torch.linalg.vector_norm(third, dim=-1).mean(dim=-1), lengths - 3)


class Penetration(JointReward):
    """Minus the mean depth, in metres, of the lowest joint below the ground."""

    def of_joints(self, joints: Tensor, lengths: Tensor) -> Tensor:
        """See `JointReward.of_joints`."""
        return -_mean((-joints[..., 1].amin(dim=-1)).clamp_min(0), lengths)


PHYSICAL_REWARDS: Mapping[str, Callable[[Skeleton], JointReward]] = {
    "foot_skating": FootSkating,
    "jerk": Jerkiness,
    "penetration": Penetration,
}
"""The physical rewards that a configuration can name, by the metric that each improves."""


def physical_reward(name: str, skeleton: Skeleton) -> JointReward:
    """A physical reward by its name, or by the path of a class of your own such as `my_package.Balance`.

    Raises:
        ConfigError: there is none.
    """
    return named_part("guidance physical", name, PHYSICAL_REWARDS)(skeleton)


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    """The mean [B] over the first `counts` [B] of values [B, T]; 0 where there are none."""
    inside = valid_mask(counts, values.shape[1])
    return values.masked_fill(~inside, 0.0).sum(dim=1) / counts.clamp_min(1)
