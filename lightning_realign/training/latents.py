"""What trainings on the latents of a frozen VAE share: reading it, measuring its latents, caching them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lightning_realign.checkpoints.folder import is_address
from lightning_realign.checkpoints.vae import load_vae
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.models import LatentSpace, MotionVAE
from lightning_realign.motion import skeleton_label, skeleton_reference
from lightning_realign.training.base import TrainingModule
from lightning_realign.types import Gaussian, MotionTextBatch

# A latent channel that the VAE leaves unused hardly varies; standardised in full it would be all noise.
LEAST_RELATIVE_SCALE = 0.05


class LatentTraining(TrainingModule):
    """A training on the standardised latents of a frozen VAE.

    The VAE arrives in `setup`, or with a checkpoint: a checkpoint of this module holds everything, and resumes without
    the VAE's file. The networks that depend on the latents' shape are made then, by `build_networks`.

    Args:
        skeleton, kind, learning_rate, warmup_steps, weight_decay, seed: as of every training.
        vae: checkpoint of the trained VAE: a file, a folder or a repository, see `lightning_realign.checkpoints.hub`.
        needs_latents: False for a training that does without a VAE.

    Attributes:
        latents: the VAE and the statistics of its latents; None until it has arrived.
        sample_latents: train on samples of the VAE's Gaussians; off, on their means.
        cache_latents: encode every training motion once, in its fixed crop, rather than a new crop in every step.
    """

    sample_latents: bool = False
    cache_latents: bool = False

    def __init__(
        self,
        skeleton: str,
        kind: str,
        learning_rate: float,
        warmup_steps: int,
        weight_decay: float,
        seed: int,
        *,
        vae: str | None,
        needs_latents: bool = True,
    ) -> None:
        super().__init__(skeleton, kind, learning_rate, warmup_steps, weight_decay, seed)
        self.vae_path, self.needs_latents = vae, needs_latents
        self.latents: LatentSpace | None = None
        self._cached: dict[str, Gaussian] = {}

    def setup(self, stage: str) -> None:
        """Read the VAE, if its file is there (a resumed run needs none)."""
        path = self.vae_path
        if self.latents is None and path is not None and (is_address(path) or Path(path).exists()):
            self._read_vae(path)
        super().setup(stage)

    def adopt(self, data: MotionTextDataModule) -> None:
        """Nothing, with a VAE: the normaliser stays the VAE's own."""
        if not self.needs_latents:
            super().adopt(data)

    def build_networks(self) -> None:
        """Make the networks whose sizes follow from the latents."""
        raise NotImplementedError(f"{type(self).__name__} does not say which networks it trains")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over the networks. Raises what `latent_space` raises."""
        if self.needs_latents:
            _ = self.latent_space
        return super().configure_optimizers()

    def start(self) -> None:
        """Measure the latents on the training split; a checkpoint brings their statistics."""
        if self.latents is not None:
            self.latents.statistics.set(*self.trainer.strategy.broadcast(self._measure(self.latents)))
        super().start()
        self.renew_averages()

    def on_fit_start(self) -> None:
        """Begin, and then encode the training split, where its latents are to be cached."""
        super().on_fit_start()
        if self.latents is not None and self.cache_latents:
            self._cached = {
                sample: Gaussian(mean, logvar)
                for batch, latent in self._training_latents(self.latents)
                for sample, mean, logvar in zip(batch.ids, latent.mean, latent.logvar, strict=True)
            }

    @property
    def latent_space(self) -> LatentSpace:
        """The VAE and the statistics of its latents.

        Raises:
            ConfigError: no VAE was given.
            CheckpointError: the VAE's file does not exist.
        """
        if self.latents is not None:
            return self.latents
        name = type(self).__name__
        if self.vae_path is None:
            raise ConfigError(f"{name}.vae is not set; give the checkpoint of a trained VAE")
        raise CheckpointError(f"{self.vae_path}: no such VAE checkpoint; train one first, or correct {name}.vae")

    def make_networks(self, spec: Mapping[str, Any]) -> None:
        """Make the networks of the sizes that the checkpoint names, if there are none yet."""
        if self.latents is None and spec.get("vae") is not None:
            self._attach(MotionVAE(self.skeleton.num_features, **spec["vae"]))
            self.renew_averages()

    @torch.no_grad()
    def encoded(self, batch: MotionTextBatch) -> Gaussian:
        """The batch's latents [B, n, d], while training from the cache where there is one."""
        if self.training and self._cached:
            found = [self._cached[sample] for sample in batch.ids]
            return Gaussian(torch.stack([one.mean for one in found]), torch.stack([one.logvar for one in found]))
        return self.latent_space.encode(self.normalised(batch), batch.lengths)

    def _read_vae(self, path: str) -> None:
        bundle = load_vae(path)
        if bundle.skeleton != skeleton_reference(self.skeleton):
            name = type(self).__name__
            raise CheckpointError(
                f"{path}: is for skeleton {skeleton_label(bundle.skeleton)!r}, {name}.skeleton is "
                f"{self.skeleton.name!r}: set it to the VAE's"
            )
        self.normaliser.set(bundle.normaliser.mean, bundle.normaliser.std)
        self._attach(bundle.network)

    def _attach(self, vae: MotionVAE) -> None:
        self.latents = LatentSpace(vae)
        self.build_networks()

    @torch.no_grad()
    def _training_latents(self, latents: LatentSpace) -> Iterator[tuple[MotionTextBatch, Gaussian]]:
        """All motions of the training split in their fixed crops, each once, with their latents."""
        for batch in self.data.gallery_dataloader():
            moved = batch.to(self.device)
            yield moved, latents.encode(self.normalised(moved), moved.lengths)

    def _measure(self, latents: LatentSpace) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [n, d] of the training split's latents, as training will draw them."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for _, latent in self._training_latents(latents):
            mean, variance = latent.mean.double().cpu(), latent.logvar.exp().double().cpu()
            count += len(mean)
            total = total + mean.sum(dim=0)
            squares = squares + (mean.square() + variance * self.sample_latents).sum(dim=0)
        shift = total / count
        scale = (squares / count - shift.square()).clamp_min(0.0).sqrt()
        floor = LEAST_RELATIVE_SCALE * scale.square().mean().sqrt()
        return shift.float(), scale.clamp_min(floor).float()
