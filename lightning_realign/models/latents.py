"""The space that latent diffusion works in: standardised latents of a frozen motion VAE."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import Self

from lightning_realign.files.hashing import weights_fingerprint
from lightning_realign.models.vae import MotionVAE
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import Gaussian


class LatentSpace(nn.Module):
    """A frozen motion VAE, always in eval mode, with the statistics of its latents over a training split.

    The states x = (z - mean) / std of latents z [n, d] have zero mean and unit deviation in each of their n d entries.

    Args:
        vae: the autoencoder; its parameters stop requiring gradients.

    Attributes:
        statistics: mean and std [n, d] of z; identity until set.
    """

    def __init__(self, vae: MotionVAE) -> None:
        super().__init__()
        self.vae = vae.requires_grad_(False)
        self.statistics = Normaliser(*self.shape)
        self._fingerprint: str | None = None
        self.eval()

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.vae.latent_tokens, self.vae.latent_size

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever the mode is."""
        return super().train(False)

    def encode(self, motion: Tensor, lengths: Tensor) -> Gaussian:
        """The latents' distribution [B, n, d], not standardised, of motions [B, T, D] in the VAE's normalisation."""
        return self.vae.encode(motion, lengths)

    def states(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """The states [B, n, d] of the latents' means, of motions [B, T, D] in the VAE's normalisation."""
        return self.statistics.normalise(self.encode(motion, lengths).mean)

    def decode(self, states: Tensor, lengths: Tensor, size: int) -> Tensor:
        """Motions [B, size, D] of states [B, n, d], in the VAE's normalisation, zero beyond `lengths` [B]."""
        return self.vae.decode(self.statistics.denormalise(states), lengths, size)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that name the VAE by its weights: two spaces that share it differ by scale alone.

        Taken once, so that a VAE keeps its name when it is moved to another precision.
        """
        if self._fingerprint is None:
            self._fingerprint = weights_fingerprint({"vae": self.vae})
        return self._fingerprint
