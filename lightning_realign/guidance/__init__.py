"""Reward guidance: the dual reward, its gradient, and one sampler for every generator."""

from lightning_realign.guidance.config import GuidanceConfig, Location, Scale
from lightning_realign.guidance.noise import prompt_id, prompt_ids
from lightning_realign.guidance.reward import DualAlignmentReward, Reward, reward_gradient
from lightning_realign.guidance.sampler import RewardGuidedSampler, SampledStates
from lightning_realign.guidance.stepping import SchedulerName

__all__ = [
    "DualAlignmentReward",
    "GuidanceConfig",
    "Location",
    "Reward",
    "RewardGuidedSampler",
    "SampledStates",
    "Scale",
    "SchedulerName",
    "prompt_id",
    "prompt_ids",
    "reward_gradient",
]
