"""Whether a reward can read what a generator makes, and how it does."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torch import Tensor

from lightning_realign.errors import FeatureSpecError
from lightning_realign.generators.base import Generator, convert_normalisation
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.motion.skeleton.spec import require_same_skeleton
from lightning_realign.rewards.reward import BatchReward, Reward

logger = logging.getLogger(__name__)

# A larger ratio of scales changes the noise level of a state noticeably.
SAME_SCALE = 1.1
_REMEDY = "use checkpoints of one skeleton"

StateReward = Callable[[Tensor, float], Tensor]
"""(the generator's states [B, ...], their alpha_bar) -> rewards [B]."""


def same_scale(own: Normaliser, other: Normaliser) -> bool:
    """Whether noise in one normalisation is, nearly, noise of the same level in the other."""
    least, most = _ratios(own, other)
    return 1 / SAME_SCALE < least <= most < SAME_SCALE


def _ratios(own: Normaliser, other: Normaliser) -> tuple[float, float]:
    ratio = own.std / other.std.to(own.std)
    return ratio.min().item(), ratio.max().item()


def check_reward(generator: Generator, reward: Reward, *, noisy: bool) -> None:
    """Refuse a reward of another skeleton or VAE, and warn where noise does not convert as clean states do.

    Args:
        generator: the generator.
        reward: the reward.
        noisy: whether the reward reads states that are not clean.

    Raises:
        FeatureSpecError: the reward cannot read what the generator makes.
    """
    require_same_skeleton("the reward", reward.skeleton, "the generator", generator.skeleton, _REMEDY)
    own, wanted = generator.latents, reward.latents
    if wanted is None:
        if own is None and noisy:
            _warn_of_scales(generator.normaliser, reward.normaliser, "motions")
        return
    if own is None or own.fingerprint() != wanted.fingerprint():
        found = "works on motions" if own is None else f"has the VAE {own.fingerprint()}"
        raise FeatureSpecError(
            f"reward model reads latents of the VAE {wanted.fingerprint()}, but the generator {found}; train "
            "the reward on the generator's VAE, or use one of space motion"
        )
    if noisy:
        _warn_of_scales(own.statistics, wanted.statistics, "latents")


def _warn_of_scales(own: Normaliser, other: Normaliser, what: str) -> None:
    if not same_scale(own, other):
        logger.warning(
            "the generator's %s have %.2f to %.2f times the scale of the reward's: noise does not convert as clean "
            "ones do, so that a noisy one has another level for the reward; use location x0, or train both in one "
            "normalisation",
            what,
            *_ratios(own, other),
        )


def state_reward(generator: Generator, reward: Reward, prepared: BatchReward, lengths: Tensor) -> StateReward:
    """The reward of a batch as a function of the generator's states.

    Args:
        generator: the generator.
        reward: the reward; checked, see `check_reward`.
        prepared: what it made of the batch.
        lengths: [B] frames.
    """
    normaliser, latents = reward.normaliser, reward.latents

    def evaluate(state: Tensor, alpha_bar: float) -> Tensor:
        if latents is None or generator.latents is None:
            seen = generator.to_motion(state, alpha_bar, lengths, normaliser)
        else:
            seen = convert_normalisation(state, alpha_bar, generator.latents.statistics, latents.statistics)
        return prepared(seen, lengths, alpha_bar)

    return evaluate
