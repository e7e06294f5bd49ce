"""Any weighted sum of rewards: ensembles of learned ones, and learned ones with physical ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.generators.base import convert_normalisation
from lightning_realign.motion.skeleton.spec import require_same_skeleton
from lightning_realign.rewards.compatibility import same_scale
from lightning_realign.rewards.reward import BatchReward, CleanReward, Reward
from lightning_realign.types import zero_padding

if TYPE_CHECKING:
    from lightning_realign.models import LatentSpace
    from lightning_realign.motion.normaliser import Normaliser


class ScoredReward(Reward, CleanReward, Protocol):
    """A reward that guides and also scores finished motions."""


class WeightedRewards:
    """R = sum_i w_i R_i, itself a reward.

    mu multiplies the whole sum, `FixedReward` excepted. Retrieved motions x^c are latents of one reward model, so only
    one member, `reference`, has a motion term: R = sum_i w_i mu R_i + w_reference eta R_m.

    Args:
        rewards: the members, all of motions of one skeleton, or all of latents of one VAE.
        weights: w_i; None for the mean.
        reference: which member reads x^c.

    Raises:
        ConfigError: no members, or weights or a reference that do not fit them.
        FeatureSpecError: members that cannot read the same thing.
    """

    def __init__(
        self, rewards: Sequence[ScoredReward], weights: Sequence[float] | None = None, reference: int = 0
    ) -> None:
        if not rewards:
            raise ConfigError("weighted rewards: there is none; give at least one")
        chosen = [1 / len(rewards)] * len(rewards) if weights is None else list(weights)
        if len(chosen) != len(rewards) or not all(math.isfinite(weight) for weight in chosen):
            raise ConfigError(f"weighted rewards: weights={chosen} for {len(rewards)} rewards; give a number for each")
        if not 0 <= reference < len(rewards):
            raise ConfigError(f"weighted rewards: reference={reference}; need 0 to {len(rewards) - 1}")
        self.rewards = tuple(rewards)
        self.weights = tuple(chosen)
        self.reference = reference
        for place, reward in enumerate(self.rewards[1:], start=1):
            _check_pair(self.rewards[0], reward, place)

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it reads."""
        return self.rewards[0].skeleton

    @property
    def normaliser(self) -> Normaliser:
        """Statistics of the normalisation it reads motions in, the first member's; they are converted for others."""
        return self.rewards[0].normaliser

    @property
    def latents(self) -> LatentSpace | None:
        """The latent space whose states it reads, the first member's; None where it reads motions."""
        return self.rewards[0].latents

    def prepare(self, captions: Sequence[str], references: Tensor | None, *, mu: float, eta: float) -> BatchReward:
        """The sum for a batch; the arguments are those of `Reward.prepare`.

        Raises:
            ConfigError: raised by the result, for noisy motions that members read in scales too different for that.
        """
        members = [
            (weight, self._member(place, captions, references, mu, eta)) for place, weight in enumerate(self.weights)
        ]

        def evaluate(seen: Tensor, lengths: Tensor, alpha_bar: float) -> Tensor:
            first, *others = (weight * member(seen, lengths, alpha_bar) for weight, member in members)
            return sum(others, start=first)

        return evaluate

    def _member(
        self, place: int, captions: Sequence[str], references: Tensor | None, mu: float, eta: float
    ) -> BatchReward:
        """A member's reward of what the first member reads."""
        reward, is_reference = self.rewards[place], place == self.reference
        prepared = reward.prepare(
            captions, references if is_reference else None, mu=mu, eta=eta if is_reference else 0.0
        )
        own, wanted = _statistics(self.rewards[0]), _statistics(reward)
        if own.fingerprint() == wanted.fingerprint():
            return prepared

        def evaluate(seen: Tensor, lengths: Tensor, alpha_bar: float) -> Tensor:
            if alpha_bar < 1 and not same_scale(own, wanted):
                raise ConfigError(
                    f"weighted rewards: member {place} reads another scale than member 0, in which noise is of another "
                    "level; use location x0 or x0_through, or rewards that were trained in one normalisation"
                )
            converted = convert_normalisation(seen, alpha_bar, own, wanted)
            return prepared(
                converted if reward.latents is not None else zero_padding(converted, lengths), lengths, alpha_bar
            )

        return evaluate

    def score(self, features: Tensor, lengths: Tensor, captions: Sequence[str]) -> Tensor:
        """The sum [B] of the members' scores of clean motions [B, T, D] in the data set's own units."""
        first, *others = (
            weight * reward.score(features, lengths, captions)
            for weight, reward in zip(self.weights, self.rewards, strict=True)
        )
        return sum(others, start=first)


class MeanReward(WeightedRewards):
    """The mean of n rewards: R = mu mean_i R_i + eta R_m, so that mu and eta mean what they mean for one.

    Args:
        rewards: as of `WeightedRewards`; the first one reads x^c.
    """

    def __init__(self, rewards: Sequence[ScoredReward]) -> None:
        super().__init__(rewards)

    def prepare(self, captions: Sequence[str], references: Tensor | None, *, mu: float, eta: float) -> BatchReward:
        """See `WeightedRewards.prepare`."""
        return super().prepare(captions, references, mu=mu, eta=eta * len(self.rewards))


class FixedReward:
    """A reward that mu does not multiply: as a member of `WeightedRewards` it enters with its weight alone.

    Args:
        reward: the reward; it reads no x^c.
    """

    def __init__(self, reward: ScoredReward) -> None:
        self.reward = reward

    @property
    def skeleton(self) -> str:
        """The reward's own."""
        return self.reward.skeleton

    @property
    def normaliser(self) -> Normaliser:
        """The reward's own."""
        return self.reward.normaliser

    @property
    def latents(self) -> LatentSpace | None:
        """The reward's own."""
        return self.reward.latents

    def prepare(self, captions: Sequence[str], references: Tensor | None, *, mu: float, eta: float) -> BatchReward:
        """The reward as it is, whatever mu and eta are."""
        return self.reward.prepare(captions, None, mu=1.0, eta=0.0)

    def score(self, features: Tensor, lengths: Tensor, captions: Sequence[str]) -> Tensor:
        """The reward's own."""
        return self.reward.score(features, lengths, captions)


def _statistics(reward: Reward) -> Normaliser:
    """Of the normalisation in which it reads what it reads."""
    return reward.normaliser if reward.latents is None else reward.latents.statistics


def _check_pair(first: Reward, other: Reward, place: int) -> None:
    remedy = "use rewards of one skeleton"
    require_same_skeleton(f"weighted rewards: member {place}", other.skeleton, "member 0", first.skeleton, remedy)
    read = [
        "motions" if one.latents is None else f"latents of the VAE {one.latents.fingerprint()}"
        for one in (first, other)
    ]
    if read[0] != read[1]:
        raise FeatureSpecError(
            f"weighted rewards: member {place} reads {read[1]}, member 0 reads {read[0]}; use rewards that read one "
            "and the same; `DecodedReward` makes one of motions read latents"
        )
