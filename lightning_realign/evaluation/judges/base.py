"""What every evaluator offers: motions and captions as points of one space, by statistics of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import Self


class Evaluator(Protocol):
    """A frozen judge of motions; what it says of a sample never depends on the rest of the batch.

    Distances between its embeddings are Euclidean, so that one set of metrics serves all evaluators.
    """

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def architecture(self) -> str:
        """`guo` or `tmr`: a judge of the architecture of the reward is no independent one."""

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it reads."""

    @property
    def trained_on(self) -> str:
        """Fingerprint of the data set that it was trained on, empty where that is unknown."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with its weights, its statistics and its vocabulary."""

    @property
    def size(self) -> int:
        """W, channels of an embedding."""

    def prepare(self, tokens: Mapping[str, Sequence[str]]) -> None:
        """Get ready for captions: their texts, and the `word/POS` tokens of each, as the data set has them."""

    def embed_motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings [B, W] of motions [B, T, D] of `lengths` [B] frames, in the data set's own units."""

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Embeddings [B, W] of captions."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move weights and statistics, in place, to a device and a precision."""
