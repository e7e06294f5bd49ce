"""The latent diffusion generator: a denoiser on the latents of a motion VAE (MLD, arXiv 2212.04048)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_realign.diffusion import make_scheduler
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import convert_normalisation
from lightning_realign.types import UNCONDITIONAL_CAPTION, TextFeatures, zero_padding

if TYPE_CHECKING:
    from lightning_realign.checkpoint import DiffusionBundle
    from lightning_realign.models import LatentSpace
    from lightning_realign.motion.normaliser import Normaliser


class LatentDiffusionGenerator:
    """`Generator` over a `DiffusionBundle`; its state x is the standardised VAE latent [B, n, d].

    Args:
        bundle: VAE, denoiser, statistics and schedule, in eval mode.
        cfg_scale: classifier-free guidance: output = u + cfg_scale (c - u); 1 is purely conditional, at half the cost.
        encode: text encoder to use in place of the bundle's own, which is otherwise made on first use.
        cache_dir: folder of the text features of the bundle's own encoder; None for the usual one.

    Raises:
        ConfigError: a scale that is not a finite number.
    """

    def __init__(
        self,
        bundle: DiffusionBundle,
        cfg_scale: float = 7.5,
        encode: Callable[[Sequence[str]], TextFeatures] | None = None,
        cache_dir: Path | str | None = None,
    ) -> None:
        if not math.isfinite(cfg_scale):
            raise ConfigError(f"generator cfg_scale={cfg_scale} is not finite; give a number, 1 for no guidance")
        bundle.denoiser.eval().requires_grad_(False)
        self.bundle = bundle
        self.cfg_scale = cfg_scale
        self._encode = encode
        self._cache_dir = cache_dir

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the weights and statistics, in place, to a device and a precision."""
        for module in self.bundle.modules.values():
            module.to(device=device, dtype=dtype)
        return self

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it makes."""
        return self.bundle.skeleton

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.bundle.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Its floating-point precision."""
        return next(self.bundle.denoiser.parameters()).dtype

    @property
    def latents(self) -> LatentSpace:
        """The space of its states."""
        return self.bundle.latents

    @property
    def scheduler(self) -> Any:
        """A fresh DDIM scheduler with the schedule the denoiser was trained on."""
        return make_scheduler("ddim", self.bundle.schedule, self.bundle.prediction)

    def noise_shape(self, length: int) -> tuple[int, ...]:
        """The latent's shape (n, d), whatever the length."""
        return self.latents.shape

    def condition(self, texts: Sequence[str]) -> Tensor:
        """Sentence features: [B, S], or [2B, S] with the unconditional half first where guidance needs it."""
        features = self._text_encoder()([*texts, UNCONDITIONAL_CAPTION]).sentence.to(self.device, self.dtype)
        captions, empty = features[:-1], features[-1:]
        return captions if self.cfg_scale == 1 else torch.cat([empty.expand_as(captions), captions])

    def denoise(self, x: Tensor, t: int, cond: Tensor, lengths: Tensor) -> Tensor:
        """The denoiser's output [B, n, d] for x_t at scheduler index t; one doubled batch where guidance needs it."""
        doubled = x if self.cfg_scale == 1 else torch.cat([x, x])
        steps = torch.full((len(doubled),), t, dtype=torch.long, device=x.device)
        output: Tensor = self.bundle.denoiser(doubled, steps, cond)
        if self.cfg_scale == 1:
            return output
        unconditional, conditional = output.chunk(2)
        return unconditional + self.cfg_scale * (conditional - unconditional)

    def to_motion(self, x: Tensor, alpha_bar: float, lengths: Tensor, target: Normaliser) -> Tensor:
        """Decode the latent [B, n, d] to features [B, T, D] in the target's normalisation.

        `alpha_bar` does not enter: a decoded noisy latent is a motion whose offset the decoder has put in at full
        strength, not a scaled motion plus noise, so it converts as clean features do. (A generator whose state is the
        motion itself converts at its own alpha_bar.)
        """
        return zero_padding(
            convert_normalisation(self._decode(x, lengths), 1.0, self.bundle.normaliser, target), lengths
        )

    def features(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Decode a clean latent to features [B, T, D] in the data set's own units, zero beyond a sample's length."""
        return zero_padding(self.bundle.normaliser.denormalise(self._decode(x, lengths)), lengths)

    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Encode and decode real motions [B, T, D], in the data set's own units: the best that any latent can do."""
        normalised = zero_padding(self.bundle.normaliser.normalise(features), lengths)
        return self.features(self.latents.states(normalised, lengths), lengths)

    def _decode(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features [B, T, D] in the generator's normalisation, T the longest sample's length."""
        return self.latents.decode(x, lengths.to(x.device), int(lengths.max()))

    def _text_encoder(self) -> Callable[[Sequence[str]], TextFeatures]:
        if self._encode is None:
            from lightning_realign.text import CachedTextEncoder

            self._encode = CachedTextEncoder(self.bundle.text_encoder, self._cache_dir)
        return self._encode
