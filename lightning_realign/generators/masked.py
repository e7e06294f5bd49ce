"""What the generators share that draw the codes of a motion, one for each few frames, by themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_realign.generators.base import LatentGuide, LoadOptions
from lightning_realign.generators.network import FrozenNetworks
from lightning_realign.generators.streams import SampleStreams
from lightning_realign.models.published.motion_codec import code_lengths
from lightning_realign.motion.normaliser import Normaliser

TEXT_ENCODER = "clip-vit-base-patch32-pooled"


@dataclass(frozen=True)
class Draw:
    """What one draw is made of: text [B, E], counts of codes [B], lengths [B] in frames, random numbers and guide."""

    text: Tensor
    counts: Tensor
    lengths: Tensor
    streams: SampleStreams
    guide: LatentGuide | None


class CodeDrawingGenerator(FrozenNetworks):
    """Base of the `DrawingGenerator`s that read CLIP's text embedding and decode codes.

    Args:
        skeleton: name of the feature spec of its motions.
        frames_per_code: of a motion; a code may stand for fewer at the end.
        modules: everything with weights or statistics; put in eval mode and frozen.
        normaliser: statistics of its motions, one of the modules.
        options: of them, the text encoder and the folder of its cached features are read.
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
        return self._text_encoder()(texts).sentence.to(self.device, self.dtype)

    def counts(self, lengths: Tensor) -> Tensor:
        """Codes [B] of motions of `lengths` [B] frames."""
        return code_lengths(lengths, self._frames_per_code)

    @torch.no_grad()
    def draw(
        self,
        texts: Sequence[str],
        lengths: Tensor,
        noise: Sequence[torch.Generator],
        guide: LatentGuide | None = None,
    ) -> Tensor:
        """Draw B motions.

        Args:
            texts: B captions.
            lengths: [B] frames.
            noise: B generators on the CPU, from which all that is random in a motion comes.
            guide: asked at every denoising step; never where nothing is denoised.

        Returns:
            Features [B, T, D] in the data set's own units, zero beyond a sample's length.
        """
        lengths = lengths.to(self.device)
        counts = self.counts(lengths)
        streams = SampleStreams(noise, counts.tolist(), self.device)
        return self._drawn(Draw(self.condition(texts), counts, lengths, streams, guide))

    @abstractmethod
    def _drawn(self, draw: Draw) -> Tensor:
        """The features [B, T, D] of a draw, in the data set's own units."""
