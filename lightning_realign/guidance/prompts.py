"""What a batch of motions is asked for, and the one signature with which every sampler is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from lightning_realign.diffusion.noise import check_batch, prompt_ids

Made = TypeVar("Made", covariant=True)
"""What a sampler makes of a batch."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of B motions.

    Args:
        texts: B captions.
        lengths: [B] lengths in frames.
        ids: B sample ids, the source of the noise; None makes them of text, length and occurrence.
        replication: number of the replication: other noise for the same sample.
        references: [B, W] latents of the retrieved motions x^c; needed where eta is not 0.

    Raises:
        ConfigError: inputs that do not fit together.
    """

    texts: Sequence[str]
    lengths: Tensor
    ids: Sequence[str] | None = None
    replication: int = 0
    references: Tensor | None = None

    def __post_init__(self) -> None:
        check_batch(self.texts, self.lengths, self.ids)

    @property
    def frames(self) -> list[int]:
        """The lengths as integers."""
        return [int(length) for length in self.lengths.tolist()]

    @property
    def names(self) -> Sequence[str]:
        """The ids, made where none were given."""
        return prompt_ids(self.texts, self.frames) if self.ids is None else self.ids


class Sampler(ABC, Generic[Made]):
    """Makes a batch of motions, as `RewardGuidedSampler` does."""

    @abstractmethod
    def make(self, prompts: Prompts) -> Made:
        """Generate the motions of B prompts.

        Raises:
            ConfigError: guidance inside torch's inference mode.
        """

    def sample(
        self,
        texts: Sequence[str],
        lengths: Tensor,
        ids: Sequence[str] | None = None,
        replication: int = 0,
        references: Tensor | None = None,
    ) -> Made:
        """Generate B motions; the arguments are those of `Prompts`.

        Raises:
            ConfigError: inputs that do not fit together, or guidance inside torch's inference mode.
        """
        return self.make(Prompts(texts, lengths, ids, replication, references))
