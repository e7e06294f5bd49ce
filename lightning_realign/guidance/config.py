"""Settings of the guidance: strength, where the reward is differentiated, how its gradient enters, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from lightning_realign.errors import ConfigError

Scale = Literal["score", "posterior", "constant"]
Location = Literal["x_t", "x_prev", "x0"]


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
        location: the tensor at which g is taken, whose signal level is also the reward's step token: `x_t` (paper),
            `x_prev` (x_{t-1}; public code), `x0` (predicted x_0, not through the denoiser, at level 0).
        start, stop: the guided window as fractions of the trajectory still ahead: 1 is pure noise, 0 the end.
        every: guide every k-th step of the window, beginning with its first.
        max_norm: largest L2 norm of one sample's g; a longer g is shortened to it. None: no limit.

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

    def __post_init__(self) -> None:
        for name in ("mu", "eta"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ConfigError(f"guidance {name}={value} is not finite; give a number")
        for name, allowed in (("scale", get_args(Scale)), ("location", get_args(Location))):
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"guidance {name}={value!r} is unknown; use one of {', '.join(allowed)}")
        if not 0.0 <= self.stop < self.start <= 1.0:
            raise ConfigError(f"guidance window start={self.start}, stop={self.stop}: need 0 <= stop < start <= 1")
        if self.every < 1:
            raise ConfigError(f"guidance every={self.every}: need an integer of at least 1")
        if self.max_norm is not None and not self.max_norm > 0:
            raise ConfigError(f"guidance max_norm={self.max_norm}: need a positive number, or null for no limit")

    @property
    def active(self) -> bool:
        """Whether any reward enters at all; if not, sampling is exactly the generator's own."""
        return self.mu != 0 or self.eta != 0

    def guided_steps(self, steps: int) -> tuple[bool, ...]:
        """For each of `steps` sampler steps, first (noisiest) to last, whether it is guided.

        >>> GuidanceConfig(mu=1.0, start=0.5, every=2).guided_steps(8)
        (False, False, False, False, True, False, True, False)
        """
        inside = [i for i in range(steps) if self.active and self.stop < (steps - i) / steps <= self.start]
        chosen = set(inside[:: self.every])
        return tuple(i in chosen for i in range(steps))
