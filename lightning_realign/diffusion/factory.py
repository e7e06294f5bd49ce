"""Schedulers by name; diffusers is imported only where its DDPM is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from lightning_realign.diffusion.ddim import DDIM
from lightning_realign.diffusion.schedule import NoiseSchedule, Prediction
from lightning_realign.errors import ConfigError

if TYPE_CHECKING:
    from lightning_realign.diffusion.ddpm import CheckedDDPM

    Scheduler: TypeAlias = DDIM | CheckedDDPM
else:
    Scheduler = Any


def make_scheduler(
    name: Literal["ddim", "ddpm"], schedule: NoiseSchedule, prediction: Prediction = "epsilon"
) -> Scheduler:
    """A scheduler with MLD's settings and this schedule's coefficients, in float64: our DDIM, or diffusers' DDPM.

    Timesteps are spaced "leading" with offset 1, so that 50 of 1000 steps give 981, 961, ..., 1; as many steps as the
    schedule has give every timestep. DDPM's variance is the posterior's ("fixed_small"). Nothing is clipped.

    Args:
        name: "ddim" or "ddpm".
        schedule: the schedule that the generator was trained with.
        prediction: what the generator predicts: "epsilon" the noise, "sample" the clean latent.

    Raises:
        ConfigError: an unknown name or prediction.
    """
    if prediction not in get_args(Prediction):
        raise ConfigError(f"prediction={prediction!r}: must be one of {', '.join(get_args(Prediction))}")
    if name == "ddim":
        return DDIM(schedule, prediction)
    if name == "ddpm":
        from lightning_realign.diffusion.ddpm import build_ddpm

        return build_ddpm(schedule, prediction)
    raise ConfigError(f"scheduler={name!r}: must be one of ddim, ddpm")
