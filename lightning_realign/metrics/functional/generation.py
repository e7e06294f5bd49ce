"""Metrics of generated motions as pure functions of embeddings. Symbols: N samples, W width, P pool size.

The definitions are those of Guo et al. (CVPR 2022, github.com/EricGuo5513/text-to-motion), computed in float64, with
explicit seeds instead of the global random state.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lightning_realign.errors import DataError
from lightning_realign.metrics.functional.retrieval import pool_order, retrieval_ranks


@dataclass(frozen=True)
class GaussianFit:
    """Mean [W] and covariance [W, W] of embeddings, float64."""

    mean: Tensor
    covariance: Tensor

    @cached_property
    def root(self) -> Tensor:
        """The symmetric root of the covariance [W, W], kept for the next distance from the same Gaussian.

        Directions without variance (fewer samples than dimensions) are left out exactly, since the root of a rounding
        error is far larger than the error.
        """
        values, vectors = torch.linalg.eigh(self.covariance)
        least = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
        scales = torch.where(values > least, values, 0.0).sqrt()
        root: Tensor = (vectors * scales) @ vectors.T
        return root


def draw(size: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` different indices below `size`, int64 [count]."""
    return torch.randperm(size, generator=generator)[:count]


def pools_of(size: int, pool: int, seed: int) -> Tensor:
    """Indices [size // pool, pool] of shuffled pools, see `pool_order`.

    Raises:
        DataError: there are fewer samples than one pool holds.
    """
    pools = pool_order(size, pool, seed)
    if not len(pools):
        raise DataError(f"{size} samples do not fill one pool of {pool}: score more samples or choose a smaller pool")
    return pools


def r_precision(text: Tensor, motion: Tensor, pools: Tensor, groups: Tensor | None = None, top: int = 3) -> Tensor:
    """R-Precision: how often a caption's own motion is among the k nearest of its pool, by Euclidean distance.

    Guo et al. (CVPR 2022). Their code leaves equal distances to the sort's order; here a match that ties with other
    motions takes the average of their places (the rule of TMR's code), so that a constant embedding scores no better
    than chance.

    Args:
        text: [N, W] embeddings of captions, the queries.
        motion: [N, W] embeddings of motions.
        pools: [M, P] indices of the members of each pool.
        groups: [N] integers; every motion of the query's own group is a match. None: only the query's own motion is.
        top: the largest k.

    Returns:
        Fractions [top] for k = 1..top over all M P queries, float64.

    Raises:
        DataError: embeddings that are not finite.
    """
    ranks = pool_ranks(text, motion, pools, groups)
    return torch.stack([(ranks < k).double().mean() for k in range(1, top + 1)])


def pool_ranks(text: Tensor, motion: Tensor, pools: Tensor, groups: Tensor | None = None) -> Tensor:
    """Ranks [M, P], from 0, of the matches of each pool's members. Arguments and errors are those of `r_precision`."""
    _check_finite("R-Precision", text, motion)
    members = pools.to(text.device)
    matches = None if groups is None else groups[members][:, :, None] == groups[members][:, None]
    return retrieval_ranks(-pairwise_distance(text[members], motion[members]), matches)


def pairwise_distance(queries: Tensor, gallery: Tensor) -> Tensor:
    """Euclidean distances [..., N, M] of [..., N, W] from [..., M, W], float64.

    They are computed from differences, not from a matrix product, so that equal embeddings are equally far apart
    wherever they stand.
    """
    return torch.cdist(queries.double(), gallery.double(), compute_mode="donot_use_mm_for_euclid_dist")


def matching_distance(text: Tensor, motion: Tensor) -> Tensor:
    """MM-Dist: mean Euclidean distance of captions [..., W] from their own motions [..., W], a float64 scalar.

    Guo et al. (CVPR 2022).

    Raises:
        DataError: no pairs, or embeddings that are not finite.
    """
    if not text.numel():
        raise DataError("there are no pairs to take a mean distance of: score at least one sample")
    _check_finite("a mean distance", text, motion)
    distance: Tensor = torch.linalg.vector_norm(text.double() - motion.double(), dim=-1)
    return distance.mean()


def gaussian_of(embeddings: Tensor, what: str = "samples") -> GaussianFit:
    """Mean and unbiased covariance of embeddings [N, W].

    Args:
        embeddings: [N, W].
        what: what an error calls the samples.

    Raises:
        DataError: fewer than two embeddings, or some that are not finite or too large to be squared.
    """
    if len(embeddings) < 2:
        raise DataError(f"{len(embeddings)} {what} have no covariance: FID needs at least 2 (and means more with many)")
    values = embeddings.double()
    _check_finite("FID", values)
    mean = values.mean(dim=0)
    centred = values - mean
    covariance = centred.T @ centred / (len(values) - 1)
    if not covariance.isfinite().all():
        raise DataError(
            f"embeddings of {what} reach {values.abs().max():.1e} and have no finite covariance: "
            "check the motions behind them"
        )
    return GaussianFit(mean, covariance)


