"""A reward of motions that reads a VAE's latents, so that it can stand beside rewards of latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import convert_normalisation
from lightning_realign.rewards.reward import BatchReward
from lightning_realign.types import zero_padding

if TYPE_CHECKING:
    from lightning_realign.models import LatentSpace
    from lightning_realign.motion.normaliser import Normaliser
    from lightning_realign.rewards.weighted import ScoredReward


class DecodedReward:
    """R(D(z)): what a reward says of the motions that a VAE decodes from clean latents.

    Args:
        reward: reads motions.
        latents: the space of the states z [n, d].
        normaliser: statistics of the motions that its VAE decodes.
    """

    def __init__(self, reward: ScoredReward, latents: LatentSpace, normaliser: Normaliser) -> None:
        self.reward, self.latents, self.normaliser = reward, latents, normaliser

    @property
    def skeleton(self) -> str:
        """The reward's own."""
        return self.reward.skeleton

    def prepare(self, captions: Sequence[str], references: Tensor | None, *, mu: float, eta: float) -> BatchReward:
        """The reward of decoded states; the arguments are those of `Reward.prepare`.

        Raises:
            ConfigError: raised by the result, for noisy latents, which decode to no noisy motion of any level.
        """
        prepared = self.reward.prepare(captions, references, mu=mu, eta=eta)

        def evaluate(states: Tensor, lengths: Tensor, alpha_bar: float) -> Tensor:
            if alpha_bar < 1:
                raise ConfigError(
                    f"a reward of motions got latents of signal level {alpha_bar:.3g}, which decode to no "
                    "motion of that level; use location x0 or x0_through"
                )
            motion = self.latents.decode(states, lengths, int(lengths.max()))
            seen = convert_normalisation(motion, alpha_bar, self.normaliser, self.reward.normaliser)
            return prepared(zero_padding(seen, lengths), lengths, alpha_bar)

        return evaluate

    def score(self, features: Tensor, lengths: Tensor, captions: Sequence[str]) -> Tensor:
        """The reward's own, of motions [B, T, D] as they are."""
        return self.reward.score(features, lengths, captions)
