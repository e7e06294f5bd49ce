"""Several particles for each motion, weighed and resampled by the reward on the way (Feynman-Kac steering).

Singhal et al., "A General Framework for Inference-time Scaling and Steering of Diffusion Models" (arXiv 2501.06848);
with a guided proposal it is the twisted diffusion sampler (Wu et al., arXiv 2306.17775).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_realign.diffusion.noise import sample_generator
from lightning_realign.errors import ConfigError
from lightning_realign.guidance.locations import Evaluation
from lightning_realign.guidance.particle_weights import Cloud
from lightning_realign.guidance.prompts import Prompts, Sampler
from lightning_realign.guidance.sampler import RewardGuidedSampler
from lightning_realign.rewards.compatibility import StateReward, check_reward, state_reward
from lightning_realign.rewards.reward import Reward
from lightning_realign.settings.search import ParticleConfig
from lightning_realign.settings.window import steps_inside
from lightning_realign.types import GeneratedMotions

# Replication numbers of further particles lie beyond those of any run, and of any run's best-of-N candidates.
_STRIDE = 2**48


@dataclass(frozen=True)
class SteeredStates:
    """All particles of B motions.

    states: [B, K, ...] clean states. rewards: [B, K] their R_0. weights: [B, K] summing to 1; sum_k weights_k f(x_k)
    tends to the mean of f under the law aimed at as K grows. chosen: [B] the particle that becomes the motion.
    effective: [B, S] effective number of particles before resampling, NaN at steps without. history: [B, S] the R_t
    of the chosen one and those it came from, NaN at steps without weighing.
    """

    states: Tensor
    rewards: Tensor
    weights: Tensor
    chosen: Tensor
    effective: Tensor
    history: Tensor


class ParticleSteering(Sampler[GeneratedMotions]):
    """Steers a sampler, guided or not, by weighing and resampling K particles for each motion.

    All that is random is of a motion's own seed, id and replication. Particle 0 has the noise of the sampler itself, so
    that K = 1 is that, bit for bit. The network is evaluated K times as often.

    With a guided sampler the weights contain the density of the generator's own transition over that of the guided one,
    so that the law aimed at is the same: guidance only brings the particles there. That ratio exists where the
    transition is Gaussian and its shift does not depend on its own noise.

    Args:
        sampler: makes the particles.
        reward: weighs them; may be another one than the sampler's.
        config: how.

    Raises:
        ConfigError: guidance whose density ratio is not known, or no step to weigh at.
        FeatureSpecError: the reward cannot read what the generator makes.
    """

    def __init__(self, sampler: RewardGuidedSampler, reward: Reward, config: ParticleConfig) -> None:
        self.sampler = sampler
        self.reward = reward
        self.config = config
        count = len(sampler.steps.timesteps)
        self._weighed = steps_inside(count, config.start, config.stop, config.every)
        check_reward(sampler.generator, reward, noisy=config.location == "x_t")
        if not any(self._weighed):
            raise ConfigError(
                f"particles window start={config.start}, stop={config.stop} holds none of the {count} steps; widen it"
            )
        if config.count > 1:
            _check_guidance(sampler)

    def make(self, prompts: Prompts) -> GeneratedMotions:
        """Generate the motions of B prompts; their rewards are those that weigh."""
        result, lengths = self.sample_states(prompts), prompts.lengths.to(self.sampler.generator.device)
        rows = torch.arange(len(lengths), device=result.states.device)
        with torch.no_grad():
            features = self.sampler.generator.features(
                result.states[rows, result.chosen.to(result.states.device)], lengths
            )
        return GeneratedMotions(features, lengths, self.sampler.steps.timestep_tensor(), result.history)

    @torch.no_grad()
    def sample_states(self, prompts: Prompts) -> SteeredStates:
        """As `make`, but all particles, as the generator's clean states."""
        sampler, count, first = self.sampler, self.config.count, prompts.replication
        noises = [sampler.noise(replace(prompts, replication=first + k * _STRIDE)) for k in range(count)]
        # No run has a negative replication, so that resampling never shares a stream with the noise.
        random = [sample_generator(sampler.seed, name, -1 - first) for name in prompts.names]
        cloud = Cloud(count, random, self.config.potential, self.config.threshold)
        batch, reward = sampler.prepare(prompts), self._prepare(prompts)
        states = [noise.draw() for noise in noises]
        for index, weighed in enumerate(self._weighed):
            evaluations = [sampler.evaluate(batch, index, state) for state in states]
            if weighed:
                cloud.record(torch.stack([self._reward_at(reward, index, one) for one in evaluations]))
                evaluations = _taken(evaluations, cloud.resample())
            else:
                cloud.record(None)
            pairs = zip(evaluations, noises, strict=True)
            moved = [sampler.advance(batch, index, evaluation, noise) for evaluation, noise in pairs]
            states = [after.state for after in moved]
            cloud.multiply(torch.stack([after.log_ratio for after in moved]))
        rewards = cloud.finish(torch.stack([reward(state, 1.0) for state in states]))
        weights = cloud.weights()
        chosen = rewards.argmax(dim=0) if self.config.select == "reward" else cloud.draw(weights)
        history, effective = cloud.history(chosen[None])[:, 0], cloud.effective()
        return SteeredStates(torch.stack(states, dim=1), rewards.T, weights.T, chosen, effective.T, history.T)

    def _prepare(self, prompts: Prompts) -> StateReward:
        generator, strength = self.sampler.generator, 1 / self.config.temperature
        prepared = self.reward.prepare(prompts.texts, prompts.references, mu=strength, eta=strength * self.config.eta)
        return state_reward(generator, self.reward, prepared, prompts.lengths.to(generator.device))

    def _reward_at(self, reward: StateReward, index: int, evaluation: Evaluation) -> Tensor:
        steps = self.sampler.steps
        if self.config.location == "x_t":
            return reward(evaluation.x, steps.alpha_bar[index])
        return reward(steps.predicted(index, evaluation.output, evaluation.x), 1.0)


