"""The noise of Algorithm 1 (ReAlign, arXiv 2511.19217), and everything random in one step of a reward's training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.noise import sample_generator
from lightning_realign.errors import ConfigError


@dataclass(frozen=True)
class RewardNoise:
    """The noise levels of a reward: t = 0 with probability omega, else uniform in {t_min..t_max}, both included.

    Args:
        schedule: noise schedule of the states.
        omega: probability that a motion stays clean (t = 0).
        t_min: lowest timestep of a noisy motion, at least 1.
        t_max: highest one, at most the schedule's number of steps.
        validation_timesteps: noise levels at which validation and test measure retrieval; 0 is clean.

    Raises:
        ConfigError: a setting out of range.
    """

    schedule: NoiseSchedule = field(default_factory=NoiseSchedule)
    omega: float = 0.5
    t_min: int = 1
    t_max: int = 1000
    validation_timesteps: Sequence[int] = (0, 100, 300, 500)

    def __post_init__(self) -> None:
        steps = self.schedule.steps
        if not 0.0 <= self.omega <= 1.0:
            raise ConfigError(f"noise omega is {self.omega}; set it between 0 and 1")
        if not 1 <= self.t_min <= self.t_max <= steps:
            raise ConfigError(f"noise t_min={self.t_min}, t_max={self.t_max}; need 1 <= t_min <= t_max <= {steps}")
        for level in self.validation_timesteps:
            if not 0 <= level <= steps:
                raise ConfigError(f"noise validation_timesteps has {level}; levels lie in 0 to {steps}")

    def draw(self, size: int, generator: torch.Generator | None = None) -> Tensor:
        """Timesteps of `size` samples, each drawn on its own; int64 [size]."""
        noisy = torch.randint(self.t_min, self.t_max + 1, (size,), generator=generator)
        return noisy.masked_fill(torch.rand(size, generator=generator, dtype=torch.float64) < self.omega, 0)


@dataclass(frozen=True)
class RewardDraws:
    """Everything random in one step, apart from dropout.

    Attributes:
        t: timesteps [B].
        noise: on the states, of their shape.
        motion, text: noise [B, W] of the latents that are drawn from the two Gaussians.
    """

    t: Tensor
    noise: Tensor
    motion: Tensor
    text: Tensor

    @classmethod
    def random(cls, levels: RewardNoise, states: Tensor, width: int) -> RewardDraws:
        """The draws of a training step, from the global random state of the states' device."""
        size, device = len(states), states.device
        return cls(
            levels.draw(size).to(device),
            torch.randn_like(states),
            torch.randn(size, width, device=device),
            torch.randn(size, width, device=device),
        )

    @classmethod
    def fixed(
        cls, levels: RewardNoise, states: Tensor, lengths: Tensor, width: int, seed: int, ids: Sequence[str]
    ) -> RewardDraws:
        """The draws of validation and test: each sample's from (seed, id), on its valid `lengths` [B].

        The latents are the means of their Gaussians.
        """
        noise, timesteps = torch.zeros_like(states), []
        for place, (sample_id, length) in enumerate(zip(ids, lengths.tolist(), strict=True)):
            generator = sample_generator(seed, sample_id)
            noise[place, :length] = torch.randn((length, states.shape[2]), generator=generator).to(noise)
            timesteps.append(levels.draw(1, generator))
        means = states.new_zeros(len(states), width)
        return cls(torch.cat(timesteps).to(states.device), noise, means, means)
