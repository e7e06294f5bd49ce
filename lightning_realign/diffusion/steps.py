"""The steps of a sampler with explicit noise, and the signal level of every tensor on the way."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.settings.sampling import SchedulerName

# The boundary conditions of published consistency models.
_TIMESTEP_SCALE, _SIGMA_DATA = 10.0, 0.5


@dataclass(frozen=True)
class Step:
    """Result of one step: prev the next state x_{t-1}, x0 the predicted clean state, both [B, ...]."""

    prev: Tensor
    x0: Tensor


class Steps(ABC):
    """The S steps of a sampling run, noisiest first.

    Attributes:
        timesteps: scheduler indices of the S steps.
        alpha_bar: signal level of the state before each step.
        alpha_bar_next: signal level of the state after it; 1 after the last step, which returns a clean state.
        sigma: standard deviation of the noise that the step adds.
    """

    timesteps: tuple[int, ...]
    alpha_bar: tuple[float, ...]
    alpha_bar_next: tuple[float, ...]
    sigma: tuple[float, ...]
    _prediction: str

    @abstractmethod
    def step(self, index: int, output: Tensor, x: Tensor, noise: Tensor | None) -> Step:
        """Step `index` from x with the network's output; `noise` is read only where sigma is not 0."""

    def guide_output(self, index: int, output: Tensor, gradient: Tensor) -> Tensor:
        """The network's output with its score moved by `gradient`: eps <- eps - sqrt(1 - alpha_bar_t) gradient.

        The same move, x0_hat <- x0_hat + (1 - alpha_bar_t) / sqrt(alpha_bar_t) gradient, in terms of what the network
        predicts.
        """
        signal = self.alpha_bar[index]
        factor = {"epsilon": -math.sqrt(1 - signal), "sample": (1 - signal) / math.sqrt(signal)}[self._prediction]
        return output + factor * gradient

    def predicted(self, index: int, output: Tensor, x: Tensor) -> Tensor:
        """The clean state predicted from x, differentiable in it and in the network's output."""
        return self.step(index, output, x, torch.zeros_like(x)).x0

    def undo(self, index: int, prev: Tensor, noise: Tensor) -> Tensor:
        """A state before step `index` from one after it, by the forward process.

        x_t = sqrt(a) x_{t-1} + sqrt(1 - a) noise, with a = alpha_bar_t / alpha_bar_{t-1}.
        """
        kept = self.alpha_bar[index] / self.alpha_bar_next[index]
        return math.sqrt(kept) * prev + math.sqrt(1 - kept) * noise

    def timestep_tensor(self) -> Tensor:
        """The scheduler indices as an int64 tensor [S]."""
        return torch.tensor(self.timesteps, dtype=torch.long)


