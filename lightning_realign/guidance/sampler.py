"""Reward-guided sampling with any generator (Algorithm 2 of arXiv 2511.19217)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_realign.diffusion.schedule import SchedulerName
from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.generators.base import Generator, LoadOptions, convert_normalisation
from lightning_realign.guidance.config import GuidanceConfig
from lightning_realign.guidance.noise import SampleNoise, prompt_ids
from lightning_realign.guidance.reward import (
    Reward,
    limit_norm,
    require_differentiation,
    reward_gradient,
)
from lightning_realign.guidance.stepping import make_walk
from lightning_realign.motion import skeleton_label
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import GeneratedMotions

logger = logging.getLogger(__name__)

# A larger ratio of scales changes the noise level of a state noticeably.
SAME_SCALE = 1.1

StateReward = Callable[[Tensor, float], Tensor]

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


class RewardGuidedSampler:
    """One sampler and one guidance for every generator.

    The noise of a sample comes from (seed, sample id, replication) alone, so the same prompt and seed give the same
    motion in any batch, order or rank. Without reward (mu = eta = 0) it is the generator's own sampling, bit for bit.

    Args:
        generator: the generator, in eval mode.
        steps: number of sampling steps; None for the generator's own recipe, as for the scheduler.
        scheduler: `ddim`, `ddpm`, or `lcm`.
        seed: seed of all noise.
        config: strength and kind of the guidance.
        reward: the reward; None only where config.mu and config.eta are 0.
        ddim_eta: stochasticity of DDIM.

    Raises:
        ConfigError: settings that contradict each other.
        FeatureSpecError: generator and reward are of different skeletons.
    """

    def __init__(
        self,
        generator: Generator,
        steps: int | None = None,
        scheduler: SchedulerName | None = None,
        seed: int = 1234,
        config: GuidanceConfig | None = None,
        reward: Reward | None = None,
        ddim_eta: float = 0.0,
    ) -> None:
        self.generator = generator
        self.config = config if config is not None else GuidanceConfig()
        self.reward = reward
        self.seed = seed
        recipe = LoadOptions(scheduler, steps).recipe(generator.recipe)
        self._walk = make_walk(generator.scheduler, recipe.scheduler, recipe.steps, ddim_eta, recipe.timesteps)
        self._guided = self.config.guided_steps(recipe.steps)
        self._check()

    def _check(self) -> None:
        config = self.config
        if not config.active:
            return
        if self.reward is None:
            raise ConfigError(
                f"guidance mu={config.mu}, eta={config.eta} needs a reward model; give one, or set both to 0"
            )
        if self.reward.skeleton != self.generator.skeleton:
            raise FeatureSpecError(
                f"reward model of skeleton {skeleton_label(self.reward.skeleton)!r} cannot guide a generator of "
                f"skeleton {skeleton_label(self.generator.skeleton)!r}; use checkpoints of one skeleton"
            )
        self._check_scales(self.reward)
        if not any(self._guided):
            raise ConfigError(
                f"guidance window start={config.start}, stop={config.stop} holds none of the "
                f"{len(self._guided)} steps; widen it, or take more steps"
            )
        if config.scale == "posterior" and not any(self._walk.sigma):
            raise ConfigError(
                "guidance scale='posterior' multiplies by sigma_t^2, which is 0 in this sampler (DDIM with eta 0); "
                "use scale='score', or scheduler='ddpm', or ddim_eta above 0"
            )

    def _check_scales(self, reward: Reward) -> None:
        """Refuse a reward of another VAE's latents, and warn where noise does not convert as clean states do."""
        own, wanted = self.generator.latents, reward.latents
        if wanted is not None:
            if own is None or own.fingerprint() != wanted.fingerprint():
                found = "works on motions" if own is None else f"has the VAE {own.fingerprint()}"
                raise FeatureSpecError(
                    f"reward model reads latents of the VAE {wanted.fingerprint()}, but the generator {found}; train "
                    "the reward on the generator's VAE, or use one of space motion"
                )
            self._compare_scales(own.statistics, wanted.statistics, "latents")
        elif own is None:
            self._compare_scales(self.generator.normaliser, reward.normaliser, "motions")

    def _compare_scales(self, own: Normaliser, other: Normaliser, what: str) -> None:
        ratio = own.std / other.std.to(own.std)
        least, most = ratio.min().item(), ratio.max().item()
        if self.config.location != "x0" and not 1 / SAME_SCALE < least <= most < SAME_SCALE:
            logger.warning(
                "the generator's %s have %.2f to %.2f times the scale of the reward's: noise does not convert as clean "
                "ones do, so that a noisy one has another level for the reward; use location x0, or train both in one "
                "normalisation",
                what,
                least,
                most,
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
        frames = check_batch(texts, lengths, ids)
        generator, walk = self.generator, self._walk
        noise = SampleNoise(
            self.seed,
            ids if ids is not None else prompt_ids(texts, frames),
            replication,
            [generator.noise_shape(length) for length in frames],
            device=generator.device,
            dtype=generator.dtype,
        )
        lengths = lengths.to(generator.device)
        reward = self._prepare(texts, references, lengths)
        x, cond, history = noise.draw(), generator.condition(texts), []
        for index, timestep in enumerate(walk.timesteps):
            output = generator.denoise(x, timestep, cond, lengths)
            fresh = noise.draw() if walk.sigma[index] > 0 else None
            rewards = x.new_full((len(x),), float("nan"))
            if reward is not None and self._guided[index]:
                x, rewards = self._guided_step(index, output, x, fresh, reward)
            else:
                x = walk.step(index, output, x, fresh).prev
            history.append(rewards)
            if callback is not None:
                callback(timestep, rewards)
        return SampledStates(x, walk.timestep_tensor(), torch.stack(history, dim=1))

    def _prepare(self, texts: Sequence[str], references: Tensor | None, lengths: Tensor) -> StateReward | None:
        """The rewards [B] of the generator's state at a signal level; None without guidance."""
        if self.reward is None or not self.config.active:
            return None
        require_differentiation()
        generator, normaliser, latents = self.generator, self.reward.normaliser, self.reward.latents
        reward = self.reward.prepare(texts, references, mu=self.config.mu, eta=self.config.eta)

        def evaluate(state: Tensor, alpha_bar: float) -> Tensor:
            if latents is None or generator.latents is None:
                seen = generator.to_motion(state, alpha_bar, lengths, normaliser)
            else:
                seen = convert_normalisation(state, alpha_bar, generator.latents.statistics, latents.statistics)
            return reward(seen, lengths, alpha_bar)

        return evaluate

    def _guided_step(
        self, index: int, output: Tensor, x: Tensor, noise: Tensor | None, reward: StateReward
    ) -> tuple[Tensor, Tensor]:
        """One guided step from x_t: the next state, and the rewards [B]."""
        walk, config = self._walk, self.config
        plain = walk.step(index, output, x, noise)
        at, level = {
            "x_t": (x, walk.alpha_bar[index]),
            "x_prev": (plain.prev, walk.alpha_bar_next[index]),
            "x0": (plain.x0, 1.0),
        }[config.location]
        gradient, rewards = reward_gradient(lambda state: reward(state, level), at)
        gradient = limit_norm(gradient, config.max_norm)
        if config.scale == "score":
            return walk.step(index, walk.guide_output(index, output, gradient), x, noise).prev, rewards
        weight = walk.sigma[index] ** 2 if config.scale == "posterior" else 1.0
        return plain.prev + weight * gradient, rewards


def check_batch(texts: Sequence[str], lengths: Tensor, ids: Sequence[str] | None) -> list[int]:
    """The lengths as integers, once every input is of one size."""
    frames = [int(length) for length in lengths.tolist()]
    if not frames or len(texts) != len(frames) or (ids is not None and len(ids) != len(frames)):
        given = "none" if ids is None else str(len(ids))
        raise ConfigError(
            f"sampler got {len(texts)} texts, {len(frames)} lengths, {given} ids; give one of each per motion"
        )
    if min(frames) < 1:
        raise ConfigError(f"sampler lengths: {min(frames)} frames asked for; give at least 1")
    return frames
