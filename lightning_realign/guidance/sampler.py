"""Reward-guided sampling with any generator (Algorithm 2 of arXiv 2511.19217)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_realign.diffusion.noise import SampleNoise, check_batch, prompt_ids
from lightning_realign.diffusion.steps import BaseWalk, make_walk
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import Generator, LoadOptions
from lightning_realign.rewards.compatibility import StateReward, check_reward, state_reward
from lightning_realign.rewards.reward import (
    Reward,
    limit_norm,
    require_differentiation,
    reward_gradient,
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
class Look:
    """States before a step and what the network says of them.

    x, output: [B, ...]. gradient, rewards: [B, ...] and [B] of the location `x0_through`; None at any other.
    """

    x: Tensor
    output: Tensor
    gradient: Tensor | None = None
    rewards: Tensor | None = None


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


class RewardGuidedSampler:
    """One sampler and one guidance for every generator.

    The noise of a sample comes from (seed, sample id, replication) alone, so the same prompt and seed give the same
    motion in any batch, order or rank. Without reward (mu = eta = 0) and time travel it is the generator's own
    sampling, bit for bit.

    Args:
        generator: the generator, in eval mode.
        sampling: steps, scheduler and seed; its `cfg_scale` is a setting of the generator when it is loaded.
        guidance: strength and kind of the guidance.
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
        self.guidance = GuidanceConfig() if guidance is None else guidance
        self.reward = reward
        self.seed = sampling.seed
        recipe = LoadOptions(sampling).recipe(generator.recipe)
        self._walk = make_walk(generator.scheduler, recipe.scheduler, recipe.steps, sampling.ddim_eta, recipe.timesteps)
        self._guided = self.guidance.guided_steps(recipe.steps)
        self._travels = (TravelConfig() if travel is None else travel).travels(recipe.steps)
        self._check()

    def _check(self) -> None:
        guidance = self.guidance
        if not guidance.active:
            return
        if self.reward is None:
            raise ConfigError(f"guidance {guidance.weights} needs a reward model; give one, or set all of it to 0")
        check_reward(self.generator, self.reward, noisy=guidance.location in ("x_t", "x_prev"))
        if not any(self._guided):
            raise ConfigError(
                f"guidance window start={guidance.start}, stop={guidance.stop} holds none of the "
                f"{len(self._guided)} steps; widen it, or take more steps"
            )
        if guidance.scale == "posterior" and not any(self._walk.sigma):
            raise ConfigError(
                "guidance scale='posterior' multiplies by sigma_t^2, which is 0 throughout this sampler (DDIM with "
                "eta 0, or one step of LCM); use scale='score', scheduler='ddpm', ddim_eta above 0, or more LCM steps"
            )

    def sample(
        self,
        texts: Sequence[str],
        lengths: Tensor,
        ids: Sequence[str] | None = None,
        replication: int = 0,
        references: Tensor | None = None,
        callback: StepCallback | None = None,
    ) -> GeneratedMotions:
        """Generate B motions.

        Args:
            texts: B captions.
            lengths: [B] lengths in frames.
            ids: B sample ids, the source of the noise; None makes them of text, length and occurrence.
            replication: number of the replication: other noise for the same sample.
            references: [B, W] latents of the retrieved motions x^c; needed where eta is not 0.
            callback: told of every step.

        Raises:
            ConfigError: inputs that do not fit together, or guidance inside torch's inference mode.
        """
        result = self.sample_states(texts, lengths, ids, replication, references, callback)
        lengths = lengths.to(self.generator.device)
        with torch.no_grad():
            features = self.generator.features(result.states, lengths)
        return GeneratedMotions(features, lengths, result.timesteps, result.rewards)

    @torch.no_grad()
    def sample_states(
        self,
        texts: Sequence[str],
        lengths: Tensor,
        ids: Sequence[str] | None = None,
        replication: int = 0,
        references: Tensor | None = None,
        callback: StepCallback | None = None,
    ) -> SampledStates:
        """As `sample`, up to the generator's clean states, not yet turned into features."""
        noise = self.noise(texts, lengths, ids, replication)
        batch = self.prepare(texts, lengths, references)
        x, history = noise.draw(), []
        for index, timestep in enumerate(self._steps.timesteps):
            moved = self.advance(batch, index, self.look(batch, index, x), noise)
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

    def noise(self, texts: Sequence[str], lengths: Tensor, ids: Sequence[str] | None, replication: int) -> SampleNoise:
        """The noise of a batch, once it is known to be one.

        Raises:
            ConfigError: inputs that do not fit together.
        """
        frames = check_batch(texts, lengths, ids)
        return SampleNoise(
            self.seed,
            ids if ids is not None else prompt_ids(texts, frames),
            replication,
            [self.generator.noise_shape(length) for length in frames],
            device=self.generator.device,
            dtype=self.generator.dtype,
        )

    def prepare(self, texts: Sequence[str], lengths: Tensor, references: Tensor | None) -> SampledBatch:
        """All that does not change from step to step.

        Raises:
            ConfigError: guidance inside torch's inference mode.
        """
        lengths, reward = lengths.to(self.generator.device), None
        if self.reward is not None and self.guidance.active:
            require_differentiation()
            prepared = self.reward.prepare(texts, references, mu=self.guidance.mu, eta=self.guidance.eta)
            reward = state_reward(self.generator, self.reward, prepared, lengths)
        return SampledBatch(self.generator.condition(texts), lengths, reward)

    def look(self, batch: SampledBatch, index: int, x: Tensor) -> Look:
        """Evaluate the network before step `index`, and differentiate through it where the location asks for that.

        Raises:
            ConfigError: this is asked for, but the generator's output is not differentiable.
        """
        timestep, reward = self._walk.timesteps[index], batch.reward
        if reward is None or not self._guided[index] or self.guidance.location != "x0_through":
            return Look(x, self.generator.denoise(x, timestep, batch.condition, batch.lengths))
        outputs = []

        def through(state: Tensor) -> Tensor:
            outputs.append(self.generator.denoise(state, timestep, batch.condition, batch.lengths))
            if not outputs[0].requires_grad:
                raise ConfigError(
                    "guidance location='x0_through': this generator's network cannot be differentiated; use location x0"
                )
            return reward(self._steps.predicted(index, outputs[0], state), 1.0)

        gradient, rewards = reward_gradient(through, x)
        return Look(x, outputs[0].detach(), gradient, rewards)

    def advance(self, batch: SampledBatch, index: int, look: Look, noise: SampleNoise) -> Moved:
        """Step `index` from the states of `look`, and as often again as time travel says."""
        moved = self._move(batch, index, look, noise)
        for _ in range(self._travels[index]):
            x = self._steps.undo(index, moved.state, noise.draw())
            again = self._move(batch, index, self.look(batch, index, x), noise)
            moved = Moved(again.state, again.rewards, moved.log_ratio + again.log_ratio)
        return moved

    def _move(self, batch: SampledBatch, index: int, look: Look, noise: SampleNoise) -> Moved:
        fresh = noise.draw() if self._steps.sigma[index] > 0 else None
        if batch.reward is not None and self._guided[index]:
            return self._guided_step(index, look, fresh, batch.reward)
        nothing = look.x.new_full((len(look.x),), float("nan"))
        return Moved(self._steps.step(index, look.output, look.x, fresh).prev, nothing, torch.zeros_like(nothing))

    def _guided_step(self, index: int, look: Look, noise: Tensor | None, reward: StateReward) -> Moved:
        """One guided step."""
        walk, guidance, x, output = self._walk, self.guidance, look.x, look.output
        plain = walk.step(index, output, x, noise)
        if look.gradient is not None and look.rewards is not None:
            gradient, rewards = look.gradient, look.rewards
        else:
            at, level = {
                "x_t": (x, steps.alpha_bar[index]),
                "x_prev": (plain.prev, steps.alpha_bar_next[index]),
                "x0": (plain.x0, 1.0),
            }[guidance.location]
            gradient, rewards = reward_gradient(lambda state: reward(state, level), at)
        gradient = limit_norm(gradient, guidance.max_norm)
        if guidance.scale in ("score", "moment"):
            if guidance.scale == "moment":
                # The gradient with regard to x_t, were x0_hat = sqrt(alpha_bar_t) x_t: data of unit variance.
                gradient = math.sqrt(steps.alpha_bar[index]) * gradient
            prev = steps.step(index, steps.guide_output(index, output, gradient), x, noise).prev
        else:
            weight = walk.sigma[index] ** 2 if guidance.scale == "posterior" else 1.0
            prev = plain.prev + weight * gradient
        return Moved(prev, rewards, _log_ratio(prev - plain.prev, noise, steps.sigma[index]))


def _log_ratio(shift: Tensor, noise: Tensor | None, sigma: float) -> Tensor:
    """N(x; m, sigma^2) over N(x; m + shift, sigma^2) at x = m + shift + sigma noise, as logs [B]; NaN at sigma = 0."""
    if noise is None or sigma == 0:
        return shift.new_full((len(shift),), float("nan"))
    moved = shift.flatten(1) / sigma
    return -(noise.flatten(1) * moved).sum(dim=1) - moved.square().sum(dim=1) / 2
