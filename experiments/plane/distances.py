"""Distances between clouds of points and laws in the plane."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Cells less likely than this count as this likely, so that one stray point costs a finite amount.
_LEAST = 1e-12


def sliced_wasserstein(first: Tensor, second: Tensor, directions: int = 64) -> float:
    """The mean over directions of the 1-Wasserstein distance between projections (sliced W_1).

    Args:
        first: [N, 2].
        second: [N, 2], of the same number of points.
        directions: how many, evenly spread over the half circle.
    """
    angles = torch.arange(directions, dtype=first.dtype) * (math.pi / directions)
    axes = torch.stack([angles.cos(), angles.sin()])
    # NumPy sorts rows many times faster than PyTorch sorts columns.
    ranked = [np.sort((points @ axes).T.contiguous().numpy(), axis=1) for points in (first, second)]
    return float(np.abs(ranked[0] - ranked[1]).mean())


@dataclass(frozen=True)
class Grid:
    """Square cells over [-extent, extent]^2. cells: per side. refine: sub-points per cell and side in quadrature."""

    extent: float = 3.0
    cells: int = 40
    refine: int = 5

    @property
    def axis(self) -> Tensor:
        """Coordinates of the quadrature points along one side, [cells * refine]."""
        count = self.cells * self.refine
        return (torch.arange(count, dtype=torch.float64) + 0.5) * (2 * self.extent / count) - self.extent

    @property
    def points(self) -> Tensor:
        """The quadrature points [cells * refine, cells * refine, 2], first axis x."""
        return torch.stack(torch.meshgrid(self.axis, self.axis, indexing="ij"), dim=-1)

    def probabilities(self, log_density: Callable[[Tensor], Tensor]) -> Tensor:
        """Probabilities [cells, cells] of the cells under a law known up to a constant, normalised over the grid.

        Args:
            log_density: points [..., 2] -> unnormalised log-density [...].
        """
        fine = log_density(self.points).flatten().softmax(dim=0)
        return fine.reshape(self.cells, self.refine, self.cells, self.refine).sum(dim=(1, 3))

    def shares(self, points: Tensor) -> Tensor:
        """The shares [cells, cells] of the points [N, 2] in each cell; points outside the grid are in none."""
        inside = points[(points.abs() < self.extent).all(dim=1)]
        index = ((inside + self.extent) * (self.cells / (2 * self.extent))).long().clamp(0, self.cells - 1)
        counts = torch.bincount(index[:, 0] * self.cells + index[:, 1], minlength=self.cells**2)
        return counts.reshape(self.cells, self.cells).to(torch.float64) / len(points)

    def divergence(self, points: Tensor, law: Tensor) -> float:
        """KL(points || law) in nats over the cells and one more for everything outside.

        For N draws from the law itself it is not 0 but about (occupied cells) / (2 N): compare with the floor.

        Args:
            points: [N, 2].
            law: [cells, cells] probabilities.
        """
        found = self.shares(points).flatten()
        shares = torch.cat([found, (1 - found.sum()).clamp_min(0.0)[None]])
        expected = torch.cat([law.flatten(), torch.zeros(1, dtype=law.dtype)]).clamp_min(_LEAST)
        return float(torch.special.xlogy(shares, shares / expected).sum())
