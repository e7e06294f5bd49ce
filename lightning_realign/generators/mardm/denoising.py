"""How MARDM's codes are denoised: along a straight path to the clean code (SiT), or by diffusion (DDPM)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from lightning_realign.diffusion import NoiseSchedule, make_scheduler
from lightning_realign.diffusion.steps import SchedulerSteps
from lightning_realign.errors import ConfigError

Field = Callable[[Tensor, float], Tensor]
"""(noisy codes [B, n, C], time or step) -> the network's output."""

StepGuide = Callable[[int, Tensor], Tensor | None]
"""(step, predicted clean codes [B, n, C]) -> the reward's gradient there; None where the step is not guided."""


class CodeDenoising(Protocol):
    """A way to denoise codes."""

    @property
    def steps(self) -> int:
        """At how many steps the guide is called."""

    @property
    def evaluations(self) -> int:
        """Evaluations of the network in one denoising."""

    def run(self, field: Field, noise: Callable[[], Tensor], guide: StepGuide) -> Tensor:
        """Denoise codes.

        Args:
            field: the network.
            noise: draws standard normal noise [B, n, C], fresh at each call.
            guide: called at every step.

        Returns:
            Clean codes [B, n, C].
        """


class FlowDenoising:
    """The midpoint rule along x_t = t x_1 + (1 - t) x_0, from noise x_0 at t = 0 to clean codes x_1.

    The network predicts the velocity v = E[x_1 - x_0 | x_t]. If the score moves by g, v moves by (1 - t) / t g, and the
    clean prediction x_t + (1 - t) v by (1 - t)^2 / t g. At t = 0, where there is no signal, nothing is guided.

    Published sampling uses the Dormand-Prince rule, whose step sizes follow an error averaged over all codes of all
    motions in a batch. Here step sizes are fixed, so that a motion does not depend on its batch.

    Args:
        steps: steps of the rule, with two evaluations each.

    Raises:
        ConfigError: fewer than 1.
    """

    def __init__(self, steps: int = 25) -> None:
        if steps < 1:
            raise ConfigError(f"generator steps={steps}: need at least 1")
        self.steps = steps

    @property
    def evaluations(self) -> int:
        """Evaluations of the network in one denoising: two for each step."""
        return 2 * self.steps

    def run(self, field: Field, noise: Callable[[], Tensor], guide: StepGuide) -> Tensor:
        """See `CodeDenoising.run`."""

        def velocity(step: int, t: float, x: Tensor) -> Tensor:
            output = field(x, t)
            gradient = guide(step, x + (1 - t) * output) if t > 0 else None
            return output if gradient is None else output + (1 - t) / t * gradient

        x, stride = noise(), 1 / self.steps
        for step in range(self.steps):
            t = step * stride
            middle = x + stride / 2 * velocity(step, t, x)
            x = x + stride * velocity(step, t + stride / 2, middle)
        return x


class DiffusionDenoising:
    """DDPM over MARDM's cosine schedule of 50 levels; the network predicts the noise.

    Args:
        steps: how many of the 50 levels are used.

    Raises:
        ConfigError: fewer than 1, or more than 50.
    """

    LEVELS = 50

    def __init__(self, steps: int = LEVELS) -> None:
        scheduler = make_scheduler("ddim", NoiseSchedule("cosine", steps=self.LEVELS), "epsilon")
        self._ddpm = SchedulerSteps(scheduler, "ddpm", steps)
        self.steps = self.evaluations = steps

    def run(self, field: Field, noise: Callable[[], Tensor], guide: StepGuide) -> Tensor:
        """See `CodeDenoising.run`."""
        ddpm, x = self._ddpm, noise()
        for index, timestep in enumerate(ddpm.timesteps):
            output = field(x, timestep)
            fresh = noise() if ddpm.sigma[index] > 0 else None
            step = ddpm.step(index, output, x, fresh)
            gradient = guide(index, step.x0)
            if gradient is not None:
                step = ddpm.step(index, ddpm.guide_output(index, output, gradient), x, fresh)
            x = step.prev
        return x
