"""Settings of the search: what is done with several motions, particles or passes for each motion that is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from lightning_realign.errors import ConfigError
from lightning_realign.settings.checks import check_choice, check_finite, check_least
from lightning_realign.settings.window import check_window, steps_inside

Potential = Literal["difference", "max", "sum"]
ParticleLocation = Literal["x_t", "x0"]
Selection = Literal["reward", "weight"]


@dataclass(frozen=True)
class ParticleConfig:
    """How particles are weighed: the law aimed at is p(x) exp(R_0(x)), R = (R_phi + eta R_m) / temperature.

    Args:
        count: particles K for each motion, resampled by the reward on the way; above 1 they need a reward.
        temperature: of the reward where it weighs particles; the lower, the stronger.
        eta: weight of the motion-motion reward beside that of the text.
        potential: what a particle's weight grows by at a step: `difference` exp(R_t - R_{t+1}), `max` exp of the
            largest R so far, `sum` exp of the sum of all R so far. The last step makes up for all, so that the law is
            the same.
        location: what R_t is taken of: `x0`, the predicted clean state, or `x_t`, with its own step token.
        start: beginning of the window in which particles are weighed, as the fraction of the trajectory still ahead.
        stop: end of that window.
        every: weigh at every k-th step of the window.
        threshold: a motion's particles are resampled where their effective number, 1 over the sum of the squared
            weights, is below threshold * K: at 1 always, at 0 never.
        select: which particle becomes the motion: `reward` that with the highest clean reward, `weight` one drawn by
            the weights, which follows the law as K grows.

    Raises:
        ConfigError: a setting out of range.
    """

    count: int = 1
    temperature: float = 1.0
    eta: float = 0.0
    potential: Potential = "difference"
    location: ParticleLocation = "x0"
    start: float = 1.0
    stop: float = 0.0
    every: int = 1
    threshold: float = 0.5
    select: Selection = "reward"

    def __post_init__(self) -> None:
        check_least("particles count", self.count, 1)
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"particles temperature={self.temperature}: need a positive number")
        check_finite("particles ", {"eta": self.eta})
        if not 0.0 <= self.threshold <= 1.0:
            raise ConfigError(f"particles threshold={self.threshold}: need 0 to 1")
        check_choice("particles potential", self.potential, Potential)
        check_choice("particles location", self.location, ParticleLocation)
        check_choice("particles select", self.select, Selection)
        check_window("particles", self.start, self.stop, self.every)


@dataclass(frozen=True)
class TravelConfig:
    """Time travel: steps that are undone with fresh noise and done again, guided or not.

    Sources: FreeDoM (arXiv 2303.09833) and RePaint (arXiv 2201.09865). It costs so many more steps.

    Args:
        times: how often each step of the window is undone and done again; 0 is never.
        start: beginning of the window, as the fraction of the trajectory still ahead.
        stop: end of the window.

    Raises:
        ConfigError: a setting out of range.
    """

    times: int = 0
    start: float = 1.0
    stop: float = 0.0

    def __post_init__(self) -> None:
        check_least("travel times", self.times, 0)
        check_window("travel", self.start, self.stop)

    def travels(self, steps: int) -> tuple[int, ...]:
        """For each of `steps` sampler steps, how often it is undone and done again.

        >>> TravelConfig(times=2, start=0.75, stop=0.25).travels(4)
        (0, 2, 2, 0)
        """
        return tuple(self.times * inside for inside in steps_inside(steps, self.start, self.stop))


@dataclass(frozen=True)
class SearchConfig:
    """What is tried for each motion that is kept.

    Args:
        candidates: motions made for each that is kept, the one with the highest clean reward; above 1 they need a
            reward.
        particles: particles that stand for each motion on the way.
        travel: steps done again.

    Raises:
        ConfigError: a setting out of range.
    """

    candidates: int = 1
    particles: ParticleConfig = field(default_factory=ParticleConfig)
    travel: TravelConfig = field(default_factory=TravelConfig)

    def __post_init__(self) -> None:
        check_least("search candidates", self.candidates, 1)

    @property
    def active(self) -> bool:
        """Whether anything but one plain pass of the sampler happens."""
        return self.ranked or self.travel.times > 0

    @property
    def ranked(self) -> bool:
        """Whether a reward is needed to tell which motion or particle is the better one."""
        return max(self.candidates, self.particles.count) > 1
