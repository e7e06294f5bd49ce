"""Noise schedules, signal-level matching, and diffusers' schedulers set up for them."""

from lightning_realign.diffusion.schedule import NoiseSchedule, Scheduler, make_scheduler

__all__ = ["NoiseSchedule", "Scheduler", "make_scheduler"]
