"""Guidance for a sampling loop of your own: no adapter, a few lines in your loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.rewards.reward import Reward, limit_norm, reward_gradient
from lightning_realign.settings.guidance import GuidanceConfig

ToMotion = Callable[[Tensor, float], Tensor]
"""(states [B, ...], their alpha_bar) -> motions [B, T, D] in the reward's normalisation, differentiable."""


class RewardGuide:
    """The gradient of a reward for a batch of texts, to be added in a sampling loop of your own.

    There are two ways to add it, after the settings `scale` and `location`:

    - `score` at `x_t`: `output = guide.output(output, x, alpha_bar)` before the scheduler's step. It is right for DDPM
      and DDIM alike.
    - `constant` at `x_prev`: `callback_on_step_end=guide.on_step_end` in a pipeline of diffusers, as the paper's public
      code guides.

    Args:
        reward: the reward, on the device of the states.
        texts: B captions.
        lengths: [B] lengths in frames.
        guidance: mu, eta and max_norm, with one of the two pairs of scale and location above.
        to_motion: makes motions of your states; None where the states are motions in the reward's own normalisation.
        references: [B, W] latents of the retrieved motions x^c; needed where eta is not 0.

    Raises:
        ConfigError: another pair of scale and location, or a reward that reads latents and no `to_motion`.
    """

    def __init__(
        self,
        reward: Reward,
        texts: Sequence[str],
        lengths: Tensor,
        guidance: GuidanceConfig,
        to_motion: ToMotion | None = None,
        references: Tensor | None = None,
    ) -> None:
        self.guidance = guidance.filled()
        self._pair = (self.guidance.scale, self.guidance.location)
        if self._pair not in (("score", "x_t"), ("constant", "x_prev")):
            raise ConfigError(
                f"guidance scale={self._pair[0]!r}, location={self._pair[1]!r}: a loop of your own takes score at "
                "x_t, or constant at x_prev"
            )
        if reward.latents is not None and to_motion is None:
            raise ConfigError(
                f"the reward reads latents of the VAE {reward.latents.fingerprint()}, and a loop of your own has "
                "motions: give a reward of space motion, or a to_motion that gives those latents"
            )
        self._lengths, self._to_motion = lengths, to_motion
        self._reward = reward.prepare(texts, references, mu=self.guidance.mu, eta=self.guidance.eta)

    def gradient(self, x: Tensor, alpha_bar: float) -> Tensor:
        """The gradient of each sample's own reward, of the states' shape.

        Args:
            x: [B, ...] states.
            alpha_bar: their signal level, `scheduler.alphas_cumprod[t]`; 1 is clean.

        Raises:
            ConfigError: torch's inference mode is on.
        """

        def evaluate(state: Tensor) -> Tensor:
            motion = state if self._to_motion is None else self._to_motion(state, alpha_bar)
            return self._reward(motion, self._lengths.to(motion.device), alpha_bar)

        gradient, _ = reward_gradient(evaluate, x)
        return limit_norm(gradient, self.guidance.max_norm)

    def output(self, output: Tensor, x: Tensor, alpha_bar: float) -> Tensor:
        """The network's output, guided: eps - sqrt(1 - alpha_bar_t) g.

        Args:
            output: [B, ...] the predicted noise, after classifier-free guidance.
            x: [B, ...] the states before the step.
            alpha_bar: their signal level.

        Raises:
            ConfigError: the settings are not `score` at `x_t`.
        """
        self._require("score", "output")
        guided: Tensor = output - math.sqrt(1.0 - alpha_bar) * self.gradient(x, alpha_bar)
        return guided

    def on_step_end(self, pipeline: Any, step: int, timestep: Any, callback_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Add the gradient to the states after a step; the signature is that of diffusers' callbacks.

        Args:
            pipeline: holds the `scheduler`, with `timesteps` and `alphas_cumprod`.
            step: number of the step, from 0.
            timestep: of the step.
            callback_kwargs: the states as `latents`.

        Returns:
            The same, with guided `latents`.

        Raises:
            ConfigError: the settings are not `constant` at `x_prev`.
        """
        self._require("constant", "on_step_end")
        timesteps = pipeline.scheduler.timesteps
        if self.guidance.guided_steps(len(timesteps))[step]:
            last = step + 1 == len(timesteps)
            level = 1.0 if last else float(pipeline.scheduler.alphas_cumprod[int(timesteps[step + 1])])
            latents = callback_kwargs["latents"]
            callback_kwargs["latents"] = latents + self.gradient(latents, level)
        return callback_kwargs

    def _require(self, scale: str, method: str) -> None:
        if self._pair[0] != scale:
            place = "x_t" if scale == "score" else "x_prev"
            raise ConfigError(
                f"RewardGuide.{method} guides with scale {scale} at {place}, but the settings say {self._pair[0]} at "
                f"{self._pair[1]}; set both, or call the other method"
            )
