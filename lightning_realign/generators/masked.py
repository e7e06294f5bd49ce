"""What the masked generators share: a motion is a row of codes, one for each few frames, filled in over several rounds.

Each code starts as a mask; in every round, some masked codes get their values (MoMask, MARDM).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_realign.generators.base import LatentGuide, LoadOptions
from lightning_realign.generators.network import FrozenNetworks
from lightning_realign.models.published.motion_codec import code_lengths
from lightning_realign.motion.normaliser import Normaliser

TEXT_ENCODER = "clip-vit-base-patch32-pooled"
# A uniform number of exactly 0 has no logarithm.
_LEAST = 1e-20


class RandomStreams:
    """Random numbers for every code of B motions, drawn from one generator per motion.

    A motion's numbers, and so the motion, do not depend on its batch.

    Args:
        generators: one for each motion, on the CPU.
        counts: how many codes each motion has.
        device: where the numbers go.
    """

    def __init__(self, generators: Sequence[torch.Generator], counts: Sequence[int], device: torch.device) -> None:
        self._sources = list(zip(generators, counts, strict=True))
        self._device = device

    def uniform(self) -> Tensor:
        """Uniform numbers [B, n] in [0, 1), float64, zero beyond a motion's codes."""
        return self._padded(lambda count, generator: torch.rand(count, generator=generator, dtype=torch.float64))

    def normal(self, channels: int) -> Tensor:
        """Standard normal numbers [B, n, C], float32, zero beyond a motion's codes."""
        return self._padded(lambda count, generator: torch.randn(count, channels, generator=generator))

    def gumbel(self, choices: int) -> Tensor:
        """Standard Gumbel numbers [B, n, K], float64, zero beyond a motion's codes."""

        def draw(count: int, generator: torch.Generator) -> Tensor:
            uniform = torch.rand(count, choices, generator=generator, dtype=torch.float64)
            return -(-uniform.clamp_min(_LEAST).log()).log()

        return self._padded(draw)

    def _padded(self, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        rows = [draw(count, generator) for generator, count in self._sources]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self._device)


@dataclass(frozen=True)
class MaskedBatch:
    """B motions to be made: text [B, E], counts of codes [B], lengths [B] in frames, random numbers, and the guide."""

    text: Tensor
    counts: Tensor
    lengths: Tensor
    streams: RandomStreams
    guide: LatentGuide | None


class MaskedCodeGenerator(FrozenNetworks):
    """Base of the `MaskedGenerator`s that read CLIP's text embedding and decode codes.

    Args:
        skeleton: name of the feature spec of its motions.
        frames_per_code: how many frames a code stands for; the last one of a motion may stand for fewer.
        modules: everything with weights or statistics; put in eval mode and frozen.
        normaliser: statistics of its motions, one of the modules.
        options: only its text encoder and the folder of cached text features are used.
    """

    def __init__(
        self,
        skeleton: str,
        frames_per_code: int,
        modules: Mapping[str, nn.Module],
        normaliser: Normaliser,
        options: LoadOptions | None = None,
    ) -> None:
        super().__init__(skeleton, TEXT_ENCODER, modules, normaliser, options)
        self._frames_per_code = frames_per_code

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> Tensor:
        """The text embeddings [B, 512] that the transformers read."""
        return self.encode_text(texts).sentence.to(self.device, self.dtype)

    def counts(self, lengths: Tensor) -> Tensor:
        """How many codes [B] motions of `lengths` [B] frames have."""
        return code_lengths(lengths, self._frames_per_code)

    @torch.no_grad()
    def generate(
        self,
        texts: Sequence[str],
        lengths: Tensor,
        noise: Sequence[torch.Generator],
        guide: LatentGuide | None = None,
    ) -> Tensor:
        """Generate B motions.

        Args:
            texts: B captions.
            lengths: [B] frames.
            noise: B random generators on the CPU, one per motion; all randomness of a motion comes from its own.
            guide: called at every denoising step; never where nothing is denoised.

        Returns:
            Features [B, T, D] in the data set's own units, zero beyond a sample's length.
        """
        lengths = lengths.to(self.device)
        counts = self.counts(lengths)
        streams = RandomStreams(noise, counts.tolist(), self.device)
        return self._generate(MaskedBatch(self.condition(texts), counts, lengths, streams, guide))

    @abstractmethod
    def _generate(self, batch: MaskedBatch) -> Tensor:
        """The features [B, T, D] of a batch, in the data set's own units."""
