"""The evaluator of Guo et al. (CVPR 2022), published or trained here, as an `Evaluator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_realign.checkpoints.evaluator import EvaluatorBundle
from lightning_realign.files.hashing import weights_fingerprint
from lightning_realign.text.word_vectors import CaptionReader


class GuoEvaluator:
    """Embeds with a `MotionTextEvaluator`.

    Motions are normalised by the evaluator's own statistics and zero beyond their lengths, as Guo et al. pad them.

    Args:
        bundle: the evaluator.
        name: what it is called in tables.
    """

    architecture = "guo"

    def __init__(self, bundle: EvaluatorBundle, name: str = "guo") -> None:
        self.name, self.bundle = name, bundle
        self.fingerprint = weights_fingerprint(bundle.modules, f"{bundle.reading} {' '.join(bundle.vocabulary.words)}")
        self._read = CaptionReader(bundle.vocabulary, bundle.reading)

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it reads."""
        return self.bundle.skeleton

    @property
    def trained_on(self) -> str:
        """Fingerprint of the data set; empty for the published evaluators."""
        return self.bundle.fingerprint

    @property
    def size(self) -> int:
        """W, 512 as published."""
        return self.bundle.network.architecture.embedding

    def prepare(self, tokens: Mapping[str, Sequence[str]]) -> None:
        """Learn captions' `word/POS` tokens; an evaluator with a learned vocabulary needs none."""
        self._read.prepare(tokens)

    @torch.no_grad()
    def embed_motion(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings [B, W] of motions [B, T, D] of `lengths` [B] frames, in the data set's own units.

        Raises:
            FeatureSpecError: another feature size, or a motion that is too short or too long.
        """
        weight = self.bundle.normaliser.std
        motion = self.bundle.normaliser.normalise(features.to(weight))
        return self.bundle.network.embed_motion(motion, lengths.to(weight.device))

    @torch.no_grad()
    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """Embeddings [B, W] of captions.

        Raises:
            DataError: the evaluator reads `word/POS` tokens, and those of a caption were not prepared.
        """
        text = self._read(captions).to(self.bundle.normaliser.std.device)
        return self.bundle.network.embed_text(text.words, text.tags, text.lengths)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move weights and statistics, in place, to a device and a precision."""
        for module in self.bundle.modules.values():
            module.to(device=device, dtype=dtype)
        return self
