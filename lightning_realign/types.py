"""The frozen records that travel between the parts. Symbols: B batch, T frames, D features, L tokens, J joints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# What stands for no text in classifier-free guidance, in training as in sampling.
UNCONDITIONAL_CAPTION = ""


def valid_mask(lengths: Tensor, size: int) -> Tensor:
    """Boolean mask [B, size], true where the index lies below the sample's length. `lengths` is [B]."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def zero_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Set frames of x [B, T, D] at and beyond `lengths` [B] to exactly zero, even where they hold NaN.

    No gradient flows through those.
    """
    return x.masked_fill(~valid_mask(lengths.to(x.device), x.shape[1])[..., None], 0.0)


@dataclass(frozen=True)
class TextFeatures:
    """What a frozen text encoder says of B captions.

    tokens: [B, L, E] token embeddings, zero beyond a caption's length. lengths: [B] number of tokens.
    sentence: [B, S] the pooled sentence embedding: of unit length from sentence encoders, as the network gives it
    from CLIP and DistilBERT. What compares sentences normalises them itself.
    """

    tokens: Tensor
    lengths: Tensor
    sentence: Tensor

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TextFeatures:
        """Move to a device; `dtype` applies to the embeddings only."""
        return TextFeatures(
            self.tokens.to(device=device, dtype=dtype),
            self.lengths.to(device=device),
            self.sentence.to(device=device, dtype=dtype),
        )


# Captions -> their features.
TextFunction = Callable[[Sequence[str]], TextFeatures]


@dataclass(frozen=True)
class MotionTextBatch:
    """B motions with their captions, as a DataModule yields them.

    motion: [B, T, D] features in the data set's own units (*not* normalised: every network carries the statistics
    it was trained with), zero beyond a sample's length. lengths: [B] frames. ids, captions: B strings.
    attributes: per sample the true attributes of a synthetic motion, None where the data set has none.
    """

    motion: Tensor
    lengths: Tensor
    ids: tuple[str, ...]
    captions: tuple[str, ...]
    attributes: tuple[Mapping[str, Any] | None, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, places: Sequence[int]) -> MotionTextBatch:
        """The samples at some places of the batch."""
        rows = torch.tensor(places, dtype=torch.int64, device=self.motion.device)
        return MotionTextBatch(
            self.motion[rows],
            self.lengths[rows],
            tuple(self.ids[place] for place in places),
            tuple(self.captions[place] for place in places),
            tuple(self.attributes[place] for place in places),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MotionTextBatch:
        """Move the tensors to a device (Lightning calls this)."""
        return MotionTextBatch(
            self.motion.to(device, non_blocking=non_blocking),
            self.lengths.to(device, non_blocking=non_blocking),
            self.ids,
            self.captions,
            self.attributes,
        )


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian: mean and logvar of the same shape, [B, ...]."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A reparametrised draw, differentiable in mean and logvar."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.at(noise)

    def at(self, noise: Tensor) -> Tensor:
        """The draw that standard normal noise [B, ...] stands for."""
        return self.mean + noise * (0.5 * self.logvar).exp()


@dataclass(frozen=True)
class GeneratedMotions:
    """B generated motions.

    features: [B, T, D] in the data set's own units, zero beyond a sample's length. lengths: [B].
    timesteps: [S] the sampler's timesteps, first to last. rewards: [B, S] the dual reward R(x_t, c) seen at each
    guided step; NaN where the step was not guided.
    """

    features: Tensor
    lengths: Tensor
    timesteps: Tensor
    rewards: Tensor
