"""Reward-guided sampling with any generator (Algorithm 2 of arXiv 2511.19217)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_realign.diffusion.noise import SampleNoise
from lightning_realign.diffusion.steps import Steps, make_steps
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import Generator, LoadOptions
from lightning_realign.guidance.locations import Evaluation, Location
from lightning_realign.guidance.prompts import Prompts, Sampler
from lightning_realign.guidance.scales import GuidedStep, parts_of
from lightning_realign.rewards.compatibility import StateReward, check_reward, state_reward
from lightning_realign.rewards.reward import (
    Reward,
    limit_norm,
    require_differentiation,
)
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import TravelConfig
from lightning_realign.types import GeneratedMotions

StepCallback = Callable[[int, Tensor], None]
"""Called after each step with its timestep and the rewards [B] (NaN where the step was not guided)."""


@dataclass(frozen=True)
class SampledStates:
    """Final states of B samples.

    states: [B, ...] clean states of the generator (latents, for a latent one). timesteps: [S]. rewards: [B, S] at the
    tensor that was differentiated, NaN at a step that was not guided.
    """

    states: Tensor
    timesteps: Tensor
    rewards: Tensor


@dataclass(frozen=True)
class SampledBatch:
    """What the steps of a batch need to know.

    condition: what the generator knows of the captions. lengths: [B]. reward: of its states; None without guidance.
    """

    condition: Any
    lengths: Tensor
    reward: StateReward | None


@dataclass(frozen=True)
class Moved:
    """States after a step.

    state: [B, ...]. rewards: [B] at the tensor that was differentiated, NaN where the step was not guided. log_ratio:
    [B] log-density of the transition under the generator's own law minus that under the guided one, from which it was
    drawn: 0 without guidance, NaN where the step adds no noise.
    """

    state: Tensor
    rewards: Tensor
    log_ratio: Tensor


class RewardGuidedSampler(Sampler[GeneratedMotions]):
    """One sampler and one guidance for every generator.

    The noise of a sample comes from (seed, sample id, replication) alone, so the same prompt and seed give the same
    motion in any batch, order or rank. Without reward (mu = eta = 0) and time travel it is the generator's own
    sampling, bit for bit.

    Args:
        generator: the generator, in eval mode.
        sampling: steps, scheduler and seed; its `cfg_scale` is a setting of the generator when it is loaded.
        guidance: strength and kind of the guidance; what is open has its default, and mu is 0.
        reward: the reward, with the physical ones of `guidance`; None only where that is not active.
        travel: the steps that are undone and done again.

    Raises:
        ConfigError: settings that contradict each other.
        FeatureSpecError: generator and reward are of different skeletons.
    """

    def __init__(
        self,
        generator: Generator,
        sampling: SamplingConfig | None = None,
        guidance: GuidanceConfig | None = None,
        reward: Reward | None = None,
        travel: TravelConfig | None = None,
    ) -> None:
        sampling = SamplingConfig() if sampling is None else sampling
        self.generator = generator
        self.guidance = (GuidanceConfig() if guidance is None else guidance).filled()
        self.reward = reward
        self.seed = sampling.seed
        recipe = LoadOptions(sampling).recipe(generator.recipe)
        self._steps = make_steps(
            generator.scheduler, recipe.scheduler, recipe.steps, sampling.ddim_eta, recipe.timesteps
        )
        self._guided = self.guidance.guided_steps(recipe.steps)
        self._travels = (TravelConfig() if travel is None else travel).travels(recipe.steps)
        self._scale, self._location = parts_of(self.guidance)
        if self.guidance.active:
            self._check()

    def _check(self) -> None:
        guidance = self.guidance
        self._scale.check_steps(self._steps)
        if self.reward is None:
            raise ConfigError(f"guidance {guidance.weights} needs a reward model; give one, or set all of it to 0")
        check_reward(self.generator, self.reward, noisy=self._location.noisy)
        if not any(self._guided):
            raise ConfigError(
                f"guidance window start={guidance.start}, stop={guidance.stop} holds none of the "
                f"{len(self._guided)} steps; widen it, or take more steps"
            )

    def make(self, prompts: Prompts) -> GeneratedMotions:
        """Generate the motions of B prompts."""
        result, lengths = self.sample_states(prompts), prompts.lengths.to(self.generator.device)
        with torch.no_grad():
            features = self.generator.features(result.states, lengths)
        return GeneratedMotions(features, lengths, result.timesteps, result.rewards)

    @torch.no_grad()
    def sample_states(self, prompts: Prompts, callback: StepCallback | None = None) -> SampledStates:
        """As `make`, up to the generator's clean states, not yet turned into features.

        Args:
            prompts: of B motions.
            callback: called after every step.

        Raises:
            ConfigError: guidance inside torch's inference mode.
        """
        noise, batch = self.noise(prompts), self.prepare(prompts)
        x, history = noise.draw(), []
        for index, timestep in enumerate(self._steps.timesteps):
            moved = self.advance(batch, index, self.evaluate(batch, index, x), noise)
            x = moved.state
            history.append(moved.rewards)
            if callback is not None:
                callback(timestep, moved.rewards)
        return SampledStates(x, self._steps.timestep_tensor(), torch.stack(history, dim=1))

    @property
    def steps(self) -> Steps:
        """The steps."""
        return self._steps

    @property
    def guided(self) -> tuple[bool, ...]:
        """Whether each step is guided."""
        return self._guided

    def noise(self, prompts: Prompts) -> SampleNoise:
        """The noise of a batch."""
        return SampleNoise(
            self.seed,
            prompts.names,
            prompts.replication,
            [self.generator.noise_shape(length) for length in prompts.frames],
            device=self.generator.device,
            dtype=self.generator.dtype,
        )

    def prepare(self, prompts: Prompts) -> SampledBatch:
        """All that does not change from step to step.

        Raises:
            ConfigError: guidance inside torch's inference mode.
        """
        lengths, reward = prompts.lengths.to(self.generator.device), None
        if self.reward is not None and self.guidance.active:
            require_differentiation()
            prepared = self.reward.prepare(
                prompts.texts, prompts.references, mu=self.guidance.mu, eta=self.guidance.eta
            )
            reward = state_reward(self.generator, self.reward, prepared, lengths)
        return SampledBatch(self.generator.condition(prompts.texts), lengths, reward)

    @property
    def location(self) -> Location:
        """Where the gradient is taken."""
        return self._location

    def evaluate(self, batch: SampledBatch, index: int, x: Tensor) -> Evaluation:
        """Evaluate the network before step `index`, and differentiate through it where the location does so.

        Raises:
            ConfigError: the location does so, but the generator's output is not differentiable.
        """
        timestep, reward = self._steps.timesteps[index], batch.reward

        def denoise(state: Tensor) -> Tensor:
            return self.generator.denoise(state, timestep, batch.condition, batch.lengths)

        if reward is None or not self._guided[index]:
            return Evaluation(x, denoise(x))
        return self._location.evaluate(self._steps, index, x, denoise, reward)

    def advance(self, batch: SampledBatch, index: int, evaluation: Evaluation, noise: SampleNoise) -> Moved:
        """Do step `index` from the evaluated states, and do it again as often as time travel says."""
        moved = self._move(batch, index, evaluation, noise)
        for _ in range(self._travels[index]):
            x = self._steps.undo(index, moved.state, noise.draw())
            again = self._move(batch, index, self.evaluate(batch, index, x), noise)
            moved = Moved(again.state, again.rewards, moved.log_ratio + again.log_ratio)
        return moved

    def _move(self, batch: SampledBatch, index: int, evaluation: Evaluation, noise: SampleNoise) -> Moved:
        fresh = noise.draw() if self._steps.sigma[index] > 0 else None
        unguided = self._steps.step(index, evaluation.output, evaluation.x, fresh)
        if batch.reward is not None and self._guided[index]:
            step = GuidedStep(self._steps, index, evaluation.x, evaluation.output, unguided, fresh)
            return self._guide(step, evaluation, batch.reward)
        nothing = unguided.prev.new_full((len(unguided.prev),), float("nan"))
        return Moved(unguided.prev, nothing, torch.zeros_like(nothing))

    def _guide(self, step: GuidedStep, evaluation: Evaluation, reward: StateReward) -> Moved:
        gradient, rewards = self._location.gradient(self._steps, step.index, evaluation, step.unguided, reward)
        guided = self._scale.guide(step, limit_norm(gradient, self.guidance.max_norm))
        ratio = _log_ratio(guided - step.unguided.prev, step.noise, self._steps.sigma[step.index])
        return Moved(guided, rewards, ratio)


def _log_ratio(shift: Tensor, noise: Tensor | None, sigma: float) -> Tensor:
    """N(x; m, sigma^2) over N(x; m + shift, sigma^2) at x = m + shift + sigma noise, as logs [B]; NaN at sigma = 0."""
    if noise is None or sigma == 0:
        return shift.new_full((len(shift),), float("nan"))
    moved = shift.flatten(1) / sigma
    return -(noise.flatten(1) * moved).sum(dim=1) - moved.square().sum(dim=1) / 2
