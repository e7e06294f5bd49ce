"""Retrieval metrics as pure functions. Symbols: N pairs, W latent width, P pool size.

The protocols are TMR's (Petrovich et al., ICCV 2023): cosine similarity of the latents' means, ranked within the whole
gallery or within pools of 32; a true match that ties with others takes the average of their places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

RECALLS = (1, 2, 3, 5, 10)
# How many queries are ranked at a time: few enough that the intermediate results fit the processor's cache.
ROWS = 512


def cosine_similarity_matrix(queries: Tensor, gallery: Tensor) -> Tensor:
    """Cosine similarity of every query [N, W] with every gallery item [M, W], float32 [N, M].

    They are computed in float64 and rounded. Equal pairs then stay exactly equal wherever they stand in the matrix
    product: ties are seen as ties, and a metric does not depend on the order of the items.
    """
    rows, columns = (F.normalize(latents.double(), dim=-1) for latents in (queries, gallery))
    return torch.cat([torch.matmul(part, columns.T).float() for part in torch.split(rows, ROWS)])


def retrieval_ranks(similarity: Tensor, matches: Tensor | None = None) -> Tensor:
    """Zero-based rank of every query's nearest match; ties take their average place, as in TMR's code.

    Args:
        similarity: [..., N, N], queries in rows; the larger the nearer.
        matches: [..., N, N], true where an item is a match of the query. The query's own item, on the diagonal, always
            is. None: only that one is.

    Returns:
        Ranks [..., N] as float64: (number of strictly nearer items) + (number of other items as near) / 2.

    Raises:
        ValueError: the similarity is not square.
    """
    if similarity.dim() < 2 or similarity.shape[-1] != similarity.shape[-2]:
        raise ValueError(f"similarity has shape {tuple(similarity.shape)}: expected [..., N, N], one match per query")
    own = similarity.diagonal(dim1=-2, dim2=-1)[..., None]
    nears, owns = (torch.split(values, ROWS, dim=-2) for values in (similarity, own))
    same = [None] * len(nears) if matches is None else torch.split(matches, ROWS, dim=-2)
    return torch.cat([_ranks(*part) for part in zip(nears, owns, same, strict=True)], dim=-1)


def _ranks(similarity: Tensor, own: Tensor, matches: Tensor | None) -> Tensor:
    """The ranks [..., Q] of some queries [..., Q, N]. `own` [..., Q, 1] is the similarity of their own items."""
    match = own
    if matches is not None:
        match = torch.maximum(own, similarity.masked_fill(~matches, -torch.inf).amax(dim=-1, keepdim=True))
    nearer = (similarity > match).sum(dim=-1)
    ties = (similarity == match).sum(dim=-1) - 1
    # A NaN is equal to nothing, itself included; its query counts as last rather than as a hit.
    ranks = nearer.double() + ties.double() / 2
    return ranks.masked_fill(match[..., 0].isnan(), similarity.shape[-1] - 1)


def recall_at_k(ranks: Tensor, k: int) -> Tensor:
    """Percentage of zero-based ranks [..., N] below k: [...]."""
    return 100.0 * (ranks < k).double().mean(dim=-1)


def median_rank(ranks: Tensor) -> Tensor:
    """One-based median of zero-based ranks [..., N] (the mean of the two middle ones where N is even): [...]."""
    ordered = ranks.double().sort(dim=-1).values
    size = ordered.shape[-1]
    return (ordered[..., (size - 1) // 2] + ordered[..., size // 2]) / 2 + 1


def pool_order(size: int, pool: int, seed: int) -> Tensor:
    """Which items form each pool: indices [size // pool, pool]. Items that do not fill a last pool are left out.

    Args:
        size: number of items, which are assumed to be ordered by id.
        pool: items per pool.
        seed: seed of the private shuffle; the global random state is neither read nor changed.

    Raises:
        ValueError: fewer than two items per pool.
    """
    if pool < 2:
        raise ValueError(f"pool={pool}: a pool holds at least 2 items")
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return order[: size // pool * pool].reshape(-1, pool)


def retrieval_scores(
    motion: Tensor, text: Tensor, pool: int | None = None, seed: int = 0, recalls: Sequence[int] = RECALLS
) -> dict[str, Tensor]:
    """R@k in percent and median rank (MedR, from 1) for text-to-motion (t2m) and motion-to-text (m2t) retrieval.

    Args:
        motion: [N, W] motion latents, ordered by id.
        text: [N, W] latents of their captions.
        pool: None ranks within all N. Otherwise ranks are taken within shuffled pools of this size, and the scores
            averaged.
        seed: seed of the shuffle that forms the pools.
        recalls: the k of R@k.

    Returns:
        `t2m_R@1` ... `t2m_MedR`, `m2t_R@1` ... `m2t_MedR` as float64 scalars; NaN where no pool can be filled.

    Raises:
        ValueError: the latents have different shapes.
    """
    if motion.shape != text.shape or motion.dim() != 2:
        raise ValueError(f"motion has shape {tuple(motion.shape)} and text {tuple(text.shape)}: both must be [N, W]")
    size = len(motion)
    return pooled_scores(
        motion, text, torch.arange(size)[None] if pool is None else pool_order(size, pool, seed), recalls
    )


def pooled_scores(
    motion: Tensor,
    text: Tensor,
    pools: Tensor,
    recalls: Sequence[int] = RECALLS,
    matches: Tensor | None = None,
    similarity: Callable[[Tensor, Tensor], Tensor] = cosine_similarity_matrix,
) -> dict[str, Tensor]:
    """`retrieval_scores` within given pools.

    Args:
        motion: [N, W] motion latents.
        text: [N, W] latents of their captions.
        pools: [M, P] indices of the members of each pool; the scores are averaged over the pools.
        recalls: the k of R@k.
        matches: [N, N], symmetric, true where two pairs count as the same. None: every pair is its own only match.
        similarity: function from queries [P, W] and a gallery [P, W] to similarities [P, P], the larger the nearer. It
            is called once for both directions, so it must be symmetric.
    """
    ranks: dict[str, list[Tensor]] = {"t2m": [], "m2t": []}
    for members in pools.to(motion.device):
        if len(members):
            near = similarity(text[members], motion[members])
            same = None if matches is None else matches[members][:, members]
            ranks["t2m"].append(retrieval_ranks(near, same))
            ranks["m2t"].append(retrieval_ranks(near.T, same))
    scores = {}
    for direction, found in ranks.items():
        for k in recalls:
            scores[f"{direction}_R@{k}"] = _mean([recall_at_k(rank, k) for rank in found])
        scores[f"{direction}_MedR"] = _mean([median_rank(rank) for rank in found])
    return scores


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean() if values else torch.tensor(torch.nan, dtype=torch.float64)
