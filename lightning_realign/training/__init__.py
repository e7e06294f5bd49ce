"""LightningModules that fit reward model, motion VAE, denoisers and evaluator. Inference needs none of them."""

from lightning_realign.training.diffusion import DiffusionTraining
from lightning_realign.training.evaluator import EvaluatorTraining
from lightning_realign.training.motion_diffusion import MotionDiffusionTraining
from lightning_realign.training.reward import RewardTraining
from lightning_realign.training.vae import VAETraining

__all__ = ["DiffusionTraining", "EvaluatorTraining", "MotionDiffusionTraining", "RewardTraining", "VAETraining"]
