"""Training of a text-conditioned denoiser on motions themselves (MDM, Tevet et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_realign.checkpoints.diffusion import motion_diffusion_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.errors import FeatureSpecError
from lightning_realign.generators.mdm.generator import MAX_FRAMES
from lightning_realign.models.published.mdm import MotionDenoiser, MotionDenoiserArchitecture
from lightning_realign.motion import skeleton_reference
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import as_dataclass, primitive
from lightning_realign.training.denoising import DenoisingTraining
from lightning_realign.types import MotionTextBatch, valid_mask

PUBLISHED_NETWORK = MotionDenoiserArchitecture()
PUBLISHED_SCHEDULE = NoiseSchedule(kind="cosine")


class MotionDiffusionTraining(DenoisingTraining):
    """Fits a `MotionDenoiser` to the normalised motions of a data set; the loss is over a motion's own frames.

    A network that does not mask padding hears it, so that its states have as many frames as `MDMGenerator` samples.

    Args:
        skeleton: feature spec of the motions.
        text_encoder: name of the frozen text encoder.
        denoiser: form and sizes of the network; the default is MDM's.
        schedule: noise schedule of the motions.
        prediction: what the network predicts: the clean motion, or the noise.
        text_drop: probability that a caption is left out, for classifier-free guidance.
        learning_rate: peak of the cosine schedule.
        warmup_steps: linear warm-up, at most a tenth of the run.
        weight_decay: AdamW's.
        text_cache: folder of cached text features; None is the default one.
        seed: of training and of the noise in validation.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        skeleton: str = "humanml3d",
        text_encoder: str = "all-MiniLM-L6-v2",
        denoiser: MotionDenoiserArchitecture = PUBLISHED_NETWORK,
        schedule: NoiseSchedule = PUBLISHED_SCHEDULE,
        prediction: Prediction = "sample",
        text_drop: float = 0.1,
        learning_rate: float = 1e-4,
        warmup_steps: int = 1000,
        weight_decay: float = 0.0,
        text_cache: str | None = None,
        seed: int = 1234,
    ) -> None:
        settings = primitive({name: value for name, value in locals().items() if name not in ("self", "__class__")})
        super().__init__(skeleton, "motion_diffusion", learning_rate, warmup_steps, weight_decay, seed)
        self.save_hyperparameters(settings)
        self.set_denoising(
            as_dataclass(NoiseSchedule, schedule), prediction, CachedTextEncoder(text_encoder, text_cache), text_drop
        )
        self.text_encoder = text_encoder
        architecture = as_dataclass(MotionDenoiserArchitecture, denoiser)
        text_size = self.text.sentence_size if architecture.text == "sentence" else self.text.token_size
        self.denoiser = MotionDenoiser(self.skeleton.num_features, text_size, **asdict(architecture))

    def clean_states(self, batch: MotionTextBatch, draw: bool) -> Tensor:
        """The normalised motions [B, T, D], zero beyond each length; T is fixed where the network hears padding.

        Raises:
            FeatureSpecError: a motion longer than that.
        """
        motion = self.normalised(batch)
        if self.denoiser.architecture.mask_frames:
            return motion
        if motion.shape[1] > MAX_FRAMES:
            raise FeatureSpecError(
                f"a motion of {motion.shape[1]} frames: without mask_frames a denoiser is trained on at most "
                f"{MAX_FRAMES}; set mask_frames, or shorten the motions"
            )
        return F.pad(motion, (0, 0, 0, MAX_FRAMES - motion.shape[1]))

    def predict(self, noisy: Tensor, index: Tensor, batch: MotionTextBatch, dropped: Tensor) -> Tensor:
        """The denoiser's output [B, T, D]."""
        text = self.text(batch.captions).to(self.device)
        output: Tensor = self.denoiser(noisy, index, text, batch.lengths, dropped)
        return output

    def mean_error(self, error: Tensor, batch: MotionTextBatch) -> Tensor:
        """The mean over a motion's own frames, [B]."""
        valid = valid_mask(batch.lengths, error.shape[1])
        return (error.mean(dim=2) * valid).sum(dim=1) / batch.lengths

    def fixed_noise(self, clean: Tensor, batch: MotionTextBatch, generators: Sequence[torch.Generator]) -> Tensor:
        """Noise on a motion's own frames, so that it is the same however far the batch is padded.

        A network that hears padding is given noise there, too, as in sampling.
        """
        if not self.denoiser.architecture.mask_frames:
            return super().fixed_noise(clean, batch, generators)
        noise = torch.zeros(clean.shape)
        for row, length, generator in zip(noise, batch.lengths.tolist(), generators, strict=True):
            row[:length] = torch.randn(length, clean.shape[2], generator=generator)
        return noise

    def specification(self) -> dict[str, Any]:
        """Kind, architecture, feature spec, text encoder, schedule and prediction."""
        return motion_diffusion_spec(
            self.denoiser,
            self.schedule,
            skeleton=skeleton_reference(self.skeleton),
            text_encoder=self.text_encoder,
            fingerprint=self.fingerprint,
            prediction=self.prediction,
        )
