"""The models that come with the package, as a generator with its reward, and what they do not know."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lightning_realign.files.shipped_weights import SHIPPED_SET, manifest, unknown_words
from lightning_realign.settings.sources import GeneratorSource, RewardSource

SHIPPED_GENERATOR, SHIPPED_REWARD = f"{SHIPPED_SET}/generator", f"{SHIPPED_SET}/reward"

_logger = logging.getLogger(__name__)


def with_shipped(generator: GeneratorSource, reward: RewardSource | None) -> tuple[GeneratorSource, RewardSource]:
    """`synthetic` as the generator and, where no other reward is given, the reward that come with the package.

    Args:
        generator: where the generator's weights come from.
        reward: where the reward's weights come from; None for none.
    """
    source = RewardSource() if reward is None else reward
    if generator.path != SHIPPED_SET:
        return generator, source
    return GeneratorSource(SHIPPED_GENERATOR), source if source.paths else RewardSource(SHIPPED_REWARD)


def warn_of_unknown_words(generator: GeneratorSource, prompts: Sequence[str]) -> None:
    """Warn of prompts with words that the shipped generator never met, and say what it knows; nothing for others."""
    if generator.path != SHIPPED_GENERATOR:
        return
    found = dict.fromkeys(word for prompt in prompts for word in unknown_words(prompt))
    if found:
        words = ", ".join(map(repr, found))
        _logger.warning(
            "the weights that come with the package never met %s; they know %s: such a motion may not follow its text",
            words,
            manifest()["about"],
        )
