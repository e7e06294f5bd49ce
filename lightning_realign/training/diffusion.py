"""Training of the text-conditioned latent denoiser (MLD, Chen et al., CVPR 2023) on the latents of a frozen VAE."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_realign.checkpoint import diffusion_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.errors import ConfigError
from lightning_realign.guidance.noise import sample_generator
from lightning_realign.models import DenoiserArchitecture, LatentDenoiser, LatentSpace
from lightning_realign.motion import skeleton_reference
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import as_dataclass, primitive
from lightning_realign.training.latents import LatentTraining
from lightning_realign.types import UNCONDITIONAL_CAPTION, MotionTextBatch

PUBLISHED_NETWORK = DenoiserArchitecture()
PUBLISHED_SCHEDULE = NoiseSchedule()


class DiffusionTraining(LatentTraining):
    """Fits a `LatentDenoiser` to the standardised latents of a frozen VAE.

    Args:
        vae: checkpoint of the trained VAE.
        skeleton: feature spec of the motions, the VAE's own.
        text_encoder: name of the frozen text encoder.
        denoiser: sizes of the denoiser; the default is MLD's.
        schedule: noise schedule of the latents.
        prediction: what the denoiser predicts: the noise, or the clean latent.
        text_drop: probability that a caption is replaced by the empty one, for classifier-free guidance.
        sample_latents: train on samples of the VAE's Gaussians; off, on their means.
        cache_latents: encode every training motion once, in its fixed crop, rather than a new crop in every step;
            nearly twice as fast where the denoiser is as small as the VAE.
        learning_rate: peak of the cosine schedule.
        warmup_steps: linear warm-up, at most a tenth of the run.
        weight_decay: AdamW's.
        text_cache: folder of cached text features; None is the default one.
        seed: of training and of the noise in validation.

    Raises:
        ConfigError: a setting out of range.
    """

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
        learning_rate: float = 1e-4,
        warmup_steps: int = 1000,
        weight_decay: float = 0.0,
        text_cache: str | None = None,
        seed: int = 1234,
    ) -> None:
        settings = primitive({name: value for name, value in locals().items() if name not in ("self", "__class__")})
        super().__init__(skeleton, "diffusion", learning_rate, warmup_steps, weight_decay, seed, vae=vae)
        self.save_hyperparameters(settings)
        if not 0.0 <= text_drop <= 1.0:
            raise ConfigError(f"DiffusionTraining.text_drop is {text_drop}; set it between 0 and 1")
        if prediction not in ("epsilon", "sample"):
            raise ConfigError(f"DiffusionTraining.prediction is {prediction!r}; choose epsilon or sample")
        self.schedule = as_dataclass(NoiseSchedule, schedule)
        self.architecture = as_dataclass(DenoiserArchitecture, denoiser)
        self.prediction = prediction
        self.text_encoder, self.text_drop = text_encoder, text_drop
        self.sample_latents, self.cache_latents = sample_latents, cache_latents
        self.text = CachedTextEncoder(text_encoder, text_cache)

    def setup(self, stage: str) -> None:
        """Read the VAE, and encode the stage's captions."""
        super().setup(stage)
        self.prepare_text(self.text, stage, [UNCONDITIONAL_CAPTION])

    def build_networks(self) -> None:
        """Make the denoiser of latents of the VAE's shape."""
        sizes = self.latent_space.shape
        self.denoiser = LatentDenoiser(*sizes, self.text.sentence_size, **asdict(self.architecture))

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """One step of denoising; timestep, noise and dropped captions are drawn per sample."""
        latent = self.encoded(batch)
        z = latent.sample() if self.sample_latents else latent.mean
        index = torch.randint(self.schedule.steps, (len(batch),), device=self.device)
        dropped = torch.rand(len(batch), device=self.device) < self.text_drop
        loss = self.denoising_loss(z, index, torch.randn_like(z), self._sentences(batch, dropped)).mean()
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        return loss

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Loss at a timestep and noise fixed per sample, on the latents' means."""
        self._evaluate(batch, "val")

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """As in validation."""
        self._evaluate(batch, "test")

    def denoising_loss(self, z: Tensor, index: Tensor, noise: Tensor, text: Tensor) -> Tensor:
        """Squared error per sample [B].

        Args:
            z: [B, n, d] latents of the VAE.
            index: [B] the scheduler's timesteps, 0 to steps - 1; index i has the signal level alpha_bar[i + 1].
            noise: [B, n, d].
            text: [B, S] sentence embeddings.
        """
        latents, denoiser = self.networks
        clean = latents.statistics.normalise(z)
        noisy = self.schedule.add_noise(clean, index + 1, noise)
        target = noise if self.prediction == "epsilon" else clean
        error: Tensor = (denoiser(noisy, index, text) - target).square()
        return error.flatten(1).mean(dim=1)

    @property
    def networks(self) -> tuple[LatentSpace, LatentDenoiser]:
        """The latent space and the denoiser. Raises what `latent_space` raises."""
        return self.latent_space, self.denoiser

    def specification(self) -> dict[str, Any]:
        """Kind, architectures, feature spec, text encoder, schedule and prediction."""
        return diffusion_spec(
            *self.networks,
            self.schedule,
            skeleton=skeleton_reference(self.skeleton),
            text_encoder=self.text_encoder,
            fingerprint=self.fingerprint,
            prediction=self.prediction,
        )

    def _sentences(self, batch: MotionTextBatch, dropped: Tensor) -> Tensor:
        """Sentence embeddings [B, S], the empty caption's where `dropped` [B] is true."""
        sentences = self.text([*batch.captions, UNCONDITIONAL_CAPTION]).sentence.to(self.device)
        return torch.where(dropped[:, None], sentences[-1], sentences[:-1])

    def _evaluate(self, batch: MotionTextBatch, stage: Literal["val", "test"]) -> None:
        z = self.encoded(batch).mean
        generators = [sample_generator(self.seed, sample_id) for sample_id in batch.ids]
        steps = self.schedule.steps
        index = torch.cat([torch.randint(steps, (1,), generator=generator) for generator in generators])
        noise = torch.stack([torch.randn(z.shape[1:], generator=generator) for generator in generators]).to(z)
        kept = torch.zeros(len(batch), dtype=torch.bool, device=z.device)
        loss = self.denoising_loss(z, index.to(z.device), noise, self._sentences(batch, kept)).mean()
        self.log(f"{stage}/loss", loss, batch_size=len(batch), sync_dist=True)
