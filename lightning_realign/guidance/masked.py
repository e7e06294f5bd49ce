"""The sampler of masked generators: their own loop makes the motions, and a reward guides what they denoise in it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_realign.diffusion.noise import sample_generator
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import LatentGuide, MaskedGenerator
from lightning_realign.guidance.prompts import Prompts, Sampler
from lightning_realign.guidance.scales import parts_of
from lightning_realign.rewards.reward import Reward, limit_norm, require_differentiation, reward_gradient
from lightning_realign.settings.guidance import FilledGuidance, GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import TravelConfig
from lightning_realign.types import GeneratedMotions, zero_padding


class MaskedSampler(Sampler[GeneratedMotions]):
    """Samples motions from a masked generator. The noise depends on seed, id and replication alone.

    The reward reads the motion that the predicted clean latents of all codes decode to. Its gradient moves the score of
    the latents that are being denoised, so `x0` is the only location and `score` the only scale. The window of guidance
    applies to each denoising.

    Args:
        generator: the generator.
        sampling: the seed; steps, scheduler and cfg_scale are settings of the generator when it is loaded.
        guidance: strength and window of the guidance; what is open has its default, and mu is 0.
        reward: the reward, with the physical ones of `guidance`; None only where that is not active.
        travel: must be none.

    Raises:
        ConfigError: guidance that the generator cannot have.
    """

    def __init__(
        self,
        generator: MaskedGenerator,
        sampling: SamplingConfig | None = None,
        guidance: GuidanceConfig | None = None,
        reward: Reward | None = None,
        travel: TravelConfig | None = None,
    ) -> None:
        sampling = SamplingConfig() if sampling is None else sampling
        self.generator = generator
        self.seed = sampling.seed
        self.guidance = (GuidanceConfig() if guidance is None else guidance).filled()
        self.reward = reward
        if sampling.ddim_eta != 0:
            raise ConfigError(
                f"sampling ddim_eta={sampling.ddim_eta}: this generator does not sample with DDIM; leave it out"
            )
        if travel is not None and travel.times:
            raise ConfigError(
                f"travel times={travel.times}: this generator has a sampling loop of its own; set times to 0"
            )
        parts_of(self.guidance)
        if self.guidance.active:
            _check_guidance(generator, self.guidance, reward)
        self._guided = self.guidance.guided_steps(generator.denoising_steps)

    @torch.no_grad()
    def make(self, prompts: Prompts) -> GeneratedMotions:
        """Generate the motions of B prompts; they have no timesteps."""
        noise = [sample_generator(self.seed, name, prompts.replication) for name in prompts.names]
        lengths = prompts.lengths.to(self.generator.device)
        features = self.generator.generate(prompts.texts, lengths, noise, self._guide(prompts, lengths))
        nothing = features.new_empty(len(lengths), 0)
        return GeneratedMotions(features, lengths, torch.empty(0, dtype=torch.long), nothing)

    def _guide(self, prompts: Prompts, lengths: Tensor) -> LatentGuide | None:
        """The gradient of the reward of a batch; None without guidance."""
        if self.reward is None or not self.guidance.active:
            return None
        require_differentiation()
        normaliser = self.reward.normaliser
        reward = self.reward.prepare(prompts.texts, prompts.references, mu=self.guidance.mu, eta=self.guidance.eta)

        def guide(step: int, clean: Tensor, features_of: Callable[[Tensor], Tensor]) -> Tensor | None:
            if not self._guided[step]:
                return None

            def evaluate(latents: Tensor) -> Tensor:
                seen = zero_padding(normaliser.normalise(features_of(latents)), lengths)
                return reward(seen, lengths, 1.0)

            gradient, _ = reward_gradient(evaluate, clean)
            return limit_norm(gradient, self.guidance.max_norm)

        return guide


def _check_guidance(generator: MaskedGenerator, guidance: FilledGuidance, reward: Reward | None) -> None:
    settings = f"guidance {guidance.weights}"
    if not generator.denoising_steps:
        raise ConfigError(
            f"{settings}: this generator has no denoising to guide; set all of it to 0, and candidates above 1 to keep "
            "the best of so many motions"
        )
    if reward is None:
        raise ConfigError(f"{settings} needs a reward model; give one, or set all of it to 0")
    if (guidance.scale, guidance.location) != ("score", "x0"):
        raise ConfigError(
            f"guidance scale={guidance.scale!r}, location={guidance.location!r}: this generator is guided at the clean "
            "motion that it predicts; set scale to score and location to x0"
        )
    if reward.latents is not None:
        raise ConfigError("this generator is guided by its motions; give a reward that reads motions, not latents")
    if not any(guidance.guided_steps(generator.denoising_steps)):
        raise ConfigError(
            f"guidance window start={guidance.start}, stop={guidance.stop} holds none of the "
            f"{generator.denoising_steps} steps; widen it, or take more steps"
        )
