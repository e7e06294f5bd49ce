"""Training of the text-conditioned latent denoiser (MLD, Chen et al., CVPR 2023) on the latents of a frozen VAE."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_realign.checkpoint import SPEC_KEY, diffusion_spec, load_diffusion, load_vae
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.guidance.noise import sample_generator
from lightning_realign.models import DenoiserArchitecture, LatentDenoiser, MotionVAE, VAEArchitecture
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import TrainingModule, as_dataclass, primitive
from lightning_realign.types import MotionTextBatch

PUBLISHED_NETWORK = DenoiserArchitecture()
PUBLISHED_SCHEDULE = NoiseSchedule()
UNCONDITIONAL_CAPTION = ""
# A latent channel that the VAE leaves unused hardly varies; standardised in full it would be all noise.
LEAST_RELATIVE_SCALE = 0.05


class DiffusionTraining(TrainingModule):
    """Fits a `LatentDenoiser` to the standardised latents z' = (z - latent_shift) / latent_scale of a frozen VAE.

    The networks are made when their sizes are known, in `setup` or when a checkpoint is loaded. The VAE's file is read
    at the start of a new fit only: a checkpoint of this module holds everything, and resumes without it.

    Args:
        vae: checkpoint of the trained VAE.
        skeleton: feature spec of the motions, the VAE's own.
        text_encoder: name of the frozen text encoder.
        denoiser: sizes of the denoiser; the default is MLD's.
        schedule: noise schedule of the latents.
        prediction: what the denoiser predicts: the noise, or the clean latent.
        text_drop: probability that a caption is replaced by the empty one, for classifier-free guidance.
        sample_latents: train on samples of the VAE's Gaussians; off, on their means.
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
        self.text_drop, self.sample_latents = text_drop, sample_latents
        self.text = CachedTextEncoder(text_encoder, text_cache)
        self.vae: MotionVAE | None = None
        self.denoiser: LatentDenoiser | None = None

    def setup(self, stage: str) -> None:
        """Read the VAE, measure its latents on the training split (both for a new fit only), and encode captions."""
        if self.vae is None:
            self._read_networks()
        super().setup(stage)
        self.prepare_text(self.text, stage, [UNCONDITIONAL_CAPTION])

    def adopt(self, data: MotionTextDataModule) -> None:
        """Measure shift and scale of the latents; the normaliser stays the VAE's own."""
        if getattr(self.trainer, "ckpt_path", None) is None:
            vae, _ = self.networks
            # Lightning moves the module later than this; latents of a large data set want the accelerator now.
            self.to(self.trainer.strategy.root_device)
            shift, scale = self._measure_latents(vae, data)
            self.latent_shift.copy_(self.trainer.strategy.broadcast(shift))
            self.latent_scale.copy_(self.trainer.strategy.broadcast(scale))

    def train(self, mode: bool = True) -> DiffusionTraining:
        """Switch the mode of everything but the frozen VAE, which stays in eval mode."""
        super().train(mode)
        if self.vae is not None:
            self.vae.eval()
        return self

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """One step of denoising; timestep, noise and dropped captions are drawn per sample."""
        vae, _ = self.networks
        with torch.no_grad():
            latent = vae.encode(self.normalised(batch), batch.lengths)
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
            ConfigError: they have not been made yet.
        """
        if self.vae is None or self.denoiser is None:
            raise ConfigError("DiffusionTraining has no networks before `setup`: fit it, or load a checkpoint")
        return self.vae, self.denoiser

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

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the VAE of the sizes that the checkpoint names, if there is none yet."""
        super().on_load_checkpoint(checkpoint)
        if self.vae is None:
            architecture = VAEArchitecture(**checkpoint[SPEC_KEY]["vae"])
            sizes = primitive({"vae": architecture})["vae"]
            self._attach(MotionVAE(self.skeleton.num_features, **sizes), self.normaliser)

    def _read_networks(self) -> None:
        """Take the VAE from the checkpoint that is resumed, else from its own file."""
        resumed: str | None = getattr(self.trainer, "ckpt_path", None)
        if resumed is not None:
            found = load_diffusion(resumed)
            self._attach(found.vae, found.normaliser)
            return
        if self.vae_path is None:
            raise ConfigError("DiffusionTraining.vae is not set; give the checkpoint of a trained VAE")
        bundle = load_vae(self.vae_path)
        if bundle.skeleton != self.skeleton.name:
            raise CheckpointError(
                f"{self.vae_path}: is for skeleton {bundle.skeleton!r}, DiffusionTraining.skeleton is "
                f"{self.skeleton.name!r}: set it to the VAE's"
            )
        self._attach(bundle.network, bundle.normaliser)

    def _attach(self, vae: MotionVAE, normaliser: Normaliser) -> None:
        self.vae, self.normaliser = vae.requires_grad_(False).eval(), normaliser
        sizes = vae.latent_tokens, vae.latent_size
        self.denoiser = LatentDenoiser(
            *sizes, self.text.sentence_size, **primitive({"denoiser": self.architecture})["denoiser"]
        )
        self.register_buffer("latent_shift", torch.zeros(sizes))
        self.register_buffer("latent_scale", torch.ones(sizes))

    @torch.no_grad()
    def _measure_latents(self, vae: MotionVAE, data: MotionTextDataModule) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [n, d] of the training split's latents, as training will draw them."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for batch in data.gallery_dataloader():
            moved = batch.to(self.trainer.strategy.root_device)
            latent = vae.encode(self.normalised(moved), moved.lengths)
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
