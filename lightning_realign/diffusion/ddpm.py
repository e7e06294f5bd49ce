"""diffusers' DDPM scheduler for a `NoiseSchedule`: float64 coefficients, and step counts that are checked."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from lightning_realign.diffusion.ddim import leading_offset
from lightning_realign.diffusion.schedule import NoiseSchedule


class CheckedDDPM(DDPMScheduler):
    """DDPM whose `set_timesteps` refuses or adapts the step counts that leave the schedule."""

    def set_timesteps(
        self, num_inference_steps: Any = None, device: Any = None, timesteps: list[int] | None = None
    ) -> None:
        """Choose `num_inference_steps` timesteps, noisiest first. Raises ConfigError: see `leading_offset`."""
        if timesteps is None:
            own: Any = self
            own.register_to_config(steps_offset=leading_offset(own.config.num_train_timesteps, num_inference_steps))
        super().set_timesteps(num_inference_steps, device, timesteps)


def build_ddpm(schedule: NoiseSchedule, prediction: str) -> CheckedDDPM:
    """DDPM with the posterior's variance."""
    scheduler: Any = CheckedDDPM(
        variance_type="fixed_small",
        num_train_timesteps=schedule.steps,
        trained_betas=schedule.betas.tolist(),
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type=prediction,
    )
    # In place of diffusers' float32 tables; as scalars they leave float32 samples float32, and float64 runs exact.
    scheduler.betas = schedule.betas.clone()
    scheduler.alphas = 1.0 - scheduler.betas
    scheduler.alphas_cumprod = schedule.alpha_bar[1:].clone()
    scheduler.one = torch.ones((), dtype=torch.float64)
    return cast(CheckedDDPM, scheduler)
