"""The objective of a text-conditioned denoiser of any states: timesteps, noise, target, dropped captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.noise import sample_generator
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.errors import ConfigError


@dataclass(frozen=True)
class DenoisingDraws:
    """Everything random in one step of a denoiser's training, apart from dropout.

    Attributes:
        index: the scheduler's timesteps [B], 0 to steps - 1; index i has the signal level alpha_bar[i + 1].
        noise: on the states, of their shape.
        dropped: [B], true where the caption is left out.
    """

    index: Tensor
    noise: Tensor
    dropped: Tensor


@dataclass(frozen=True)
class DenoisingObjective:
    """How a denoiser is trained on its clean states.

    Attributes:
        owner: name of the training class, for messages.
        schedule: noise schedule of the states.
        prediction: what the denoiser predicts: `epsilon` the noise, or `sample` the clean state.
        text_drop: probability that a caption is left out, for classifier-free guidance.

    Raises:
        ConfigError: a setting out of range.
    """

    owner: str
    schedule: NoiseSchedule
    prediction: Prediction
    text_drop: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.text_drop <= 1.0:
            raise ConfigError(f"{self.owner}.text_drop is {self.text_drop}; set it between 0 and 1")
        if self.prediction not in get_args(Prediction):
            raise ConfigError(f"{self.owner}.prediction is {self.prediction!r}; choose epsilon or sample")

    def draw(self, clean: Tensor) -> DenoisingDraws:
        """The draws of a training step on states [B, ...], from the global random state of their device."""
        size, device = len(clean), clean.device
        index = torch.randint(self.schedule.steps, (size,), device=device)
        dropped = torch.rand(size, device=device) < self.text_drop
        return DenoisingDraws(index, torch.randn_like(clean), dropped)

    def fixed(
        self, clean: Tensor, seed: int, ids: Sequence[str], lengths: Sequence[int] | None = None
    ) -> DenoisingDraws:
        """The draws of validation and test: each sample's from (seed, id); no caption is left out.

        Args:
            clean: states [B, N, ...].
            seed: of the module.
            ids: of the B samples.
            lengths: how much of each state is valid. The noise beyond is zero, so that it does not depend on the
                batch. None means all N.
        """
        noise, timesteps = torch.zeros(clean.shape), []
        for place, sample_id in enumerate(ids):
            length = clean.shape[1] if lengths is None else lengths[place]
            generator = sample_generator(seed, sample_id)
            timesteps.append(torch.randint(self.schedule.steps, (1,), generator=generator))
            noise[place, :length] = torch.randn((length, *clean.shape[2:]), generator=generator)
        kept = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
        return DenoisingDraws(torch.cat(timesteps).to(clean.device), noise.to(clean), kept)

    def noisy_and_target(self, clean: Tensor, draws: DenoisingDraws) -> tuple[Tensor, Tensor]:
        """The noisy states that the denoiser reads and what it should predict of them, both of the states' shape."""
        noisy = self.schedule.add_noise(clean, draws.index + 1, draws.noise)
        return noisy, draws.noise if self.prediction == "epsilon" else clean
