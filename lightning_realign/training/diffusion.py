"""Training of the text-conditioned latent denoiser (MLD, Chen et al., CVPR 2023) on the latents of a frozen VAE."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from lightning_realign.checkpoints.diffusion import diffusion_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.models import DenoiserArchitecture, LatentDenoiser, LatentSpace
from lightning_realign.motion import skeleton_reference
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import as_dataclass, primitive
from lightning_realign.training.denoising import DenoisingTraining
from lightning_realign.training.latents import LatentTraining
from lightning_realign.types import UNCONDITIONAL_CAPTION, MotionTextBatch

PUBLISHED_NETWORK = DenoiserArchitecture()
PUBLISHED_SCHEDULE = NoiseSchedule()


class DiffusionTraining(LatentTraining, DenoisingTraining):
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
        self.set_denoising(
            as_dataclass(NoiseSchedule, schedule), prediction, CachedTextEncoder(text_encoder, text_cache), text_drop
        )
        self.architecture = as_dataclass(DenoiserArchitecture, denoiser)
        self.text_encoder = text_encoder
        self.sample_latents, self.cache_latents = sample_latents, cache_latents

    def build_networks(self) -> None:
        """Make the denoiser of latents of the VAE's shape."""
        sizes = self.latent_space.shape
        self.denoiser = LatentDenoiser(*sizes, self.text.sentence_size, **asdict(self.architecture))

    def clean_states(self, batch: MotionTextBatch, draw: bool) -> Tensor:
        """The standardised latents [B, n, d]; means, unless samples may be drawn and are wanted."""
        latent = self.encoded(batch)
        z = latent.sample() if draw and self.sample_latents else latent.mean
        return self.latent_space.statistics.normalise(z)

    def predict(self, noisy: Tensor, index: Tensor, batch: MotionTextBatch, dropped: Tensor) -> Tensor:
        """The denoiser's output; a caption that is left out becomes the empty one."""
        output: Tensor = self.denoiser(noisy, index, self._sentences(batch, dropped))
        return output

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