def _taken(evaluations: Sequence[Evaluation], places: Tensor | None) -> list[Evaluation]:
    """Each motion's particles from their places [K, B]; None leaves all where they are."""
    if places is None:
        return list(evaluations)
    places = places.to(evaluations[0].x.device)
    rows = torch.arange(places.shape[1], device=places.device)

    def take(parts: Sequence[Tensor | None]) -> list[Tensor] | list[None]:
        present = [part for part in parts if part is not None]
        if not present:
            return [None] * len(parts)
        return list(torch.stack(present)[places, rows].unbind())

    fields = [
        take([getattr(evaluation, name) for evaluation in evaluations])
        for name in ("x", "output", "gradient", "rewards")
    ]
    return [Evaluation(*parts) for parts in zip(*fields, strict=True)]


def _check_guidance(sampler: RewardGuidedSampler) -> None:
    """Refuse guidance whose transitions have no density over the generator's own."""
    guidance, steps = sampler.guidance, sampler.steps
    if not guidance.active:
        return
    if sampler.location.follows_noise:
        raise ConfigError(
            f"particles with guidance location={guidance.location!r}: the gradient depends on the step's own noise, so "
            "that the weights are not known; use location x_t, x0 or x0_through"
        )
    guided = [index for index, inside in enumerate(sampler.guided) if inside]
    silent = [index for index in guided if steps.sigma[index] == 0]
    if silent == guided:
        raise ConfigError(
            "particles with guidance: no guided step adds noise, so that the weights are not known; use scheduler "
            f"ddpm, or ddim_eta above 0, or guide with nothing in place of {guidance.weights} (guidance: null, or "
            "--unguided)"
        )
    if silent:
        count = len(steps.timesteps)
        stop = math.ceil(10_000 * (count - silent[0]) / count) / 10_000
        raise ConfigError(
            f"particles with guidance stop={guidance.stop}: step {silent[0] + 1} of {count} adds no noise, so that its "
            f"weights are not known; set guidance stop to {stop}"
        )
