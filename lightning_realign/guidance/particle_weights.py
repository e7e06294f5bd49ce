"""Weights, resampling and ancestry of particles. Symbols: K particles, B motions, S steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_realign.settings.search import Potential

# Stands for infinity: the weight of a particle that has blown up is nothing, and differences of it remain numbers.
_HUGE = 1e30


def systematic(weights: Tensor, offset: Tensor | float) -> Tensor:
    """Systematic resampling: for K evenly spaced points the particles in whose share of [0, 1) they lie.

    Particle k is taken floor(K w_k) or that and one times, and K w_k times on average over the offset.

    Args:
        weights: [..., K], summing to 1.
        offset: [...] or a number, in [0, 1).

    Returns:
        [..., K] indices, rising.

    >>> systematic(torch.tensor([0.5, 0.0, 0.25, 0.25]), 0.5).tolist()
    [0, 0, 2, 3]
    """
    count = weights.shape[-1]
    points = (
        torch.arange(count, dtype=weights.dtype) + torch.as_tensor(offset, dtype=weights.dtype)[..., None]
    ) / count
    return torch.searchsorted(weights.cumsum(-1), points, right=True).clamp_max(count - 1)


class Cloud:
    """The weights [K, B] of the particles on their way; all in float64 on the CPU.

    Args:
        particles: K.
        random: B generators, each its own motion's.
        potential: see `ParticleConfig`.
        threshold: see `ParticleConfig`.
    """

    def __init__(
        self, particles: int, random: Sequence[torch.Generator], potential: Potential, threshold: float
    ) -> None:
        self._random = list(random)
        self._potential: Potential = potential
        self._threshold = threshold
        self._log_weights = torch.zeros(particles, len(self._random), dtype=torch.float64)
        # What the rewards of a particle and its ancestors have brought to its weight so far, and their maximum or sum.
        self._paid = torch.zeros_like(self._log_weights)
        self._running: Tensor | None = None
        # The rewards at each step, and where the particles after it come from; None where they stayed.
        self._rewards: list[Tensor] = []
        self._places: list[Tensor | None] = []
        self._effective: list[Tensor] = []

    def record(self, rewards: Tensor | None) -> None:
        """Weigh the particles by their rewards [K, B] at a step; None where they are not weighed."""
        self._places.append(None)
        if rewards is None:
            nothing = self._log_weights.new_full(self._log_weights.shape[1:], float("nan"))
            self._rewards.append(nothing.expand_as(self._log_weights))
            self._effective.append(nothing)
            return
        values = _finite(rewards)
        self._rewards.append(values)
        if self._potential == "difference":
            gain = values - self._paid
        else:
            self._running = values if self._running is None else self._joined(self._running, values)
            gain = self._running
        self._log_weights = self._log_weights + gain
        self._paid = self._paid + gain
        self._effective.append(1 / self.weights().square().sum(dim=0))

    def _joined(self, running: Tensor, values: Tensor) -> Tensor:
        return torch.maximum(running, values) if self._potential == "max" else running + values

    def multiply(self, log_ratio: Tensor) -> None:
        """Multiply the weights by exp of `log_ratio` [K, B]."""
        if log_ratio.any():
            self._log_weights = self._log_weights + _finite(log_ratio)

    def finish(self, rewards: Tensor) -> Tensor:
        """Let the clean rewards [K, B], also returned, take the place of all that were paid."""
        values = _finite(rewards)
        self._log_weights = self._log_weights + values - self._paid
        self._paid = values
        return values

    def weights(self) -> Tensor:
        """[K, B], summing to 1 for each motion."""
        return self._log_weights.softmax(dim=0)

    def effective(self) -> Tensor:
        """Effective number of particles at each step before resampling, [S, B]; NaN where not weighed."""
        return torch.stack(self._effective)

    def history(self, ends: Tensor | None = None) -> Tensor:
        """Rewards of particles at the end and of those they came from, [S, P, B]; NaN where not weighed.

        Args:
            ends: [P, B] which; all K by default.
        """
        count, motions = self._log_weights.shape
        at = torch.arange(count)[:, None].expand(count, motions) if ends is None else ends
        found = []
        for rewards, places in zip(reversed(self._rewards), reversed(self._places), strict=True):
            at = at if places is None else places.gather(0, at)
            found.append(rewards.gather(0, at))
        return torch.stack(found[::-1])

    def resample(self) -> Tensor | None:
        """Resample the motions with too few effective particles; returns their places [K, B], None if all stay."""
        count, weights = len(self._log_weights), self.weights()
        few = (self._effective[-1] < self._threshold * count).nonzero().flatten().tolist()
        if not few:
            return None
        places = torch.arange(count)[:, None].repeat(1, len(self._random))
        places[:, few] = systematic(weights[:, few].T.contiguous(), self._offsets(few)).T
        self._log_weights[:, few] = 0.0
        self._paid = self._paid.gather(0, places)
        self._running = None if self._running is None else self._running.gather(0, places)
        self._places[-1] = places
        return places

    def draw(self, weights: Tensor) -> Tensor:
        """One particle of each motion [B] with probabilities [K, B]."""
        offsets = self._offsets(range(len(self._random)))
        drawn = torch.searchsorted(weights.T.contiguous().cumsum(dim=1), offsets[:, None], right=True)
        return drawn[:, 0].clamp_max(len(weights) - 1)

    def _offsets(self, rows: Sequence[int]) -> Tensor:
        """A number in [0, 1) for each of these motions."""
        return torch.cat([torch.rand(1, dtype=torch.float64, generator=self._random[row]) for row in rows])


def _finite(values: Tensor) -> Tensor:
    return values.double().cpu().nan_to_num(nan=-_HUGE, posinf=_HUGE, neginf=-_HUGE)
