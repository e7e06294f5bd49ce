"""What the guided sampler asks of a text-to-motion generator, and the conversion between normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_realign.models import LatentSpace
    from lightning_realign.motion.normaliser import Normaliser


class Generator(Protocol):
    """A diffusion generator behind one interface; x is its own noisy state, latent or motion.

    `scheduler` is a DDIM scheduler of diffusers: it carries the noise schedule, the spacing of the timesteps and the
    prediction type; index t of its timesteps has signal level alphas_cumprod[t].
    """

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it makes."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Its floating-point precision."""

    @property
    def scheduler(self) -> Any:
        """A fresh DDIM scheduler of diffusers with this generator's schedule and prediction type."""

    @property
    def latents(self) -> LatentSpace | None:
        """The latent space whose standardised latents are its states; None where those are motions."""

    def noise_shape(self, length: int) -> tuple[int, ...]:
        """Shape of the noise of one sample of `length` frames (without the batch axis)."""

    def condition(self, texts: Sequence[str]) -> Any:
        """Everything `denoise` needs to know of B captions, computed once per batch."""

    def denoise(self, x: Tensor, t: int, cond: Any, lengths: Tensor) -> Tensor:
        """The network's output for x_t [B, ...] at scheduler index t, classifier-free guidance included."""

    def to_motion(self, x: Tensor, alpha_bar: float, lengths: Tensor, target: Normaliser) -> Tensor:
        """Features [B, T, D] of the state x at signal level `alpha_bar`, in the target's normalisation.

        Differentiable in x. Zero beyond a sample's length.
        """

    def features(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features [B, T, D] of a clean state, in the data set's own units, zero beyond a sample's length."""

    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What the generator's own representation keeps of real motions [B, T, D], in the data set's own units.

        The motions themselves where it works on features; decoded latents where it works on those.
        """


def convert_normalisation(x: Tensor, alpha_bar: float, source: Normaliser, target: Normaliser) -> Tensor:
    """Rewrite noisy features from one normalisation in another, at the same noise level.

    For x = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps only the signal carries the source's offset, so

        y = (s_source / s_target) x + sqrt(alpha_bar) (m_source - m_target) / s_target,

    which has the target's own clean motion as its signal; its noise has scale s_source / s_target. At alpha_bar = 1
    this is denormalising and normalising again.

    Args:
        x: [..., D] features in the source's normalisation.
        alpha_bar: cumulative signal level of x.
        source: statistics that x was normalised with.
        target: statistics wanted.
    """
    std, mean = target.std.to(x), target.mean.to(x)
    return x * (source.std.to(x) / std) + math.sqrt(alpha_bar) * (source.mean.to(x) - mean) / std
