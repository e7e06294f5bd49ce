"""Training of the text-conditioned latent denoiser (MLD, Chen et al., CVPR 2023) on the latents of a frozen VAE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lightning_realign.checkpoint import diffusion_spec, load_vae
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.guidance.noise import sample_generator
from lightning_realign.models import DenoiserArchitecture, LatentDenoiser, MotionVAE, VAEArchitecture
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import TrainingModule, as_dataclass, primitive
from lightning_realign.types import UNCONDITIONAL_CAPTION, Gaussian, MotionTextBatch

PUBLISHED_NETWORK = DenoiserArchitecture()
PUBLISHED_SCHEDULE = NoiseSchedule()
# A latent channel that the VAE leaves unused hardly varies; standardised in full it would be all noise.
LEAST_RELATIVE_SCALE = 0.05


class DiffusionTraining(TrainingModule):
    """Fits a `LatentDenoiser` to the standardised latents z' = (z - latent_shift) / latent_scale of a frozen VAE.

    The networks are made when their sizes are known, in `setup` or when a checkpoint is loaded: a checkpoint of this
    module holds everything, and resumes without the VAE's file.

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

    latent_shift: Tensor
    latent_scale: Tensor

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
        super().__init__(skeleton, "diffusion", learning_rate, warmup_steps, weight_decay, seed)
        self.save_hyperparameters(settings)
        if not 0.0 <= text_drop <= 1.0:
            raise ConfigError(f"DiffusionTraining.text_drop is {text_drop}; set it between 0 and 1")
        if prediction not in ("epsilon", "sample"):
            raise ConfigError(f"DiffusionTraining.prediction is {prediction!r}; choose epsilon or sample")
        self.schedule = as_dataclass(NoiseSchedule, schedule)
        self.architecture = as_dataclass(DenoiserArchitecture, denoiser)
        self.prediction = prediction
        self.vae_path, self.text_encoder = vae, text_encoder
        self.text_drop, self.sample_latents, self.cache_latents = text_drop, sample_latents, cache_latents
        self._cached: dict[str, Gaussian] = {}
        self.text = CachedTextEncoder(text_encoder, text_cache)
        self.vae: MotionVAE | None = None
        self.denoiser: LatentDenoiser | None = None
        self._standardised = False

    def setup(self, stage: str) -> None:
        """Read the VAE, if its file is there (a resumed run needs none), and encode captions."""
        if self.vae is None and self.vae_path is not None and Path(self.vae_path).is_file():
            self._read_vae(self.vae_path)
        super().setup(stage)
        self.prepare_text(self.text, stage, [UNCONDITIONAL_CAPTION])

    def adopt(self, data: MotionTextDataModule) -> None:
        """Nothing: the normaliser stays the VAE's own."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over the denoiser. Raises what `networks` raises."""
        _ = self.networks
        return super().configure_optimizers()

    def on_fit_start(self) -> None:
        """Measure the latents on the training split, unless a checkpoint has brought their statistics."""
        super().on_fit_start()
        vae, _ = self.networks
        if self.cache_latents:
            self._cached = {
                sample: Gaussian(mean, logvar)
                for batch, latent in self._training_latents(vae, self.data)
                for sample, mean, logvar in zip(batch.ids, latent.mean, latent.logvar, strict=True)
            }
        if self._standardised:
            return
        shift, scale = self.trainer.strategy.broadcast(self._measure_latents(vae, self.data))
        self.latent_shift.copy_(shift)
        self.latent_scale.copy_(scale)
        self._standardised = True
        self.renew_averages()

    def train(self, mode: bool = True) -> DiffusionTraining:
        """Switch the mode of everything but the frozen VAE, which stays in eval mode."""
        super().train(mode)
        if self.vae is not None:
            self.vae.eval()
        return self

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """One step of denoising; timestep, noise and dropped captions are drawn per sample."""
        latent = self._latents(batch)
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
        _, denoiser = self.networks
        clean = (z - self.latent_shift) / self.latent_scale
        noisy = self.schedule.add_noise(clean, index + 1, noise)
        target = noise if self.prediction == "epsilon" else clean
        error: Tensor = (denoiser(noisy, index, text) - target).square()
        return error.flatten(1).mean(dim=1)

    @property
    def networks(self) -> tuple[MotionVAE, LatentDenoiser]:
        """The frozen VAE and the denoiser.

        Raises:
            ConfigError: no VAE was given.
            CheckpointError: the VAE's file does not exist.
        """
        if self.vae is not None and self.denoiser is not None:
            return self.vae, self.denoiser
        if self.vae_path is None:
            raise ConfigError("DiffusionTraining.vae is not set; give the checkpoint of a trained VAE")
        raise CheckpointError(
            f"{self.vae_path}: no such VAE checkpoint; train one first, or correct DiffusionTraining.vae"
        )

    def specification(self) -> dict[str, Any]:
        """Kind, architectures, feature spec, text encoder, schedule and prediction."""
        return diffusion_spec(
            *self.networks,
            self.schedule,
            skeleton=self.skeleton.name,
            text_encoder=self.text_encoder,
            fingerprint=self.fingerprint,
            prediction=self.prediction,
        )

    def make_networks(self, spec: Mapping[str, Any]) -> None:
        """Make the networks of the sizes that the checkpoint names, if there are none yet."""
        self._standardised = True
        if self.vae is None:
            architecture = VAEArchitecture(**spec["vae"])
            self._attach(MotionVAE(self.skeleton.num_features, **asdict(architecture)))
            self.renew_averages()

    def _read_vae(self, path: str) -> None:
        bundle = load_vae(path)
        if bundle.skeleton != self.skeleton.name:
            raise CheckpointError(
                f"{path}: is for skeleton {bundle.skeleton!r}, DiffusionTraining.skeleton is {self.skeleton.name!r}: "
                "set it to the VAE's"
            )
        self.normaliser.set(bundle.normaliser.mean, bundle.normaliser.std)
        self._attach(bundle.network)

    def _attach(self, vae: MotionVAE) -> None:
        self.vae = vae.requires_grad_(False).eval()
        sizes = vae.latent_tokens, vae.latent_size
        self.denoiser = LatentDenoiser(*sizes, self.text.sentence_size, **asdict(self.architecture))
        self.register_buffer("latent_shift", torch.zeros(sizes))
        self.register_buffer("latent_scale", torch.ones(sizes))

    @torch.no_grad()
    def _latents(self, batch: MotionTextBatch) -> Gaussian:
        """The batch's latents [B, n, d], from the cache where there is one."""
        if self._cached:
            found = [self._cached[sample] for sample in batch.ids]
            return Gaussian(torch.stack([one.mean for one in found]), torch.stack([one.logvar for one in found]))
        vae, _ = self.networks
        return vae.encode(self.normalised(batch), batch.lengths)

    @torch.no_grad()
    def _training_latents(
        self, vae: MotionVAE, data: MotionTextDataModule
    ) -> Iterator[tuple[MotionTextBatch, Gaussian]]:
        """All motions of the training split in their fixed crops, each once, with their latents."""
        for batch in data.gallery_dataloader():
            moved = batch.to(self.device)
            yield moved, vae.encode(self.normalised(moved), moved.lengths)

    def _measure_latents(self, vae: MotionVAE, data: MotionTextDataModule) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [n, d] of the training split's latents, as training will draw them."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for _, latent in self._training_latents(vae, data):
            mean, variance = latent.mean.double().cpu(), latent.logvar.exp().double().cpu()
            count += len(mean)
            total = total + mean.sum(dim=0)
            squares = squares + (mean.square() + variance * self.sample_latents).sum(dim=0)
        shift = total / count
        scale = (squares / count - shift.square()).clamp_min(0.0).sqrt()
        floor = LEAST_RELATIVE_SCALE * scale.square().mean().sqrt()
        return shift.float(), scale.clamp_min(floor).float()

    def _sentences(self, batch: MotionTextBatch, dropped: Tensor) -> Tensor:
        """Sentence embeddings [B, S], the empty caption's where `dropped` [B] is true."""
        sentences = self.text([*batch.captions, UNCONDITIONAL_CAPTION]).sentence.to(self.device)
        return torch.where(dropped[:, None], sentences[-1], sentences[:-1])

    def _evaluate(self, batch: MotionTextBatch, stage: Literal["val", "test"]) -> None:
        vae, _ = self.networks
        z = vae.encode(self.normalised(batch), batch.lengths).mean
        generators = [sample_generator(self.seed, sample_id) for sample_id in batch.ids]
        steps = self.schedule.steps
        index = torch.cat([torch.randint(steps, (1,), generator=generator) for generator in generators])
        noise = torch.stack([torch.randn(z.shape[1:], generator=generator) for generator in generators]).to(z)
        kept = torch.zeros(len(batch), dtype=torch.bool, device=z.device)
        loss = self.denoising_loss(z, index.to(z.device), noise, self._sentences(batch, kept)).mean()
        self.log(f"{stage}/loss", loss, batch_size=len(batch), sync_dist=True)
