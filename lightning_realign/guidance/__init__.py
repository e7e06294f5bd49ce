"""Guided sampling: one sampler for every generator, best of N, particles."""

from lightning_realign.guidance.best_of import BestOfN
from lightning_realign.guidance.masked import MaskedSampler
from lightning_realign.guidance.particles import ParticleSteering
from lightning_realign.guidance.sampler import RewardGuidedSampler, SampledStates

__all__ = ["BestOfN", "MaskedSampler", "ParticleSteering", "RewardGuidedSampler", "SampledStates"]
