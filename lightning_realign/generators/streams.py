"""Random numbers of B motions, each from a generator of its own, so that a motion does not depend on its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# A uniform draw of exactly 0 has no logarithm.
_LEAST = 1e-20


class SampleStreams:
    """Draws for every code of every motion.

    Args:
        generators: one for each motion, on the CPU.
        counts: codes of each motion.
        device: of what is drawn.
    """

    def __init__(self, generators: Sequence[torch.Generator], counts: Sequence[int], device: torch.device) -> None:
        self._streams = list(zip(generators, counts, strict=True))
        self._device = device

    def uniform(self) -> Tensor:
        """Uniform draws [B, n] in [0, 1), float64, zero beyond a motion's codes."""
        return self._padded(lambda count, generator: torch.rand(count, generator=generator, dtype=torch.float64))

    def normal(self, channels: int) -> Tensor:
        """Standard normal draws [B, n, C], float32, zero beyond a motion's codes."""
        return self._padded(lambda count, generator: torch.randn(count, channels, generator=generator))

    def gumbel(self, choices: int) -> Tensor:
        """Standard Gumbel draws [B, n, K], float64, zero beyond a motion's codes."""

        def draw(count: int, generator: torch.Generator) -> Tensor:
            uniform = torch.rand(count, choices, generator=generator, dtype=torch.float64)
            return -(-uniform.clamp_min(_LEAST).log()).log()

        return self._padded(draw)

    def _padded(self, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        rows = [draw(count, generator) for generator, count in self._streams]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self._device)
