"""Training of the text-conditioned latent denoiser (MLD, Chen et al., CVPR 2023) on the latents of a frozen VAE."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_realign.checkpoints.diffusion import diffusion_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.models import DenoiserArchitecture, LatentDenoiser, LatentSpace
from lightning_realign.motion import skeleton_reference
from lightning_realign.settings.plain import restored
from lightning_realign.settings.training import OptimiserConfig
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import TrainingModule
from lightning_realign.training.denoising import DenoisingDraws, DenoisingObjective
from lightning_realign.training.latents import FrozenVAE
from lightning_realign.types import UNCONDITIONAL_CAPTION, MotionTextBatch

PUBLISHED_NETWORK = DenoiserArchitecture()
PUBLISHED_SCHEDULE = NoiseSchedule()


class DiffusionTraining(TrainingModule):
    """Fits a `LatentDenoiser` to the standardised latents of a frozen VAE.

    Args:
        vae: checkpoint of the trained VAE.
        skeleton: feature spec of the motions, the VAE's own.
        text_encoder: name of the frozen text encoder.
        denoiser: sizes of the denoiser; the default is MLD's.
        schedule: noise schedule of the latents.
        prediction: what the denoiser predicts: the noise, or the clean latent.
        text_drop: probability that a caption is replaced by the empty one, for classifier-free guidance.
        sample_latents: train on latents drawn from the VAE's Gaussians; off, on their means.
        cache_latents: encode every training motion once, in its fixed crop, rather than a new crop in every step;
            nearly twice as fast where the denoiser is as small as the VAE.
        optimiser: learning rate, warm-up and weight decay.
        text_cache: folder of cached text features; None is the default one.
        seed: of training and of the noise in validation.

    Raises:
        ConfigError: a setting out of range.
    """

    text: CachedTextEncoder
    denoiser: LatentDenoiser

    def __init__(
        self,
        vae: str | None = None,
        skeleton: str = "humanml3d",
        text_encoder: str = "all-MiniLM-L6-v2",
        denoiser: DenoiserArchitecture = PUBLISHED_NETWORK,
        schedule: NoiseSchedule = PUBLISHED_SCHEDULE,
        prediction: Prediction = "epsilon",
        text_drop: float = 0.1,
        sample_latents: bool = True,
        cache_latents: bool = False,
        optimiser: OptimiserConfig = OptimiserConfig(),  # noqa: B008 - frozen
        text_cache: str | None = None,
        seed: int = 1234,
    ) -> None:
        super().__init__(
            "diffusion",
            skeleton,
            restored(OptimiserConfig, optimiser),
            seed,
            text=CachedTextEncoder(text_encoder, text_cache),
            vae=FrozenVAE(type(self).__name__, vae, sampled=sample_latents, cached=cache_latents),
        )
        self.save_settings(
            vae=vae,
            skeleton=skeleton,
            text_encoder=text_encoder,
            denoiser=denoiser,
            schedule=schedule,
            prediction=prediction,
            text_drop=text_drop,
            sample_latents=sample_latents,
            cache_latents=cache_latents,
            optimiser=optimiser,
            text_cache=text_cache,
            seed=seed,
        )
        self.denoising = DenoisingObjective(
            type(self).__name__, restored(NoiseSchedule, schedule), prediction, text_drop
        )
        self.architecture = restored(DenoiserArchitecture, denoiser)
        self.text_encoder, self.sample_latents = text_encoder, sample_latents

    def build_networks(self) -> None:
        """Make the denoiser of latents of the VAE's shape."""
        sizes = self.latent_space.shape
        self.denoiser = LatentDenoiser(*sizes, self.text.sentence_size, **asdict(self.architecture))

    def captions(self, stage: str) -> list[str]:
        """The captions that a stage reads, and the empty one."""
        return [*super().captions(stage), UNCONDITIONAL_CAPTION]

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """One step of denoising; timestep, noise and dropped captions are drawn per sample."""
        latent = self.encoded(batch)
        clean = self.latent_space.statistics.normalise(latent.sample() if self.sample_latents else latent.mean)
        loss = self.denoising_loss(clean, self.denoising.draw(clean), batch).mean()
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        return loss

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Loss on the latents' means, at a timestep and noise fixed per sample."""
        self._evaluate(batch, "val")

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """The same as in validation."""
        self._evaluate(batch, "test")

    def denoising_loss(self, clean: Tensor, draws: DenoisingDraws, batch: MotionTextBatch) -> Tensor:
        """Squared error per sample [B] of the denoiser on standardised latents [B, n, d]."""
        noisy, target = self.denoising.noisy_and_target(clean, draws)
        output: Tensor = self.denoiser(noisy, draws.index, self._sentences(batch, draws.dropped))
        return (output - target).square().flatten(1).mean(dim=1)

    @property
    def networks(self) -> tuple[LatentSpace, LatentDenoiser]:
        """The latent space and the denoiser. Raises what `latent_space` raises."""
        return self.latent_space, self.denoiser

    def specification(self) -> dict[str, Any]:
        """Kind, architectures, feature spec, text encoder, schedule and prediction."""
        return diffusion_spec(
            *self.networks,
            self.denoising.schedule,
            skeleton=skeleton_reference(self.skeleton),
            text_encoder=self.text_encoder,
            fingerprint=self.fingerprint,
            prediction=self.denoising.prediction,
        )

    def _evaluate(self, batch: MotionTextBatch, stage: Literal["val", "test"]) -> None:
        clean = self.latent_space.statistics.normalise(self.encoded(batch).mean)
        loss = self.denoising_loss(clean, self.denoising.fixed(clean, self.seed, batch.ids), batch).mean()
        self.log(f"{stage}/loss", loss, batch_size=len(batch), sync_dist=True)

    def _sentences(self, batch: MotionTextBatch, dropped: Tensor) -> Tensor:
        """Sentence embeddings [B, S], the empty caption's where `dropped` [B] is true."""
        sentences = self.text([*batch.captions, UNCONDITIONAL_CAPTION]).sentence.to(self.device)
        return torch.where(dropped[:, None], sentences[-1], sentences[:-1])
