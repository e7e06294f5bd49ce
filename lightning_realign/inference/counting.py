"""What a motion costs in evaluations of the generator's network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_realign.generators import Generator, MaskedGenerator
from lightning_realign.generators.base import LatentGuide


class CountingGenerator:
    """A generator that counts its network's evaluations; otherwise the generator it wraps.

    Args:
        generator: the generator.

    Attributes:
        calls: network evaluations per motion so far, over all batches. A gradient taken back through the network
            counts as one more: with frozen weights it costs about as much.
        watch: called with that number whenever it grows; None for nobody.
    """

    def __init__(self, generator: Generator | MaskedGenerator) -> None:
        self._generator: Any = generator
        self.calls = 0
        self.watch: Callable[[int], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def _count(self, evaluations: int) -> None:
        self.calls += evaluations
        if self.watch is not None:
            self.watch(self.calls)

    def generate(
        self,
        texts: Sequence[str],
        lengths: Tensor,
        noise: Sequence[torch.Generator],
        guide: LatentGuide | None = None,
    ) -> Tensor:
        """The wrapped generator's `generate`."""
        self._count(self._generator.evaluations)
        features: Tensor = self._generator.generate(texts, lengths, noise, guide)
        return features

    def denoise(self, x: Tensor, t: int, cond: Any, lengths: Tensor) -> Tensor:
        """The wrapped generator's `denoise`."""
        evaluations = self._generator.evaluations_at(t)
        self._count(evaluations)
        output: Any = self._generator.denoise(x, t, cond, lengths)
        if output.requires_grad:

            def count(gradient: Tensor) -> None:
                self._count(evaluations)

            output.register_hook(count)
        predicted: Tensor = output
        return predicted
