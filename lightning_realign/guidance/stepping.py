"""The scheduler's own step with explicit noise, and the signal level of every tensor on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError

SchedulerName = Literal["ddim", "ddpm"]


@dataclass(frozen=True)
class Step:
    """Result of one step: prev the next state x_{t-1}, x0 the predicted clean state, both [B, ...]."""

    prev: Tensor
    x0: Tensor


class Walk:
    """The S steps of a sampling run, noisiest first, done by diffusers' scheduler.

    DDPM is DDIM with eta = 1 and a final signal level of 1 (arXiv 2010.02502, eq. 16), which is how it is run here:
    diffusers' DDPM step draws its own noise, and guidance at x_{t-1} needs the same noise twice.

    Attributes:
        timesteps: scheduler indices of the S steps.
        alpha_bar: signal level of the state before each step.
        alpha_bar_next: that of the state after it; 1 after the last step, which returns a clean state.
        sigma: standard deviation of the noise that the step adds.

    Args:
        scheduler: a fresh DDIM scheduler of diffusers with the generator's schedule and prediction type; it is kept.
        name: sampler.
        steps: S.
        ddim_eta: stochasticity of DDIM; 0 is deterministic.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(self, scheduler: Any, name: SchedulerName, steps: int, ddim_eta: float = 0.0) -> None:
        if name not in get_args(SchedulerName):
            raise ConfigError(f"sampler scheduler={name!r} is unknown; use one of {', '.join(get_args(SchedulerName))}")
        if not 0.0 <= ddim_eta <= 1.0 or (name == "ddpm" and ddim_eta != 0.0):
            raise ConfigError(f"sampler ddim_eta={ddim_eta}: need 0 to 1 with ddim, and 0 with ddpm, which ignores it")
        total = int(scheduler.config.num_train_timesteps)
        if not 1 <= steps <= total:
            raise ConfigError(f"sampler steps={steps}: need 1 to {total}, the length of the noise schedule")
        self._eta = 1.0 if name == "ddpm" else float(ddim_eta)
        self._scheduler = scheduler
        if name == "ddpm":
            scheduler.final_alpha_cumprod = torch.ones_like(scheduler.alphas_cumprod[0])
        scheduler.set_timesteps(steps)
        self._prediction = str(scheduler.config.prediction_type)
        self.timesteps: tuple[int, ...] = tuple(scheduler.timesteps.tolist())
        self._set_levels(total // steps)

    def _set_levels(self, stride: int) -> None:
        levels, final = self._scheduler.alphas_cumprod, float(self._scheduler.final_alpha_cumprod)
        self.alpha_bar = tuple(float(levels[t]) for t in self.timesteps)
        reached = tuple(float(levels[t - stride]) if t >= stride else final for t in self.timesteps)
        self.alpha_bar_next = (*reached[:-1], 1.0)
        self.sigma = tuple(
            self._eta * math.sqrt((1 - after) / (1 - before) * (1 - before / after))
            for before, after in zip(self.alpha_bar, reached, strict=True)
        )

    def step(self, index: int, output: Tensor, x: Tensor, noise: Tensor | None) -> Step:
        """Step `index` from x with the network's output; `noise` is read only where sigma is not 0."""
        stochastic = self.sigma[index] > 0
        result = self._scheduler.step(
            output,
            self.timesteps[index],
            x,
            eta=self._eta if stochastic else 0.0,
            variance_noise=noise if stochastic else None,
        )
        return Step(result.prev_sample, result.pred_original_sample)

    def guide_output(self, index: int, output: Tensor, gradient: Tensor) -> Tensor:
        """The network's output with its score moved by `gradient`: eps <- eps - sqrt(1 - alpha_bar_t) gradient.

        The same move, x0_hat <- x0_hat + (1 - alpha_bar_t) / sqrt(alpha_bar_t) gradient, in terms of what the network
        predicts.
        """
        signal = self.alpha_bar[index]
        factor = {"epsilon": -math.sqrt(1 - signal), "sample": (1 - signal) / math.sqrt(signal)}[self._prediction]
        return output + factor * gradient

    def timestep_tensor(self) -> Tensor:
        """The scheduler indices as an int64 tensor [S]."""
        return torch.tensor(self.timesteps, dtype=torch.long)
