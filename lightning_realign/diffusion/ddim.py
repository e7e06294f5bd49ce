"""DDIM (Song et al., arXiv 2010.02502) as diffusers computes it, whose import would take as long as torch's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_realign.diffusion.schedule import NoiseSchedule, Prediction
from lightning_realign.errors import ConfigError


class DDIMStep(NamedTuple):
    """The next state and the predicted clean state, both [B, ...]."""

    prev_sample: Tensor
    pred_original_sample: Tensor


class DDIM:
    """Stands in for diffusers' DDIM scheduler wherever one is sampled with: the same names, bit for bit the same steps.

    It has MLD's settings: timesteps are spaced "leading" with offset 1, nothing is clipped, and the last step goes to
    the schedule's first level, not quite to clean.

    Args:
        schedule: the schedule that the generator was trained with.
        prediction: what the generator predicts: "epsilon" the noise, "sample" the clean state.

    Attributes:
        config: `num_train_timesteps` and `prediction_type`.
        alphas_cumprod: float64 [steps]; as scalars they leave float32 samples float32.
        final_alpha_cumprod: the signal level to which the last step goes.
        timesteps: int64 indices of `alphas_cumprod`, noisiest first, once `set_timesteps` has chosen them.
    """

    def __init__(self, schedule: NoiseSchedule, prediction: Prediction) -> None:
        self.config = SimpleNamespace(num_train_timesteps=schedule.steps, prediction_type=prediction)
        self.alphas_cumprod = schedule.alpha_bar[1:].clone()
        self.final_alpha_cumprod = self.alphas_cumprod[0]
        self.timesteps = torch.empty(0, dtype=torch.int64)

    def register_to_config(self, **values: Any) -> None:
        """Change values of `config`."""
        vars(self.config).update(values)

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Choose `num_inference_steps` timesteps, noisiest first. Raises ConfigError: see `leading_offset`."""
        total = self.config.num_train_timesteps
        offset = leading_offset(total, num_inference_steps)
        stride = total // num_inference_steps
        self.timesteps = torch.arange(num_inference_steps - 1, -1, -1) * stride + offset

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        variance_noise: Tensor | None = None,
    ) -> DDIMStep:
        """One step: equations 12 and 16.

        Args:
            model_output: the network's output [B, ...].
            timestep: its index, one of `timesteps`.
            sample: the state x_t [B, ...].
            eta: stochasticity; 0 is deterministic, 1 is DDPM.
            variance_noise: the standard normal noise [B, ...] that is added where eta is not 0.

        Raises:
            ConfigError: eta is not 0, and there is no noise.
        """
        before = int(timestep) - self.config.num_train_timesteps // len(self.timesteps)
        level = self.alphas_cumprod[int(timestep)]
        level_before = self.alphas_cumprod[before] if before >= 0 else self.final_alpha_cumprod
        if self.config.prediction_type == "epsilon":
            noise = model_output
            clean = (sample - (1 - level) ** 0.5 * noise) / level**0.5
        else:
            clean = model_output
            noise = (sample - level**0.5 * clean) / (1 - level) ** 0.5
        variance = (1 - level_before) / (1 - level) * (1 - level / level_before)
        sigma = eta * variance**0.5
        prev = level_before**0.5 * clean + (1 - level_before - sigma**2) ** 0.5 * noise
        if eta == 0:
            return DDIMStep(prev, clean)
        if variance_noise is None:
            raise ConfigError(f"scheduler eta={eta}: such a step adds noise; give variance_noise, or set eta to 0")
        return DDIMStep(prev + sigma * variance_noise, clean)


def leading_offset(steps: int, count: int) -> int:
    """The offset of "leading" timesteps: 1, but 0 where that would leave the schedule, as every step is taken.

    Args:
        steps: the schedule's.
        count: how many of them are taken.

    Raises:
        ConfigError: a count outside 1..steps, or one whose integer stride leaves more than a tenth of the schedule's
            noisy end out, although sampling starts from pure noise.
    """
    if not 1 <= count <= steps:
        raise ConfigError(f"sampling steps={count}: must lie in [1, {steps}], the schedule's number of steps")
    stride = steps // count
    if steps - stride * count > 0.1 * steps:
        raise ConfigError(
            f"sampling steps={count}: a stride of {stride} reaches level {stride * count} of {steps} only; "
            f"use a divisor of {steps}"
        )
    return 0 if count == steps else 1
