"""The latent diffusion generator: a denoiser on the latents of a motion VAE (MLD, arXiv 2212.04048)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_realign.generators.base import LoadOptions, Recipe, convert_normalisation
from lightning_realign.generators.network import GeneratorSpec, NetworkGenerator
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import UNCONDITIONAL_CAPTION, zero_padding

if TYPE_CHECKING:
    from lightning_realign.checkpoints.diffusion import DiffusionBundle
    from lightning_realign.models import LatentSpace


class LatentDiffusionGenerator(NetworkGenerator):
    """`Generator` over a `DiffusionBundle`; its state x is the standardised VAE latent [B, n, d].

    Args:
        bundle: VAE, denoiser, statistics and schedule, in eval mode.
        recipe: how it is sampled.
        options: only its text encoder and the folder of cached text features are used.
    """

    def __init__(
        self, bundle: DiffusionBundle, recipe: Recipe | None = None, options: LoadOptions | None = None
    ) -> None:
        spec = GeneratorSpec(
            bundle.skeleton, bundle.schedule, bundle.prediction, bundle.text_encoder, recipe or Recipe()
        )
        super().__init__(spec, bundle.modules, bundle.normaliser, options)
        self.bundle = bundle

    @property
    def latents(self) -> LatentSpace:
        """The space of its states."""
        return self.bundle.latents

    def noise_shape(self, length: int) -> tuple[int, ...]:
        """The latent's shape (n, d), whatever the length."""
        return self.latents.shape

    def condition(self, texts: Sequence[str]) -> Tensor:
        """Sentence features [B, S]; with classifier-free guidance [2B, S], the unconditional half first."""
        features = self.encode_text([*texts, UNCONDITIONAL_CAPTION]).sentence.to(self.device, self.dtype)
        captions, empty = features[:-1], features[-1:]
        return captions if self.cfg_scale == 1 else torch.cat([empty.expand_as(captions), captions])

    def denoise(self, x: Tensor, t: int, cond: Tensor, lengths: Tensor) -> Tensor:
        """The denoiser's output [B, n, d] for x_t at scheduler index t, with classifier-free guidance."""

        def evaluate(doubled: bool) -> Tensor:
            states = torch.cat([x, x]) if doubled else x
            steps = torch.full((len(states),), t, dtype=torch.long, device=x.device)
            output: Tensor = self.bundle.denoiser(states, steps, cond)
            return output

        return self.with_cfg(evaluate)

    def to_motion(self, x: Tensor, alpha_bar: float, lengths: Tensor, target: Normaliser) -> Tensor:
        """Decode the latent [B, n, d] to features [B, T, D] in the target's normalisation.

        `alpha_bar` is not used. A decoded noisy latent is not a scaled motion plus noise: the decoder has added the
        offset at full strength, so it converts as clean features do. (A generator whose state is the motion itself
        converts at its own alpha_bar.)
        """
        return zero_padding(convert_normalisation(self._decode(x, lengths), 1.0, self.normaliser, target), lengths)

    def features(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Decode a clean latent to features [B, T, D] in the data set's own units, zero beyond a sample's length."""
        return zero_padding(self.normaliser.denormalise(self._decode(x, lengths)), lengths)

    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Real motions [B, T, D], encoded and decoded, in the data set's own units: the best that any latent can do."""
        normalised = zero_padding(self.normaliser.normalise(features), lengths)
        return self.features(self.latents.states(normalised, lengths), lengths)

    def _decode(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features [B, T, D] in the generator's normalisation, T the longest sample's length."""
        return self.latents.decode(x, lengths.to(x.device), int(lengths.max()))
