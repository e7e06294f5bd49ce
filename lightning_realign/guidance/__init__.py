"""Reward guidance: the dual reward, its gradient, and one sampler for every generator."""

from lightning_realign.diffusion.noise import prompt_id, prompt_ids
from lightning_realign.diffusion.schedule import SchedulerName
from lightning_realign.diffusion.steps import make_steps
from lightning_realign.guidance.best_of import BestOfN
from lightning_realign.guidance.drawing import DrawingSampler
from lightning_realign.guidance.particles import ParticleConfig, ParticleSteering
from lightning_realign.guidance.sampler import RewardGuidedSampler, SampledStates
from lightning_realign.rewards.decoded import DecodedReward
from lightning_realign.rewards.reward import DualAlignmentReward, Reward, reward_gradient
from lightning_realign.rewards.weighted import FixedReward, MeanReward, WeightedRewards
from lightning_realign.settings.guidance import GuidanceConfig, Location, Scale

__all__ = [
    "BestOfN",
    "DecodedReward",
    "DrawingSampler",
    "DualAlignmentReward",
    "FixedReward",
    "GuidanceConfig",
    "Location",
    "MeanReward",
    "ParticleConfig",
    "ParticleSteering",
    "Reward",
    "RewardGuidedSampler",
    "SampledStates",
    "Scale",
    "SchedulerName",
    "WeightedRewards",
    "make_steps",
    "prompt_id",
    "prompt_ids",
    "reward_gradient",
]
