"""Everything random in one step of a reward's training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_realign.diffusion.noise import sample_generator


@dataclass(frozen=True)
class TimestepLaw:
    """The noise levels of Algorithm 1: t = 0 with probability omega, else uniform in {t_min..t_max}, both included."""

    omega: float
    t_min: int
    t_max: int

    def draw(self, size: int, generator: torch.Generator | None = None) -> Tensor:
        """Timesteps of `size` samples, each drawn on its own; int64 [size]."""
        noisy = torch.randint(self.t_min, self.t_max + 1, (size,), generator=generator)
        return noisy.masked_fill(torch.rand(size, generator=generator, dtype=torch.float64) < self.omega, 0)


@dataclass(frozen=True)
class RewardDraws:
    """Everything random in one step, apart from dropout.

    t: [B] timesteps. noise: on the states, of their shape. motion, text: [B, W] noise of the sampled latents.
    """

    t: Tensor
    noise: Tensor
    motion: Tensor
    text: Tensor

    @classmethod
    def random(cls, law: TimestepLaw, states: Tensor, width: int) -> RewardDraws:
        """Of a training step: from the global random state of the states' device."""
        size, device = len(states), states.device
        return cls(
            law.draw(size).to(device),
            torch.randn_like(states),
            torch.randn(size, width, device=device),
            torch.randn(size, width, device=device),
        )

    @classmethod
    def fixed(
        cls, law: TimestepLaw, states: Tensor, lengths: Tensor, width: int, seed: int, ids: Sequence[str]
    ) -> RewardDraws:
        """Of an evaluation: per sample from (seed, id), on its valid `lengths` [B]; latents are their means."""
        noise, timesteps = torch.zeros_like(states), []
        for row, (sample_id, length) in enumerate(zip(ids, lengths.tolist(), strict=True)):
            generator = sample_generator(seed, sample_id)
            noise[row, :length] = torch.randn((length, states.shape[2]), generator=generator).to(noise)
            timesteps.append(law.draw(1, generator))
        means = states.new_zeros(len(states), width)
        return cls(torch.cat(timesteps).to(states.device), noise, means, means)
