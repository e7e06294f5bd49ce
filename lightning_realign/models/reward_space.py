"""Where the noise of a reward model lives, and what its network then reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_realign.models.latents import LatentSpace
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import zero_padding

SpaceName = Literal["motion", "decoded", "latent"]


@dataclass(frozen=True)
class RewardSpace:
    """The space of a reward model's noisy states.

    Attributes:
        name: `motion`: noise on normalised features, which the network reads (the paper's: one reward for every
            generator). `decoded`: noise on a VAE's latents; the network reads the motion that the VAE decodes, which is
            what a latent generator shows it. `latent`: the same noise, but the network reads the noisy latents
            themselves: tied to one VAE, and far cheaper in the sampling loop, where nothing is decoded.
        normaliser: statistics of motion features; with a VAE, its own.
        latents: the VAE's latent space; None for `motion`.
    """

    name: SpaceName
    normaliser: Normaliser
    latents: LatentSpace | None = None

    @property
    def num_features(self) -> int:
        """Channels of what the network reads: D of a frame, or d of a latent token."""
        return (
            self.latents.shape[1] if self.latents is not None and self.name == "latent" else len(self.normaliser.mean)
        )

    def clean(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The clean states of motions [B, T, D] in the data set's units: [B, T, D], or [B, n, d] of their latents."""
        motion = zero_padding(self.normaliser.normalise(features), lengths)
        return motion if self.latents is None else self.latents.states(motion, lengths)

    def view(self, states: Tensor, lengths: Tensor) -> Tensor:
        """What the network reads of (noisy) states of motions of `lengths` [B] frames."""
        if self.latents is None or self.name == "latent":
            return states
        return self.latents.decode(states, lengths, int(lengths.max()))

    def state_lengths(self, lengths: Tensor) -> Tensor:
        """How much of a state is valid [B]: a motion's frames, or all n tokens of a latent."""
        return lengths if self.latents is None else torch.full_like(lengths, self.latents.shape[0])

    def read_lengths(self, lengths: Tensor) -> Tensor:
        """How much of a view is valid [B]: as of the state, or the frames of a decoded motion."""
        return lengths if self.name == "decoded" else self.state_lengths(lengths)
