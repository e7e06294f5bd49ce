"""Tiny networks and trainers."""

import lightning as L

from lightning_realign.models import DenoiserArchitecture, RewardArchitecture, VAEArchitecture
from lightning_realign.settings.training import OptimiserConfig
from lightning_realign.training import DiffusionTraining, RewardTraining, VAETraining
from lightning_realign.training.noise import RewardNoise

SIZES = {"width": 32, "layers": 3, "heads": 2, "feedforward": 48}
REWARD = RewardArchitecture(**SIZES, patch=4)
VAE = VAEArchitecture(**SIZES, latent_tokens=2, latent_size=8, patch=4)
DENOISER = DenoiserArchitecture(**SIZES)


OPTIMISER = OptimiserConfig(learning_rate=1e-3)


def reward_module(text_cache, network=REWARD, noise=None, **settings):
    L.seed_everything(0)
    levels = RewardNoise(**({"validation_timesteps": (0, 300)} | (noise or {})))
    return RewardTraining(network=network, text_cache=text_cache, noise=levels, optimiser=OPTIMISER, **settings)


def vae_module(**settings):
    L.seed_everything(0)
    return VAETraining(network=VAE, optimiser=OPTIMISER, **settings)


def diffusion_module(text_cache, vae, **settings):
    L.seed_everything(0)
    return DiffusionTraining(vae=vae, denoiser=DENOISER, text_cache=text_cache, optimiser=OPTIMISER, **settings)


def trainer(folder, **settings):
    options = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "default_root_dir": folder,
        "max_epochs": 2,
    }
    return L.Trainer(**(options | settings))


def as_trained(module):
    """The module with its random weights passed off as a checkpoint's."""
    module.load_state_dict(module.state_dict())
    return module


class LossRecord(L.Callback):
    """The training loss of every step."""

    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())


class StopAfter(L.Callback):
    """Saves a checkpoint after so many steps, and ends the run there, as if it had been killed."""

    def __init__(self, steps, path):
        self.steps, self.path = steps, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.steps:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True
