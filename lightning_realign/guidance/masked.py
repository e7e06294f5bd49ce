"""The sampler of masked generators: their own loop makes the motions, and a reward guides what they denoise in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_realign.diffusion.noise import check_batch, prompt_ids, sample_generator
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import LatentGuide, MaskedGenerator
from lightning_realign.rewards.reward import Reward, limit_norm, require_differentiation, reward_gradient
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.types import GeneratedMotions, zero_padding


class MaskedSampler:
    """Samples motions from a masked generator. The noise depends on seed, id and replication alone.

    The reward reads the motion that the predicted clean latents of all codes decode to. Its gradient moves the score of
    the latents that are being denoised, so `x0` is the only location and `score` the only scale. The window of guidance
    applies to each denoising.

    Args:
        generator: the generator.
        seed: seed of all noise.
        config: strength and window of the guidance.
        reward: the reward, with the physical ones of config; None only where config is not active.

    Raises:
        ConfigError: guidance that the generator cannot have.
    """

    def __init__(
        self,
        generator: MaskedGenerator,
        seed: int = 1234,
        config: GuidanceConfig | None = None,
        reward: Reward | None = None,
    ) -> None:
        self.generator = generator
        self.seed = seed
        self.config = config if config is not None else GuidanceConfig()
        self.reward = reward
        if self.config.travel:
            raise ConfigError(
                f"guidance travel={self.config.travel}: this generator has a sampling loop of its own; set travel to 0"
            )
        if self.config.active:
            _check_guidance(generator, self.config, reward)
        self._guided = self.config.guided_steps(generator.denoising_steps)

    @torch.no_grad()
    def sample(
        self,
        texts: Sequence[str],
        lengths: Tensor,
        ids: Sequence[str] | None = None,
        replication: int = 0,
        references: Tensor | None = None,
    ) -> GeneratedMotions:
        """Generate B motions; they have no timesteps.

        Args:
            texts: B captions.
            lengths: [B] lengths in frames.
            ids: B sample ids, the source of the noise; None makes them of text, length and occurrence.
            replication: number of the replication: other noise for the same sample.
            references: [B, W] latents of the retrieved motions x^c; needed where eta is not 0.

        Raises:
            ConfigError: inputs that do not fit together, or guidance inside torch's inference mode.
        """
        frames = check_batch(texts, lengths, ids)
        names = ids if ids is not None else prompt_ids(texts, frames)
        noise = [sample_generator(self.seed, name, replication) for name in names]
        lengths = lengths.to(self.generator.device)
        features = self.generator.generate(texts, lengths, noise, self._guide(texts, lengths, references))
        nothing = features.new_empty(len(frames), 0)
        return GeneratedMotions(features, lengths, torch.empty(0, dtype=torch.long), nothing)

    def _guide(self, texts: Sequence[str], lengths: Tensor, references: Tensor | None) -> LatentGuide | None:
        """The gradient of the reward of a batch; None without guidance."""
        if self.reward is None or not self.config.active:
            return None
        require_differentiation()
        normaliser = self.reward.normaliser
        reward = self.reward.prepare(texts, references, mu=self.config.mu, eta=self.config.eta)

        def guide(step: int, clean: Tensor, features_of: Callable[[Tensor], Tensor]) -> Tensor | None:
            if not self._guided[step]:
                return None

            def evaluate(latents: Tensor) -> Tensor:
                seen = zero_padding(normaliser.normalise(features_of(latents)), lengths)
                return reward(seen, lengths, 1.0)

            gradient, _ = reward_gradient(evaluate, clean)
            return limit_norm(gradient, self.config.max_norm)

        return guide


def _check_guidance(generator: MaskedGenerator, config: GuidanceConfig, reward: Reward | None) -> None:
    asked = f"guidance {config.asks}"
    if not generator.denoising_steps:
        raise ConfigError(
            f"{asked}: this generator has no denoising to guide; set all of it to 0, and candidates above 1 to keep "
            "the best of so many motions"
        )
    if reward is None:
        raise ConfigError(f"{asked} needs a reward model; give one, or set all of it to 0")
    if (config.scale, config.location) != ("score", "x0"):
        raise ConfigError(
            f"guidance scale={config.scale!r}, location={config.location!r}: this generator is guided at the clean "
            "motion that it predicts; set scale to score and location to x0"
        )
    if reward.latents is not None:
        raise ConfigError("this generator is guided by its motions; give a reward that reads motions, not latents")
    if not any(config.guided_steps(generator.denoising_steps)):
        raise ConfigError(
            f"guidance window start={config.start}, stop={config.stop} holds none of the {generator.denoising_steps} "
            "steps; widen it, or take more steps"
        )
