"""What the trainings of denoisers share, whatever their states are: draws, loss, dropped captions, validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.noise import sample_generator
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.errors import ConfigError
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.base import TrainingModule
from lightning_realign.types import UNCONDITIONAL_CAPTION, MotionTextBatch


class DenoisingTraining(TrainingModule):
    """A training of a text-conditioned denoiser; subclasses say what its states are, and how it is asked.

    Attributes:
        schedule, prediction: noise schedule of the states, and what the denoiser predicts.
        text: the frozen text encoder.
        text_drop: probability that a caption is left out, for classifier-free guidance.
    """

    def set_denoising(
        self, schedule: NoiseSchedule, prediction: Prediction, text: CachedTextEncoder, text_drop: float
    ) -> None:
        """Take over the settings.

        Raises:
            ConfigError: one is out of range.
        """
        name = type(self).__name__
        if not 0.0 <= text_drop <= 1.0:
            raise ConfigError(f"{name}.text_drop is {text_drop}; set it between 0 and 1")
        if prediction not in get_args(Prediction):
            raise ConfigError(f"{name}.prediction is {prediction!r}; choose epsilon or sample")
        self.schedule, self.prediction = schedule, prediction
        self.text, self.text_drop = text, text_drop

    def setup(self, stage: str) -> None:
        """Set up the networks, and encode the stage's captions."""
        super().setup(stage)
        self.prepare_text(self.text, stage, [UNCONDITIONAL_CAPTION])

    def clean_states(self, batch: MotionTextBatch, draw: bool) -> Tensor:
        """The states [B, ...] of a batch's motions; `draw` allows random ones."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it denoises")

    def predict(self, noisy: Tensor, index: Tensor, batch: MotionTextBatch, dropped: Tensor) -> Tensor:
        """The denoiser's output [B, ...] for noisy states at the scheduler's timesteps `index` [B].

        `dropped` [B] is true where the caption is to be left out.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how its denoiser is asked")

    def fixed_noise(self, clean: Tensor, batch: MotionTextBatch, generators: Sequence[torch.Generator]) -> Tensor:
        """Noise of the states' shape, from a generator per sample; it must not depend on the rest of the batch."""
        return torch.stack([torch.randn(clean.shape[1:], generator=generator) for generator in generators])

    def mean_error(self, error: Tensor, batch: MotionTextBatch) -> Tensor:
        """The mean [B] of errors [B, ...] over the entries of a state."""
        return error.flatten(1).mean(dim=1)

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """One step of denoising; timestep, noise and dropped captions are drawn per sample."""
        clean = self.clean_states(batch, draw=True)
        index = torch.randint(self.schedule.steps, (len(batch),), device=self.device)
        dropped = torch.rand(len(batch), device=self.device) < self.text_drop
        loss = self.denoising_loss(clean, index, torch.randn_like(clean), batch, dropped).mean()
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        return loss

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Loss at a timestep and noise fixed per sample."""
        self._evaluate(batch, "val")

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """As in validation."""
        self._evaluate(batch, "test")

    def denoising_loss(
        self, clean: Tensor, index: Tensor, noise: Tensor, batch: MotionTextBatch, dropped: Tensor
    ) -> Tensor:
        """Squared error per sample [B].

        Args:
            clean: [B, ...] states.
            index: [B] the scheduler's timesteps, 0 to steps - 1; index i has the signal level alpha_bar[i + 1].
            noise: of the states' shape.
            batch: the motions' lengths and captions.
            dropped: [B] true where the caption is left out.
        """
        noisy = self.schedule.add_noise(clean, index + 1, noise)
        target = noise if self.prediction == "epsilon" else clean
        return self.mean_error((self.predict(noisy, index, batch, dropped) - target).square(), batch)

    def _evaluate(self, batch: MotionTextBatch, stage: Literal["val", "test"]) -> None:
        clean = self.clean_states(batch, draw=False)
        generators = [sample_generator(self.seed, sample_id) for sample_id in batch.ids]
        steps = self.schedule.steps
        index = torch.cat([torch.randint(steps, (1,), generator=generator) for generator in generators])
        noise = self.fixed_noise(clean, batch, generators).to(clean)
        kept = torch.zeros(len(batch), dtype=torch.bool, device=clean.device)
        loss = self.denoising_loss(clean, index.to(clean.device), noise, batch, kept).mean()
        self.log(f"{stage}/loss", loss, batch_size=len(batch), sync_dist=True)
