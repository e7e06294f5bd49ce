"""How the gradient of the reward enters a step: one class with its formula for each scale.

A scale of your own is a subclass of `Scale`; a configuration names it by its path (`guidance.scale:
my_package.MyScale`), and nothing in the sampler changes. g is the gradient of one sample's own reward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lightning_realign.diffusion.steps import Step, Steps
from lightning_realign.errors import ConfigError
from lightning_realign.files.imports import named_part
from lightning_realign.guidance.locations import LOCATIONS, Location, make_location
from lightning_realign.rewards.physical import PHYSICAL_REWARDS
from lightning_realign.settings.guidance import GuidanceConfig


@dataclass(frozen=True)
class GuidedStep:
    """What a scale knows of the step that it guides.

    steps: the sampler's steps, with their signal levels and noise. index: of this step. x, output: [B, ...] the states
    before it and the network's output. unguided: the scheduler's own step from there. noise: [B, ...] its noise, None
    where it adds none.
    """

    steps: Steps
    index: int
    x: Tensor
    output: Tensor
    unguided: Step
    noise: Tensor | None

    def with_output(self, output: Tensor) -> Tensor:
        """x_{t-1} of the scheduler's own step with another output of the network."""
        return self.steps.step(self.index, output, self.x, self.noise).prev


class Scale:
    """How a gradient [B, ...] moves a step."""

    def check_location(self, location: Location) -> None:
        """Refuse a location that the formula does not fit; the base refuses none.

        Raises:
            ConfigError: it does not fit.
        """

    def check_steps(self, steps: Steps) -> None:
        """Refuse a sampler that the formula does not fit; the base refuses none.

        Raises:
            ConfigError: it does not fit.
        """

    def guide(self, step: GuidedStep, gradient: Tensor) -> Tensor:
        """The guided x_{t-1} [B, ...]."""
        raise NotImplementedError(f"{type(self).__name__} does not say how the gradient enters")


class ScoreScale(Scale):
    """eps <- eps - sqrt(1 - alpha_bar_t) g, then the scheduler's own step.

    Equivalently x0_hat <- x0_hat + (1 - alpha_bar_t) / sqrt(alpha_bar_t) g. It is right for DDPM, DDIM and LCM alike;
    with mu = 1 / tau of the contrastive loss and eta = 0 it is the exact case.
    """

    def guide(self, step: GuidedStep, gradient: Tensor) -> Tensor:
        """See the class."""
        return step.with_output(step.steps.guide_output(step.index, step.output, gradient))


class MomentScale(ScoreScale):
    """x0_hat <- x0_hat + (1 - alpha_bar_t) g, then the scheduler's own step; at location `x0` alone.

    E[x_0 | x_t, reward] is x0_hat + Var[x_0 | x_t] g to first order, and that variance is 1 - alpha_bar_t for
    independent data of unit variance, as standardised states are (r_t^2 of Song et al., ICLR 2023). It is `score` at
    `x0_through` without the backward pass through the denoiser.
    """

    def check_location(self, location: Location) -> None:
        """Refuse every location but the predicted x_0.

        Raises:
            ConfigError: another location.
        """
        if not isinstance(location, LOCATIONS["x0"]):
            raise ConfigError(
                f"guidance scale='moment' with location={_name_of(location)!r}: it moves the predicted clean state; "
                "use location x0, or scale score"
            )

    def guide(self, step: GuidedStep, gradient: Tensor) -> Tensor:
        """See the class."""
        # The gradient with regard to x_t, were x0_hat = sqrt(alpha_bar_t) x_t: data of unit variance.
        return super().guide(step, math.sqrt(step.steps.alpha_bar[step.index]) * gradient)


class PosteriorScale(Scale):
    """x_{t-1} <- step + sigma_t^2 g, with sigma_t^2 the variance of the scheduler's own step."""

    def check_steps(self, steps: Steps) -> None:
        """Refuse a sampler that adds no noise.

        Raises:
            ConfigError: sigma_t is 0 at every step.
        """
        if not any(steps.sigma):
            raise ConfigError(
                "guidance scale='posterior' multiplies by sigma_t^2, which is 0 throughout this sampler (DDIM with "
                "eta 0, or one step of LCM); use scale='score', scheduler='ddpm', ddim_eta above 0, or more LCM steps"
            )

    def guide(self, step: GuidedStep, gradient: Tensor) -> Tensor:
        """See the class."""
        return step.unguided.prev + step.steps.sigma[step.index] ** 2 * gradient


class ConstantScale(Scale):
    """x_{t-1} <- step + g (the paper and its public code).

    It has no small-step limit, and its strength depends on the number of steps.
    """

    def guide(self, step: GuidedStep, gradient: Tensor) -> Tensor:
        """See the class."""
        return step.unguided.prev + gradient


SCALES: Mapping[str, type[Scale]] = {
    "score": ScoreScale,
    "posterior": PosteriorScale,
    "constant": ConstantScale,
    "moment": MomentScale,
}
"""The scales that a configuration can name."""


def parts_of(guidance: GuidanceConfig) -> tuple[Scale, Location]:
    """The scale and the location that the settings name: the project's, or classes of your own at these paths.

    Raises:
        ConfigError: there is none of that name, or scale, location and physical rewards contradict each other.
    """
    filled = guidance.filled()
    scale, location = named_part("guidance scale", filled.scale, SCALES)(), make_location(filled.location)
    scale.check_location(location)
    for name in filled.physical:
        named_part("guidance physical", name, PHYSICAL_REWARDS)
    if filled.strengths and location.noisy:
        raise ConfigError(
            f"guidance physical={filled.strengths} with location={filled.location!r}: physical rewards read clean "
            "motions; use location x0 or x0_through"
        )
    return scale, location


def _name_of(location: Location) -> str:
    return next((name for name, kind in LOCATIONS.items() if type(location) is kind), type(location).__name__)
