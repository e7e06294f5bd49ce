"""Settings of the guidance: strength, where the reward is differentiated, how its gradient enters, and when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from lightning_realign.errors import ConfigError
from lightning_realign.rewards.physical import PHYSICAL_REWARDS

Scale = Literal["score", "posterior", "constant", "moment"]
Location = Literal["x_t", "x_prev", "x0", "x0_through"]


@dataclass(frozen=True)
class GuidanceConfig:
    """How R(x, c) = mu R_phi(x, c) + eta R_m(x, x^c) steers the sampler (ReAlign, arXiv 2511.19217, eq. 9).

    With g the gradient of one sample's own R (rewards are summed over the batch, never averaged, so that a motion's
    guidance does not depend on what it was batched with):

    Attributes:
        mu: weight of the text-motion reward. Under `score` it is an inverse temperature: mu = 1 / tau of the
            contrastive loss is the exact case. A published strength lambda, a batch mean, is B * mu under `constant`.
        eta: weight of the motion-motion reward with the retrieved x^c.
        scale: `score`: eps <- eps - sqrt(1 - alpha_bar_t) g, then the scheduler's own step. `posterior`:
            x_{t-1} <- step + sigma_t^2 g. `constant`: x_{t-1} <- step + g (paper and public code; no small-step limit).
            `moment`, at location `x0` alone: x0_hat <- x0_hat + (1 - alpha_bar_t) g, then the scheduler's own step.
            E[x_0 | x_t, reward] is x0_hat + Var[x_0 | x_t] g to first order, and that variance is 1 - alpha_bar_t for
            independent data of unit variance, as standardised states are (r_t^2 of Song et al., ICLR 2023): `score` at
            `x0_through` without its backward pass through the denoiser.
        location: the tensor at which g is taken, whose signal level is also the reward's step token: `x_t` (paper),
            `x_prev` (x_{t-1}; public code), `x0` (predicted x_0, not through the denoiser, at level 0), `x0_through`
            (x_t, of the reward of the x_0 predicted from it, through the denoiser: arXiv 2209.14687; level 0 too).
        start, stop: the guided window as fractions of the trajectory still ahead: 1 is pure noise, 0 the end.
        every: guide every k-th step of the window, beginning with its first.
        max_norm: largest L2 norm of one sample's g; a longer g is shortened to it. None: no limit.
        travel: how often each step of the travel window is undone with fresh noise and done again (time travel,
            FreeDoM, arXiv 2303.09833, and RePaint, arXiv 2201.09865), guided or not; it costs so many more steps.
        travel_start, travel_stop: that window, as start and stop.
        physical: weights w_i by name of the physical rewards that are added: R + sum_i w_i P_i, whatever mu is. They
            read clean motions, so that the location must be `x0` or `x0_through`. See `guidance.physical`.

    Raises:
        ConfigError: a setting out of range.
    """

    mu: float = 0.0
    eta: float = 0.0
    scale: Scale = "score"
    location: Location = "x_t"
    start: float = 1.0
    stop: float = 0.0
    every: int = 1
    max_norm: float | None = None
    travel: int = 0
    travel_start: float = 1.0
    travel_stop: float = 0.0
    physical: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("mu", "eta"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ConfigError(f"guidance {name}={value} is not finite; give a number")
        for name, allowed in (("scale", get_args(Scale)), ("location", get_args(Location))):
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"guidance {name}={value!r} is unknown; use one of {', '.join(allowed)}")
        if self.scale == "moment" and self.location != "x0":
            raise ConfigError(
                f"guidance scale='moment' with location={self.location!r}: it moves the predicted clean state; use "
                "location x0, or scale score"
            )
        check_window("guidance", self.start, self.stop, self.every)
        check_window("guidance travel", self.travel_start, self.travel_stop)
        if self.travel < 0:
            raise ConfigError(f"guidance travel={self.travel}: need an integer of at least 0")
        if self.max_norm is not None and not self.max_norm > 0:
            raise ConfigError(f"guidance max_norm={self.max_norm}: need a positive number, or null for no limit")
        self._check_physical()

    def _check_physical(self) -> None:
        for name, weight in self.physical.items():
            if name not in PHYSICAL_REWARDS:
                raise ConfigError(f"guidance physical has {name!r}; use one or more of {', '.join(PHYSICAL_REWARDS)}")
            if not math.isfinite(weight):
                raise ConfigError(f"guidance physical.{name}={weight} is not finite; give a number")
        if any(self.physical.values()) and self.location not in ("x0", "x0_through"):
            raise ConfigError(
                f"guidance physical={self.strengths} with location={self.location!r}: physical rewards read clean "
                "motions; use location x0 or x0_through"
            )

    @property
    def strengths(self) -> dict[str, float]:
        """The weights of the physical rewards that are not 0."""
        return {name: weight for name, weight in self.physical.items() if weight != 0}

    @property
    def asks(self) -> str:
        """Its weights, for messages."""
        physical = f", physical={self.strengths}" if self.strengths else ""
        return f"mu={self.mu}, eta={self.eta}{physical}"

    @property
    def active(self) -> bool:
        """Whether any reward enters at all; if not, and travel is 0, sampling is exactly the generator's own."""
        return self.learned or bool(self.strengths)

    @property
    def learned(self) -> bool:
        """Whether a learned reward enters."""
        return self.mu != 0 or self.eta != 0

    def guided_steps(self, steps: int) -> tuple[bool, ...]:
        """For each of `steps` sampler steps, first (noisiest) to last, whether it is guided.

        >>> GuidanceConfig(mu=1.0, start=0.5, every=2).guided_steps(8)
        (False, False, False, False, True, False, True, False)
        """
        if not self.active:
            return (False,) * steps
        return steps_inside(steps, self.start, self.stop, self.every)

    def travels(self, steps: int) -> tuple[int, ...]:
        """For each of `steps` sampler steps, how often it is undone and done again.

        >>> GuidanceConfig(travel=2, travel_start=0.75, travel_stop=0.25).travels(4)
        (0, 2, 2, 0)
        """
        return tuple(self.travel * inside for inside in steps_inside(steps, self.travel_start, self.travel_stop))


def check_window(what: str, start: float, stop: float, every: int = 1) -> None:
    """Refuse a window of the trajectory that is none.

    Raises:
        ConfigError: start or stop is out of order or range, or every below 1.
    """
    if not 0.0 <= stop < start <= 1.0:
        raise ConfigError(f"{what} window start={start}, stop={stop}: need 0 <= stop < start <= 1")
    if every < 1:
        raise ConfigError(f"{what} every={every}: need an integer of at least 1")


def steps_inside(steps: int, start: float, stop: float, every: int = 1) -> tuple[bool, ...]:
    """For each of `steps` steps, whether it is an every-th one of a window, see `GuidanceConfig`."""
    inside = [i for i in range(steps) if stop < (steps - i) / steps <= start]
    chosen = set(inside[::every])
    return tuple(i in chosen for i in range(steps))
