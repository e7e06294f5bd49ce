"""Settings of the guidance: strength, where the reward is differentiated, how its gradient enters, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lightning_realign.errors import ConfigError
from lightning_realign.settings.checks import check_choice, check_finite
from lightning_realign.settings.window import check_window, steps_inside

Preset = Literal["fast", "best"]
PRESETS: Mapping[str, Mapping[str, Any]] = {"fast": {"start": 0.55, "every": 2}, "best": {}}
"""What the window of each preset has in place of the defaults."""
_WINDOW = ("start", "stop", "every")


@dataclass(frozen=True)
class GuidanceConfig:
    """How R(x, c) = mu R_phi(x, c) + eta R_m(x, x^c) steers the sampler (ReAlign, arXiv 2511.19217, eq. 9).

    Rewards are summed over the batch, never averaged, so that a motion's guidance does not depend on its batch. A
    published strength lambda is the weight of a batch mean: it is B * mu under the scale `constant`.

    None leaves a setting open: a reward's folder that remembers it fills it, else its default. `FilledGuidance` has the
    defaults. With a reward whose folder does not remember mu, mu is 1 / temperature of the reward's loss, and 10 where
    that is not known.

    Args:
        mu: weight of the text-motion reward; under `score` an inverse temperature, exact at 1 / tau of the loss.
        eta: weight of the motion-motion reward with the retrieved training motion x^c.
        scale: how the gradient enters the step: `score`, `posterior`, `constant`, `moment`, or the path of a class.
        location: where the gradient is taken: `x_t`, `x_prev`, `x0`, `x0_through`, or the path of a class.
        start: beginning of the guided window, as the fraction of the trajectory still ahead; 1 is pure noise.
        stop: end of the guided window; 0 is the end of the trajectory.
        every: guide every k-th step of the window, beginning with its first.
        max_norm: largest L2 norm of one sample's gradient; a longer one is shortened to it. 0 is no limit.
        preset: a window by name: `fast` guides every 2nd of the last 55% of the steps, `best` all steps. What else is
            set of start, stop and every wins over it.
        physical: weights of the physical rewards by name; they read clean motions, whatever mu is.

    Raises:
        ConfigError: a setting out of range.
    """

    mu: float | None = None
    eta: float | None = None
    scale: str | None = None
    location: str | None = None
    start: float | None = None
    stop: float | None = None
    every: int | None = None
    max_norm: float | None = None
    preset: Preset | None = None
    physical: dict[str, float] | None = None

    def __post_init__(self) -> None:
        said = {name: value for name in ("mu", "eta") if (value := getattr(self, name)) is not None}
        check_finite("guidance ", said)
        check_finite("guidance physical.", self.physical or {})
        check_choice("guidance preset", self.preset, Preset)
        window = {name: value for name in _WINDOW if (value := getattr(self, name)) is not None}
        check_window("guidance", **{"start": 1.0, "stop": 0.0, **window})
        if self.max_norm is not None and not self.max_norm >= 0:
            raise ConfigError(f"guidance max_norm={self.max_norm}: need a positive number, or 0 for no limit")

    @property
    def said(self) -> dict[str, Any]:
        """The settings that are not open, those of the preset's window included."""
        said = {entry.name: value for entry in fields(self) if (value := getattr(self, entry.name)) is not None}
        preset = said.pop("preset", None)
        if preset is None:
            return said
        defaults = FilledGuidance()
        return {**{name: getattr(defaults, name) for name in _WINDOW}, **PRESETS[preset], **said}

    def over(self, other: GuidanceConfig) -> GuidanceConfig:
        """These settings, and those of another where these are open."""
        return GuidanceConfig(**{**other.said, **self.said}, preset=self.preset)

    def filled(self) -> FilledGuidance:
        """These settings, and the defaults where they are open."""
        return FilledGuidance(**self.said, preset=self.preset)

    def require_mu(self) -> None:
        """Refuse a scale or a location without the mu that belongs to it.

        Raises:
            ConfigError: one of them is set, and mu is open.
        """
        given = {name: value for name in ("scale", "location") if (value := getattr(self, name)) is not None}
        if given and self.mu is None:
            told = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise ConfigError(f"guidance {told} without mu: mu has another range there; set mu as well")


@dataclass(frozen=True)
class FilledGuidance(GuidanceConfig):
    """Settings of which none is open; its defaults are those of the guidance, and guide by nothing.

    Args:
        mu: see `GuidanceConfig`, as for all others.
        eta: weight of the motion-motion reward.
        scale: how the gradient enters.
        location: where it is taken.
        start: beginning of the window.
        stop: its end.
        every: guide every k-th step.
        max_norm: largest norm, 0 for no limit.
        preset: the window's name.
        physical: as there.
    """

    mu: float = 0.0
    eta: float = 0.0
    scale: str = "score"
    location: str = "x_t"
    start: float = 1.0
    stop: float = 0.0
    every: int = 1
    max_norm: float = 0.0
    physical: dict[str, float] = field(default_factory=dict)

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

        >>> GuidanceConfig(mu=1.0, start=0.5, every=2).filled().guided_steps(8)
        (False, False, False, False, True, False, True, False)
        """
        if not self.active:
            return (False,) * steps
        return steps_inside(steps, self.start, self.stop, self.every)
