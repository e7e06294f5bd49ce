"""Noise schedules, signal-level matching, and the schedulers set up for them."""

from lightning_realign.diffusion.factory import Scheduler, make_scheduler
from lightning_realign.diffusion.schedule import NoiseSchedule

__all__ = ["NoiseSchedule", "Scheduler", "make_scheduler"]