class SchedulerSteps(Steps):
    """The steps of DDIM and DDPM, done by the scheduler.

    DDPM is DDIM with eta = 1 and a final signal level of 1 (arXiv 2010.02502, eq. 16), which is how it is run here:
    diffusers' DDPM step draws its own noise, and guidance at x_{t-1} needs the same noise twice.

    Args:
        scheduler: a fresh DDIM scheduler, ours or diffusers', with the generator's schedule and prediction type; it is
            kept.
        name: sampler.
        steps: S.
        ddim_eta: stochasticity of DDIM; 0 is deterministic.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(self, scheduler: Any, name: SchedulerName, steps: int, ddim_eta: float = 0.0) -> None:
        if name not in ("ddim", "ddpm"):
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
        self.timesteps = self._places = tuple(scheduler.timesteps.tolist())
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
        """See `Steps.step`."""
        stochastic = self.sigma[index] > 0
        result = self._scheduler.step(
            output,
            self._places[index],
            x,
            eta=self._eta if stochastic else 0.0,
            variance_noise=noise if stochastic else None,
        )
        return Step(result.prev_sample, result.pred_original_sample)


class RespacedSteps(SchedulerSteps):
    """The steps of DDIM and DDPM over some timesteps of a schedule, spaced in any way.

    They are the steps of a shorter schedule that has the levels of these timesteps only (Nichol and Dhariwal, 2021,
    section 4): a step leads to the level of the next timestep, and the last one to a clean state.

    Args:
        scheduler: as for `SchedulerSteps`; only the levels of the timesteps are kept in it.
        name: sampler.
        timesteps: scheduler indices of the steps, falling.
        ddim_eta: stochasticity of DDIM; 0 is deterministic.

    Raises:
        ConfigError: a setting out of range, or timesteps that do not fall.
    """

    def __init__(self, scheduler: Any, name: SchedulerName, timesteps: Sequence[int], ddim_eta: float = 0.0) -> None:
        chosen = _checked(timesteps, int(scheduler.config.num_train_timesteps), repeated=False)
        scheduler.alphas_cumprod = scheduler.alphas_cumprod[list(reversed(chosen))]
        scheduler.final_alpha_cumprod = torch.ones_like(scheduler.alphas_cumprod[0])
        scheduler.register_to_config(num_train_timesteps=len(chosen))
        super().__init__(scheduler, name, len(chosen), ddim_eta)
        self.timesteps = chosen


class ConsistencySteps(Steps):
    """The steps of a latent consistency model (Luo et al., arXiv 2310.04378; MotionLCM, arXiv 2404.19759).

    Each predicts the clean state at once, f(x_t) = c_skip x_t + c_out x0_hat with

        c_skip = s^2 / (u^2 + s^2),  c_out = u / sqrt(u^2 + s^2),  u = 10 t,  s = 0.5,

    and, but for the last, brings it back to the next timestep's level with fresh noise, whose standard deviation there
    is `sigma`: sqrt(1 - alpha_bar_next). A timestep may be repeated: the state is then made noisy to the same level
    again.

    Args:
        scheduler: a DDIM scheduler, ours or diffusers', with the generator's schedule and prediction type.
        timesteps: scheduler indices of the steps, never rising.

    Raises:
        ConfigError: no timesteps, or some that rise or leave the schedule.
    """

    def __init__(self, scheduler: Any, timesteps: Sequence[int]) -> None:
        self.timesteps = _checked(timesteps, int(scheduler.config.num_train_timesteps), repeated=True)
        self._prediction = str(scheduler.config.prediction_type)
        self.alpha_bar = tuple(float(scheduler.alphas_cumprod[t]) for t in self.timesteps)
        self.alpha_bar_next = (*self.alpha_bar[1:], 1.0)
        self.sigma = tuple(math.sqrt(1 - level) for level in self.alpha_bar_next)

    def step(self, index: int, output: Tensor, x: Tensor, noise: Tensor | None) -> Step:
        """See `Steps.step`; x0 is the consistency function's value, to which the state is made noisy again."""
        signal, after = self.alpha_bar[index], self.alpha_bar_next[index]
        scaled = _TIMESTEP_SCALE * self.timesteps[index]
        predicted = output
        if self._prediction == "epsilon":
            predicted = (x - math.sqrt(1 - signal) * output) / math.sqrt(signal)
        norm = scaled**2 + _SIGMA_DATA**2
        clean = (_SIGMA_DATA**2 / norm) * x + (scaled / math.sqrt(norm)) * predicted
        if noise is None or self.sigma[index] == 0:
            return Step(clean, clean)
        return Step(math.sqrt(after) * clean + self.sigma[index] * noise, clean)


def _checked(timesteps: Sequence[int], total: int, repeated: bool) -> tuple[int, ...]:
    """Timesteps of a schedule of `total`, once they are known to fall, or at least not to rise."""
    wrong = any(after > before or (after == before and not repeated) for before, after in pairwise(timesteps))
    if not timesteps or wrong or not 0 <= timesteps[-1] <= timesteps[0] < total:
        order = "none above the one before it" if repeated else "each below the one before it"
        raise ConfigError(f"sampler timesteps={list(timesteps)}: need at least one in 0 to {total - 1}, and {order}")
    return tuple(int(t) for t in timesteps)


def make_steps(
    scheduler: Any,
    name: SchedulerName,
    steps: int,
    ddim_eta: float = 0.0,
    timesteps: Sequence[int] | None = None,
) -> Steps:
    """The steps of a sampling run.

    Args:
        scheduler: a fresh DDIM scheduler, ours or diffusers', with the generator's schedule and prediction type; it is
            kept.
        name: sampler.
        steps: S.
        ddim_eta: stochasticity of DDIM; 0 is deterministic.
        timesteps: scheduler indices of the steps; None for the scheduler's own spacing, which a consistency model does
            not have.

    Raises:
        ConfigError: a setting out of range, or of another sampler.
    """
    if timesteps is not None and len(timesteps) != steps:
        raise ConfigError(
            f"sampler steps={steps}, but the generator was set up for {len(timesteps)}; give both the same number"
        )
    if name != "lcm":
        if timesteps is None:
            return SchedulerSteps(scheduler, name, steps, ddim_eta)
        return RespacedSteps(scheduler, name, timesteps, ddim_eta)
    if timesteps is None:
        raise ConfigError(
            f"sampler scheduler='lcm', steps={steps}: the generator has no timesteps for it: load a consistency model, "
            "such as motionlcm, with this number of steps, or use another scheduler"
        )
    if ddim_eta != 0.0:
        raise ConfigError(f"sampler ddim_eta={ddim_eta}: need 0 with lcm, which ignores it")
    return ConsistencySteps(scheduler, timesteps)
