"""Training of a text-conditioned denoiser on motions themselves (MDM, Tevet et al., ICLR 2023)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional as F

from lightning_realign.checkpoints.diffusion import motion_diffusion_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.errors import FeatureSpecError
from lightning_realign.generators.mdm.generator import MAX_FRAMES
from lightning_realign.models.published.mdm import MotionDenoiser, MotionDenoiserArchitecture
from lightning_realign.motion import skeleton_reference
from lightning_realign.settings.plain import restored
from lightning_realign.settings.training import OptimiserConfig
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import TrainingModule
from lightning_realign.training.denoising import DenoisingDraws, DenoisingObjective
from lightning_realign.training.losses import masked_mean
from lightning_realign.types import UNCONDITIONAL_CAPTION, MotionTextBatch

PUBLISHED_NETWORK = MotionDenoiserArchitecture()
PUBLISHED_SCHEDULE = NoiseSchedule(kind="cosine")


class MotionDiffusionTraining(TrainingModule):
    """Fits a `MotionDenoiser` to the normalised motions of a data set; the loss is over a motion's own frames.

    A network that does not mask padding reads it. Its states therefore have as many frames as `MDMGenerator` makes.

    Args:
        skeleton: feature spec of the motions.
        text_encoder: name of the frozen text encoder.
        denoiser: form and sizes of the network; the default is MDM's.
        schedule: noise schedule of the motions.
        prediction: what the network predicts: the clean motion, or the noise.
        text_drop: probability that a caption is left out, for classifier-free guidance.
        optimiser: learning rate, warm-up and weight decay.
        text_cache: folder of cached text features; None is the default one.
        seed: of training and of the noise in validation.

    Raises:
        ConfigError: a setting out of range.
    """

    text: CachedTextEncoder

    def __init__(
        self,
        skeleton: str = "humanml3d",
        text_encoder: str = "all-MiniLM-L6-v2",
        denoiser: MotionDenoiserArchitecture = PUBLISHED_NETWORK,
        schedule: NoiseSchedule = PUBLISHED_SCHEDULE,
        prediction: Prediction = "sample",
        text_drop: float = 0.1,
        optimiser: OptimiserConfig = OptimiserConfig(),  # noqa: B008 - frozen
        text_cache: str | None = None,
        seed: int = 1234,
    ) -> None:
        text = CachedTextEncoder(text_encoder, text_cache)
        super().__init__("motion_diffusion", skeleton, restored(OptimiserConfig, optimiser), seed, text=text)
        self.save_settings(
            skeleton=skeleton,
            text_encoder=text_encoder,
            denoiser=denoiser,
            schedule=schedule,
            prediction=prediction,
            text_drop=text_drop,
            optimiser=optimiser,
            text_cache=text_cache,
            seed=seed,
        )
        self.denoising = DenoisingObjective(
            type(self).__name__, restored(NoiseSchedule, schedule), prediction, text_drop
        )
        self.text_encoder = text_encoder
        architecture = restored(MotionDenoiserArchitecture, denoiser)
        text_size = self.text.sentence_size if architecture.text == "sentence" else self.text.token_size
        self.denoiser = MotionDenoiser(self.skeleton.num_features, text_size, **asdict(architecture))

    def captions(self, stage: str) -> list[str]:
        """The captions that a stage reads, and the empty one."""
        return [*super().captions(stage), UNCONDITIONAL_CAPTION]

    def clean_states(self, batch: MotionTextBatch) -> Tensor:
        """The normalised motions [B, T, D], zero beyond each length; T is fixed where the network reads padding.

        Raises:
            FeatureSpecError: a motion is longer than that.
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

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """One step of denoising; timestep, noise and dropped captions are drawn per sample."""
        clean = self.clean_states(batch)
        loss = self.denoising_loss(clean, self.denoising.draw(clean), batch).mean()
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        return loss

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Loss at a timestep and noise fixed per sample."""
        self._evaluate(batch, "val")

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """The same as in validation."""
        self._evaluate(batch, "test")

    def denoising_loss(self, clean: Tensor, draws: DenoisingDraws, batch: MotionTextBatch) -> Tensor:
        """Squared error per sample [B] of the denoiser on motions [B, T, D], over each motion's own frames."""
        noisy, target = self.denoising.noisy_and_target(clean, draws)
        text = self.text(batch.captions).to(self.device)
        output: Tensor = self.denoiser(noisy, draws.index, text, batch.lengths, draws.dropped)
        return masked_mean((output - target).square(), batch.lengths)

    def fixed_draws(self, clean: Tensor, batch: MotionTextBatch) -> DenoisingDraws:
        """The draws of validation and test, which do not depend on how far the batch is padded.

        A network that reads padding is given noise there, too, as in sampling.
        """
        lengths = batch.lengths.tolist() if self.denoiser.architecture.mask_frames else None
        return self.denoising.fixed(clean, self.seed, batch.ids, lengths)

    def specification(self) -> dict[str, Any]:
        """Kind, architecture, feature spec, text encoder, schedule and prediction."""
        return motion_diffusion_spec(
            self.denoiser,
            self.denoising.schedule,
            skeleton=skeleton_reference(self.skeleton),
            text_encoder=self.text_encoder,
            fingerprint=self.fingerprint,
            prediction=self.denoising.prediction,
        )

    def _evaluate(self, batch: MotionTextBatch, stage: Literal["val", "test"]) -> None:
        clean = self.clean_states(batch)
        loss = self.denoising_loss(clean, self.fixed_draws(clean, batch), batch).mean()
        self.log(f"{stage}/loss", loss, batch_size=len(batch), sync_dist=True)
