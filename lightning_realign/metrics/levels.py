"""Retrieval at several noise levels and under several protocols, with one name per figure."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_realign.metrics.retrieval import RetrievalMetrics


class RetrievalByLevel(nn.Module):
    """A `RetrievalMetrics` for each noise level and each pool size.

    Args:
        levels: timesteps of the noisy motions; 0 is clean.
        pools: protocols; None is the whole gallery.
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
        """All figures: `t0/t2m_R@1` and so on for the whole gallery, `t0/pool32/t2m_R@1` for pools of 32."""
        figures = {}
        for (level, pool), metric in self._named():
            prefix = f"t{level}/" + ("" if pool is None else f"pool{pool}/")
            figures.update({prefix + name: value for name, value in metric.compute().items()})
        return figures

    def reset(self) -> None:
        """Forget everything seen."""
        for _, metric in self._named():
            metric.reset()

    def _named(self) -> list[tuple[tuple[int, int | None], RetrievalMetrics]]:
        names = [(level, pool) for level in self.levels for pool in self.pools]
        metrics = [metric for metric in self.metrics if isinstance(metric, RetrievalMetrics)]
        return list(zip(names, metrics, strict=True))
