"""Settings of the sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lightning_realign.errors import ConfigError
from lightning_realign.settings.checks import check_choice, check_least

SchedulerName = Literal["ddim", "ddpm", "lcm"]


@dataclass(frozen=True)
class SamplingConfig:
    """How a generator samples, with or without guidance.

    Args:
        steps: number of sampling steps; None for the generator's own.
        scheduler: `ddim`, `ddpm` or `lcm`; None for the generator's own.
        cfg_scale: scale of classifier-free guidance, 1 is purely conditional; None for the generator's own.
        ddim_eta: stochasticity of DDIM, 0 to 1; above 0 it has the noise that the scale `posterior` needs.
        seed: of all noise; with a sample's id and the replication it determines the sample's noise.

    Raises:
        ConfigError: a setting out of range.
    """

    steps: int | None = None
    scheduler: SchedulerName | None = None
    cfg_scale: float | None = None
    ddim_eta: float = 0.0
    seed: int = 1234

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_least("sampling steps", self.steps, 1)
        check_choice("sampling scheduler", self.scheduler, SchedulerName)
        if not 0.0 <= self.ddim_eta <= 1.0:
            raise ConfigError(f"sampling ddim_eta={self.ddim_eta}: need 0 to 1")

    @property
    def recipe_fields(self) -> dict[str, Any]:
        """The fields of a generator's recipe that are set."""
        fields = {"steps": self.steps, "scheduler": self.scheduler, "cfg_scale": self.cfg_scale}
        return {name: value for name, value in fields.items() if value is not None}
