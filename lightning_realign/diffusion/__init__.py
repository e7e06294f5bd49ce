"""Noise schedules, signal-level matching, and diffusers' schedulers set up for them."""

from lightning_realign.diffusion.factory import make_scheduler
from lightning_realign.diffusion.schedule import NoiseSchedule, Scheduler

__all__ = ["NoiseSchedule", "Scheduler", "make_scheduler"]
