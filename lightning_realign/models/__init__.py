"""The networks, as plain modules whose state dicts carry the names of the public checkpoints."""

from lightning_realign.models.denoiser import DenoiserArchitecture, LatentDenoiser
from lightning_realign.models.evaluator import EvaluatorArchitecture, MotionTextEvaluator
from lightning_realign.models.latents import LatentSpace
from lightning_realign.models.reward import RewardArchitecture, StepAwareRewardModel
from lightning_realign.models.reward_space import RewardSpace, SpaceName
from lightning_realign.models.vae import MotionVAE, VAEArchitecture

__all__ = [
    "DenoiserArchitecture",
    "EvaluatorArchitecture",
    "LatentDenoiser",
    "LatentSpace",
    "MotionTextEvaluator",
    "MotionVAE",
    "RewardArchitecture",
    "RewardSpace",
    "SpaceName",
    "StepAwareRewardModel",
    "VAEArchitecture",
]