def frechet_distance(one: GaussianFit, other: GaussianFit) -> Tensor:
    """FID: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), a float64 scalar >= 0.

    Heusel et al. (NeurIPS 2017), on motion embeddings as Guo et al. (CVPR 2022). The trace of the root is the sum of
    the singular values of C1^(1/2) C2^(1/2), whose symmetric roots come from eigenvalues (see `GaussianFit.root`): no
    complex matrix root, no term added to the diagonal.

    Raises:
        ValueError: Gaussians of different width.
    """
    if one.mean.shape != other.mean.shape:
        raise ValueError(f"embeddings have {len(one.mean)} and {len(other.mean)} dimensions: embed both with one model")
    root = torch.linalg.svdvals(one.root @ other.root).sum()
    traces = one.covariance.trace() + other.covariance.trace()
    distance: Tensor = (one.mean - other.mean).square().sum() + traces - 2 * root
    return distance.clamp_min(0)


def embedding_distance(one: Tensor, other: Tensor) -> Tensor:
    """FID of two sets of embeddings [N, W] and [M, W]: the same number as `frechet_distance` of their Gaussians.

    With C1 = A^T A and C2 = B^T B for the scaled, centred embeddings A and B, the trace of (C1 C2)^(1/2) is the sum of
    the singular values of A B^T. With fewer samples than channels, that is far less work than the covariances' roots.

    Raises:
        DataError: as `gaussian_of`.
        ValueError: embeddings of different width.
    """
    if max(len(one), len(other)) > one.shape[-1] or one.shape[-1] != other.shape[-1] or min(len(one), len(other)) < 2:
        return frechet_distance(gaussian_of(one), gaussian_of(other))
    _check_finite("FID", one, other)
    sets = one.double(), other.double()
    means = [values.mean(dim=0) for values in sets]
    first, second = ((x - mean) / (len(x) - 1) ** 0.5 for x, mean in zip(sets, means, strict=True))
    root = torch.linalg.svdvals(first @ second.T).sum()
    spread = first.square().sum() + second.square().sum() - 2 * root
    distance: Tensor = (means[0] - means[1]).square().sum() + spread
    return distance.clamp_min(0)


def diversity(motion: Tensor, pairs: int = 300, seed: int = 0) -> Tensor:
    """Diversity: mean distance between two independent draws of `pairs` motions each, a float64 scalar.

    Each draw is without replacement.

    Guo et al. (CVPR 2022).

    Args:
        motion: [N, W] embeddings.
        pairs: the size of a draw.
        seed: seed of the draws; the global random state is neither read nor changed.

    Raises:
        DataError: fewer motions than a draw needs, or drawn embeddings that are not finite.
    """
    if len(motion) < pairs:
        raise DataError(
            f"{len(motion)} motions are too few for Diversity over {pairs} pairs: score more or set fewer pairs"
        )
    generator = torch.Generator().manual_seed(seed)
    first, second = (draw(len(motion), pairs, generator).to(motion.device) for _ in range(2))
    return matching_distance(motion[first], motion[second])


def multimodality(motion: Tensor, pairs: int = 10, seed: int = 0) -> Tensor:
    """MultiModality: mean distance between two draws from the motions of one caption, a float64 scalar.

    Guo et al. (CVPR 2022): the drawn indices are the same for all captions, and a motion may be paired with itself.

    Args:
        motion: [C, S, W] embeddings of S motions for each of C captions.
        pairs: the size of a draw.
        seed: seed of the draws; the global random state is neither read nor changed.

    Raises:
        DataError: fewer motions per caption than a draw needs, or drawn embeddings that are not finite.
    """
    samples = motion.shape[1]
    if samples < pairs:
        raise DataError(
            f"{samples} motions per caption are too few for MultiModality over {pairs} pairs: "
            "generate more or set fewer pairs"
        )
    generator = torch.Generator().manual_seed(seed)
    first, second = (draw(samples, pairs, generator).to(motion.device) for _ in range(2))
    return matching_distance(motion[:, first], motion[:, second])


def _check_finite(metric: str, *embeddings: Tensor) -> None:
    if not all(values.isfinite().all() for values in embeddings):
        raise DataError(
            f"embeddings hold NaN or infinity: {metric} is not defined for them; check the motions behind them"
        )
