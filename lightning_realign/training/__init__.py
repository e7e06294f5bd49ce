"""LightningModules that fit the reward model, the motion VAE and the latent denoiser. Inference needs none of them."""

from lightning_realign.training.diffusion import DiffusionTraining
from lightning_realign.training.reward import RewardTraining
from lightning_realign.training.vae import VAETraining

__all__ = ["DiffusionTraining", "RewardTraining", "VAETraining"]
