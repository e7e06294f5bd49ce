"""A reward model as the second judge, in the manner of TMR (Petrovich et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.files.hashing import weights_fingerprint
from lightning_realign.text import CachedTextEncoder


class TMREvaluator:
    """Embeds by the means of a reward model's latents, motions at noise level 0.

    The latents are trained under the cosine; here they have unit length, so that Euclidean distances rank as cosines.

    Args:
        bundle: the reward model; TMR itself is the one without a step token, trained on clean motions.
        name: what it is called in tables.
        text_cache: folder of the cached text features; None for the usual one.
    """

    architecture = "tmr"

    def __init__(self, bundle: RewardBundle, name: str = "tmr", text_cache: Path | str | None = None) -> None:
        self.name, self.bundle = name, bundle
        self.fingerprint = weights_fingerprint(bundle.modules, bundle.text_encoder)
        self._text = CachedTextEncoder(bundle.text_encoder, text_cache)

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it reads."""
        return self.bundle.skeleton

    @property
    def trained_on(self) -> str:
        """Fingerprint of the data set."""
        return self.bundle.fingerprint

    @property
    def size(self) -> int:
        """W, 256 at the paper's size."""
        return self.bundle.network.architecture.width

    def prepare(self, tokens: Mapping[str, Sequence[str]]) -> None:
        """Encode captions into the cache of text features; their tokens are not needed."""
        self._text.prepare(list(tokens))

    @torch.no_grad()
    def embed_motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings [B, W] of motions [B, T, D] of `lengths` [B] frames, in the data set's own units."""
        weight = self.bundle.normaliser.std
        return F.normalize(self.bundle.embed(features.to(weight), lengths.to(weight.device)), dim=-1)

    @torch.no_grad()
    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Embeddings [B, W] of captions."""
        weight = self.bundle.normaliser.std
        text = self._text(captions).to(weight.device, weight.dtype)
        return F.normalize(self.bundle.network.encode_text(text.tokens, text.lengths).mean, dim=-1)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move weights and statistics, in place, to a device and a precision."""
        self.bundle.to(device=device, dtype=dtype)
        return self
