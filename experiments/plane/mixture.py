"""A Gaussian mixture in the plane under noise, and a reward on it: everything in closed form.

With x_t = sqrt(a) x_0 + sqrt(1 - a) eps, every component N(m_k, s_k^2 I) of x_0 stays Gaussian, with mean sqrt(a) m_k
and variance a s_k^2 + 1 - a. The reward is the log-probability of a caption c that a point of component k deserves with
probability q_k: exp R_0(x_0) = p(c | x_0) = sum_k q_k p(k | x_0). Its conditional expectation is the same sum at the
noisy level, E[exp R_0(x_0) | x_t] = p(c | x_t) = sum_k q_k p(k | x_t): what a contrastive loss with temperature tau
learns at its optimum, as R_phi / tau and up to a constant. So this is the case mu = 1 / tau, eta = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self


@dataclass(frozen=True)
class Mixture:
    """A mixture of isotropic Gaussians in the plane.

    weights: [K], positive, summing to 1. means: [K, 2]. stds: [K]. All of one type, float64 unless `to` changed it.

    Inside, components come first, [K, N]: sums over a short last dimension are many times slower.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor

    def to(self, dtype: torch.dtype) -> Self:
        """The same mixture in another floating type, of which points must then be too."""
        return type(self)(self.weights.to(dtype), self.means.to(dtype), self.stds.to(dtype))

    def _variances(self, alpha_bar: float) -> Tensor:
        return alpha_bar * self.stds**2 + 1 - alpha_bar

    def _log_joint(self, x: Tensor, alpha_bar: float) -> Tensor:
        """The log of w_k N(x_t; component k at this level), [K, N] for N points of any shape [..., 2]."""
        points = x.reshape(-1, 2)
        precisions = 1 / self._variances(alpha_bar)
        means = math.sqrt(alpha_bar) * self.means
        constants = (
            self.weights.log() - means.square().sum(dim=1) * precisions / 2 + torch.log(precisions / (2 * math.pi))
        )
        linear = torch.addmm(constants[:, None], means * precisions[:, None], points.T)
        return linear - precisions[:, None] * (points.square().sum(dim=1) / 2)

    def _shares(self, x: Tensor, alpha_bar: float) -> Tensor:
        """p(k | x_t) up to a factor of each point, the largest being 1: [K, N]."""
        logs = self._log_joint(x, alpha_bar)
        return (logs - logs.detach().amax(dim=0)).exp()

    def log_density(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """The log of p_t at points x [..., 2] of signal level `alpha_bar`: [...]."""
        return self._log_joint(x, alpha_bar).logsumexp(dim=0).reshape(x.shape[:-1])

    def log_expectation(self, x: Tensor, alpha_bar: float, factors: Tensor) -> Tensor:
        """The log of sum_k factors_k p(k | x_t), [...]; factors: [K], positive."""
        sums = torch.stack([factors, torch.ones_like(factors)]) @ self._shares(x, alpha_bar)
        return (sums[0] / sums[1]).log().reshape(x.shape[:-1])

    def posterior_mean(self, x: Tensor, alpha_bar: float) -> Tensor:
        """E[x_0 | x_t], [..., 2]; differentiable."""
        gains = math.sqrt(alpha_bar) * self.stds**2 / self._variances(alpha_bar)
        offsets = self.means * (1 - math.sqrt(alpha_bar) * gains[:, None])
        sums = torch.cat([offsets.T, gains[None], torch.ones_like(gains)[None]]) @ self._shares(x, alpha_bar)
        means = (sums[:2] + sums[2] * x.reshape(-1, 2).T) / sums[3]
        return means.T.reshape(x.shape)

    def score(self, x: Tensor, alpha_bar: float) -> Tensor:
        """The gradient of log p_t at x [..., 2], for alpha_bar < 1, by Tweedie's formula."""
        return (math.sqrt(alpha_bar) * self.posterior_mean(x, alpha_bar) - x) / (1 - alpha_bar)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Independent clean points [count, 2]."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, 2, dtype=self.means.dtype, generator=generator)
        return self.means[which] + self.stds[which, None] * noise

    def reweighted(self, factors: Tensor) -> Self:
        """The mixture with weights in proportion to w_k factors_k [K]."""
        weights = self.weights * factors
        return type(self)(weights / weights.sum(), self.means, self.stds)


@dataclass(frozen=True)
class Captioned:
    """A mixture and a caption: what is to be guided, and to where.

    law: p(x_0). fit: [K] q_k = p(c | k), in (0, 1].
    """

    law: Mixture
    fit: Tensor

    def to(self, dtype: torch.dtype) -> Self:
        """The same in another floating type."""
        return type(self)(self.law.to(dtype), self.fit.to(dtype))

    @property
    def target(self) -> Mixture:
        """The guided law p exp(R_0) / Z = p(x_0 | c), again a mixture; noised, it is q_t for every t."""
        return self.law.reweighted(self.fit)

    def log_expectation(self, x: Tensor, alpha_bar: float) -> Tensor:
        """The log of E[exp R_0(x_0) | x_t], [...]: the step-aware reward."""
        return self.law.log_expectation(x, alpha_bar, self.fit)

    def clean_reward(self, x: Tensor) -> Tensor:
        """R_0, [...]: the reward of clean points."""
        return self.log_expectation(x, 1.0)


def ring(radius: float = 1.25, std: float = 0.25) -> Captioned:
    """Eight Gaussians on a circle, and a caption with coarse and fine structure, as real captions have.

    It fits best on the right, but neighbours fit unequally, and no symmetry lets two errors cancel.
    """
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    means = radius * torch.stack([angles.cos(), angles.sin()], dim=1)
    law = Mixture(torch.full((8,), 1 / 8, dtype=torch.float64), means, torch.full((8,), std, dtype=torch.float64))
    return Captioned(law, torch.tensor([0.9, 0.03, 0.45, 0.02, 0.1, 0.02, 0.3, 0.6], dtype=torch.float64))
