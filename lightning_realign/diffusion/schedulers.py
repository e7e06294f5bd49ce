"""diffusers' DDIM and DDPM schedulers for a `NoiseSchedule`: float64 coefficients, and step counts that are checked."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from lightning_realign.diffusion.schedule import NoiseSchedule
from lightning_realign.errors import ConfigError


def _adapt_offset(scheduler: Any, count: int) -> None:
    """Set the offset of "leading" timesteps: 1, but 0 where that would leave the schedule, as every step is taken.

    Raises:
        ConfigError: a count outside 1..steps, or one whose integer stride leaves more than a tenth of the schedule's
            noisy end out, although sampling starts from pure noise.
    """
    steps: int = scheduler.config.num_train_timesteps
    if not 1 <= count <= steps:
        raise ConfigError(f"sampling steps={count}: must lie in [1, {steps}], the schedule's number of steps")
    stride = steps // count
    if steps - stride * count > 0.1 * steps:
        raise ConfigError(
            f"sampling steps={count}: a stride of {stride} reaches level {stride * count} of {steps} only; "
            f"use a divisor of {steps}"
        )
    scheduler.register_to_config(steps_offset=0 if count == steps else 1)


class CheckedDDIM(DDIMScheduler):
    """DDIM whose `set_timesteps` refuses or adapts the step counts that leave the schedule."""

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Choose `num_inference_steps` timesteps, noisiest first. Raises ConfigError: see `_adapt_offset`."""
        _adapt_offset(self, num_inference_steps)
        super().set_timesteps(num_inference_steps, device)


class CheckedDDPM(DDPMScheduler):
    """DDPM whose `set_timesteps` refuses or adapts the step counts that leave the schedule."""

    def set_timesteps(
        self, num_inference_steps: Any = None, device: Any = None, timesteps: list[int] | None = None
    ) -> None:
        """Choose `num_inference_steps` timesteps, noisiest first. Raises ConfigError: see `_adapt_offset`."""
        if timesteps is None:
            _adapt_offset(self, num_inference_steps)
        super().set_timesteps(num_inference_steps, device, timesteps)


def build_ddim(schedule: NoiseSchedule, prediction: str) -> CheckedDDIM:
    """DDIM as MLD uses it: its last step goes to the schedule's first level, not quite to clean."""
    scheduler: Any = CheckedDDIM(set_alpha_to_one=False, **_settings(schedule, prediction))
    _use_float64(scheduler, schedule)
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    return cast(CheckedDDIM, scheduler)


def build_ddpm(schedule: NoiseSchedule, prediction: str) -> CheckedDDPM:
    """DDPM with the posterior's variance."""
    scheduler: Any = CheckedDDPM(variance_type="fixed_small", **_settings(schedule, prediction))
    _use_float64(scheduler, schedule)
    scheduler.one = torch.ones((), dtype=torch.float64)
    return cast(CheckedDDPM, scheduler)


def _settings(schedule: NoiseSchedule, prediction: str) -> dict[str, Any]:
    return {
        "num_train_timesteps": schedule.steps,
        "trained_betas": schedule.betas.tolist(),
        "clip_sample": False,
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "prediction_type": prediction,
    }


def _use_float64(scheduler: Any, schedule: NoiseSchedule) -> None:
    """Replace diffusers' float32 tables; as scalars they leave float32 samples float32, and float64 runs exact."""
    scheduler.betas = schedule.betas.clone()
    scheduler.alphas = 1.0 - scheduler.betas
    scheduler.alphas_cumprod = schedule.alpha_bar[1:].clone()
