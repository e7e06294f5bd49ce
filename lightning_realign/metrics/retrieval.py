"""Retrieval as torchmetrics metrics, independent of batch size, order, workers and ranks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_realign.metrics.functional.retrieval import RECALLS, retrieval_scores
from lightning_realign.metrics.keyed import KeyedMetric


class RetrievalMetrics(KeyedMetric):
    """Text-to-motion and motion-to-text R@k (percent) and median rank over all pairs that were seen.

    Pairs are gathered from all processes, reduced to one per id (a distributed sampler may repeat some), ordered by
    their ids' keys, and only then ranked: within the whole gallery, or within pools formed by a private shuffle.

    As input to `update`:
        motion: [B, W] latents (means) of motions.
        text: [B, W] latents (means) of their captions.
        ids: B sample ids.

    As output of `compute`: a dictionary of float64 scalars, `t2m_R@1` ... `t2m_MedR`, `m2t_R@1` ... `m2t_MedR`; NaN
    where there are fewer pairs than one pool needs.

    Args:
        pool: None for the whole gallery, otherwise the number of pairs per pool (TMR's protocol has 32).
        seed: seed of the shuffle that forms the pools.
        recalls: the k of R@k.

    Raises:
        ValueError: a pool below 2, or a k below 1.

    Example:
        >>> import torch
        >>> metric = RetrievalMetrics()
        >>> metric.update(torch.eye(4), torch.eye(4), ["a", "b", "c", "d"])
        >>> metric.compute()["t2m_R@1"].item()
        100.0
    """

    higher_is_better = True

    def __init__(self, pool: int | None = None, seed: int = 0, recalls: Sequence[int] = RECALLS) -> None:
        super().__init__(("motion", "text"))
        if pool is not None and pool < 2:
            raise ValueError(f"pool={pool}: a pool holds at least 2 pairs; None ranks within the whole gallery")
        if not recalls or min(recalls) < 1:
            raise ValueError(f"recalls={tuple(recalls)}: give at least one k, none below 1")
        self.pool = pool
        self.seed = seed
        self.recalls = tuple(recalls)

    def update(self, motion: Tensor, text: Tensor, ids: Sequence[str]) -> None:
        """Take in a batch of pairs.

        Raises:
            ValueError: the latents' shapes differ, or their number is not the number of ids.
            DataError: latents that are not finite.
        """
        if motion.shape != text.shape or motion.dim() != 2 or len(motion) != len(ids):
            raise ValueError(
                f"motion has shape {tuple(motion.shape)}, text {tuple(text.shape)}, and there are {len(ids)} ids: "
                "expected [B, W] twice and B ids"
            )
        self._store(ids, {"motion": motion, "text": text})

    def compute(self) -> dict[str, Tensor]:
        """Rank everything seen so far.

        Raises:
            DataError: nothing was seen.
        """
        rows = self._rows()
        return retrieval_scores(rows["motion"], rows["text"], self.pool, self.seed, self.recalls)


class RetrievalByLevel(nn.Module):
    """A `RetrievalMetrics` for each noise level and each pool size.

    As input to `update`: `level`, one of the levels, `motion` and `text`, latents [B, W], and `ids`, B sample ids.

    As output of `compute`: a dictionary of float64 scalars: `t0/t2m_R@1` and so on for the whole gallery,
    `t0/pool32/t2m_R@1` and so on for pools of 32.

    Args:
        levels: timesteps of the noisy motions; 0 is clean.
        pools: sizes of the pools; None is the whole gallery.

    Raises:
        ValueError: a pool below 2.

    Example:
        >>> import torch
        >>> metric = RetrievalByLevel(levels=[0, 500])
        >>> for level in (0, 500):
        ...     metric.update(level, torch.eye(4), torch.eye(4), ["a", "b", "c", "d"])
        >>> metric.compute()["t500/m2t_MedR"].item()
        1.0
    """

    def __init__(self, levels: Sequence[int], pools: Sequence[int | None] = (None,)) -> None:
        super().__init__()
        self.levels, self.pools = tuple(levels), tuple(pools)
        self.metrics = nn.ModuleList(RetrievalMetrics(pool) for _ in self.levels for pool in self.pools)

    def update(self, level: int, motion: Tensor, text: Tensor, ids: Sequence[str]) -> None:
        """Take in latents [B, W] of motions at one level, of their captions, and B ids."""
        for name, metric in self._named():
            if name[0] == level:
                metric.update(motion, text, ids)

    def compute(self) -> dict[str, Tensor]:
        """The recalls and median ranks of every level and pool size.

        Raises:
            DataError: nothing was seen at one of the levels.
        """
        found = {}
        for (level, pool), metric in self._named():
            prefix = f"t{level}/" + ("" if pool is None else f"pool{pool}/")
            found.update({prefix + name: value for name, value in metric.compute().items()})
        return found

    def reset(self) -> None:
        """Forget all samples."""
        for _, metric in self._named():
            metric.reset()

    def _named(self) -> list[tuple[tuple[int, int | None], RetrievalMetrics]]:
        names = [(level, pool) for level in self.levels for pool in self.pools]
        metrics = [metric for metric in self.metrics if isinstance(metric, RetrievalMetrics)]
        return list(zip(names, metrics, strict=True))
