"""The base of all frozen text encoders: token and sentence embeddings of captions."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class EncodedCaption(NamedTuple):
    """tokens [L, E] and the sentence [S], float32 on the CPU."""

    tokens: Tensor
    sentence: Tensor


class FrozenTextEncoder(ABC):
    """A frozen text encoder, always in eval mode.

    It computes in float64, and its features are rounded to float32. In float32, the batch's size would select other
    matrix kernels, which change a caption's features by up to 3e-6, and everything that follows from them.

    Attributes:
        name: the name by which it was loaded. token_size: E. sentence_size: S. max_tokens: how many tokens of a caption
            are read.
    """

    def __init__(self, name: str, sizes: tuple[int, int], max_tokens: int) -> None:
        """An encoder of a name, with token and sentence sizes, and the most tokens that it reads."""
        self.name = name
        self.token_size, self.sentence_size = sizes
        self.max_tokens = max_tokens

    @torch.no_grad()
    def encode(self, captions: Sequence[str], batch_size: int = 64) -> list[EncodedCaption]:
        """Encode captions, in their order. The empty caption is a caption like any other.

        A caption's features do not depend on the others: only captions of equally many tokens share a batch, so that
        none is padded to another's length.
        """
        groups = self._by_token_count(captions)
        encoded: list[EncodedCaption | None] = [None] * len(captions)
        for indices in groups.values():
            for first in range(0, len(indices), batch_size):
                batch = indices[first : first + batch_size]
                for index, result in zip(batch, self._encode_batch([captions[i] for i in batch]), strict=True):
                    encoded[index] = result
        return [item for item in encoded if item is not None]

    def _by_token_count(self, captions: Sequence[str]) -> dict[int, list[int]]:
        if not captions:
            return {}
        counts = self._token_counts(captions)
        groups: dict[int, list[int]] = {}
        for index, count in enumerate(counts):
            groups.setdefault(min(count, self.max_tokens), []).append(index)
        if cut := [captions[index] for index, count in enumerate(counts) if count > self.max_tokens]:
            logger.warning(
                "%s reads %d tokens: %d longer captions were cut; first, %r",
                self.name,
                self.max_tokens,
                len(cut),
                cut[0][:80],
            )
        return groups

    @abstractmethod
    def _token_counts(self, captions: Sequence[str]) -> list[int]:
        """How many tokens captions have before they are cut."""

    @abstractmethod
    def _encode_batch(self, captions: list[str]) -> list[EncodedCaption]:
        """Encode captions that have the same number of tokens after they are cut."""
