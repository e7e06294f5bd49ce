"""Settings of the guidance: strength, where the reward is differentiated, how its gradient enters, and when."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_realign.errors import ConfigError
from lightning_realign.settings.checks import check_finite
from lightning_realign.settings.window import check_window, steps_inside


@dataclass(frozen=True)
class GuidanceConfig:
    """How R(x, c) = mu R_phi(x, c) + eta R_m(x, x^c) steers the sampler (ReAlign, arXiv 2511.19217, eq. 9).

    Rewards are summed over the batch, never averaged, so that a motion's guidance does not depend on its batch. A
    published strength lambda is the weight of a batch mean: it is B * mu under the scale `constant`.

    Args:
        mu: weight of the text-motion reward; under `score` an inverse temperature, exact at 1 / tau of the loss.
        eta: weight of the motion-motion reward with the retrieved training motion x^c.
        scale: how the gradient enters the step: `score`, `posterior`, `constant`, `moment`, or the path of a class.
        location: where the gradient is taken: `x_t`, `x_prev`, `x0`, `x0_through`, or the path of a class.
        start: beginning of the guided window, as the fraction of the trajectory still ahead; 1 is pure noise.
        stop: end of the guided window; 0 is the end of the trajectory.
        every: guide every k-th step of the window, beginning with its first.
        max_norm: largest L2 norm of one sample's gradient; a longer one is shortened to it. None is no limit.
        physical: weights of the physical rewards by name; they read clean motions, whatever mu is.

    Raises:
        ConfigError: a setting out of range.
    """

    mu: float = 0.0
    eta: float = 0.0
    scale: str = "score"
    location: str = "x_t"
    start: float = 1.0
    stop: float = 0.0
    every: int = 1
    max_norm: float | None = None
    physical: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_finite("guidance ", {"mu": self.mu, "eta": self.eta})
        check_finite("guidance physical.", self.physical)
        check_window("guidance", self.start, self.stop, self.every)
        if self.max_norm is not None and not self.max_norm > 0:
            raise ConfigError(f"guidance max_norm={self.max_norm}: need a positive number, or null for no limit")

    @property
    def strengths(self) -> dict[str, float]:
        """The weights of the physical rewards that are not 0."""
        return {name: weight for name, weight in self.physical.items() if weight != 0}

    @property
    def weights(self) -> str:
        """Its weights, for messages."""
        physical = f", physical={self.strengths}" if self.strengths else ""
        return f"mu={self.mu}, eta={self.eta}{physical}"

    @property
    def learned(self) -> bool:
        """Whether a learned reward guides."""
        return self.mu != 0 or self.eta != 0

    @property
    def active(self) -> bool:
        """Whether any reward guides; if not, sampling is exactly the generator's own."""
        return self.learned or bool(self.strengths)

    def guided_steps(self, steps: int) -> tuple[bool, ...]:
        """For each of `steps` sampler steps, first (noisiest) to last, whether it is guided.

        >>> GuidanceConfig(mu=1.0, start=0.5, every=2).guided_steps(8)
        (False, False, False, False, True, False, True, False)
        """
        if not self.active:
            return (False,) * steps
        return steps_inside(steps, self.start, self.stop, self.every)
