"""Metrics of generated motions as torchmetrics, independent of batch size, order, workers and ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_realign.errors import DataError
from lightning_realign.metrics.functional.generation import (
    diversity,
    frechet_distance,
    gaussian_of,
    matching_distance,
    multimodality,
    pools_of,
    r_precision,
)
from lightning_realign.metrics.keyed import KeyedMetric, id_keys


class RPrecision(KeyedMetric):
    """R-Precision of generated motions: fractions of captions whose motion is among the k nearest of a pool.

    Guo et al. (CVPR 2022, github.com/EricGuo5513/text-to-motion): Euclidean distance, pools of 32. Pools are drawn by
    a private seed from the samples ordered by id; samples that do not fill a last pool are left out.

    As input to `update`:
        text: [B, W] embeddings of captions.
        motion: [B, W] embeddings of motions.
        ids: B sample ids.
        captions: B captions; where the same text stands twice in a pool, either motion is right.
        labels: B labels, for a data set that has them.

    As output of `compute`: a dictionary of float64 scalars in [0, 1], `R@1` ... classic, `R@1_caption` ... where a
    motion whose caption is the same text counts too, and, if `labelled`, `R@1_label` ... for the same label.

    Args:
        pool: samples per pool.
        top: the largest k.
        seed: seed of the shuffle that forms the pools.
        labelled: whether labels are given.
        ids: see `KeyedMetric`.

    Raises:
        ValueError: a pool below 2, or `top` outside 1..pool.
        DataError: fewer samples than one pool holds, or embeddings that are not finite.

    Example:
        >>> import torch
        >>> metric = RPrecision(pool=4)
        >>> metric.update(torch.eye(4), torch.eye(4), ["a", "b", "c", "d"], ["walk", "run", "jump", "sit"])
        >>> metric.compute()["R@1"].item()
        1.0
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(
        self, pool: int = 32, top: int = 3, seed: int = 0, labelled: bool = False, ids: Sequence[str] | None = None
    ) -> None:
        super().__init__(("text", "motion"), ("captions", "labels") if labelled else ("captions",), ids)
        if pool < 2 or not 1 <= top <= pool:
            raise ValueError(f"pool={pool} and top={top}: a pool holds at least 2 samples, and top is in 1..pool")
        self.pool, self.top, self.seed, self.labelled = pool, top, seed, labelled

    def update(
        self,
        text: Tensor,
        motion: Tensor,
        ids: Sequence[str],
        captions: Sequence[str],
        labels: Sequence[str] | None = None,
    ) -> None:
        """Take in a batch of pairs.

        Raises:
            ValueError: shapes that do not agree, or labels that are missing or not asked for.
            DataError: embeddings that are not finite.
        """
        if (labels is not None) != self.labelled:
            raise ValueError(f"labelled={self.labelled}: give labels with labelled=True, and only then")
        columns = {"text": text, "motion": motion, "captions": id_keys(captions)}
        if labels is not None:
            columns["labels"] = id_keys(labels)
        self._store(ids, columns)

    def compute(self) -> dict[str, Tensor]:
        """The fractions over everything seen so far.

        Raises:
            DataError: fewer samples than one pool holds, or samples of `ids` are missing.
        """
        rows = self._rows()
        pools = pools_of(len(rows), self.pool, self.seed)
        kinds = {"": None, "_caption": rows["captions"]} | ({"_label": rows["labels"]} if self.labelled else {})
        return {
            f"R@{k}{kind}": value
            for kind, groups in kinds.items()
            for k, value in enumerate(r_precision(rows["text"], rows["motion"], pools, groups, self.top), start=1)
        }


class MatchingDistance(KeyedMetric):
    """MM-Dist: mean Euclidean distance of captions' embeddings from their motions' (Guo et al., CVPR 2022).

    As input to `update`: `text` and `motion`, embeddings [B, W], and `ids`, B sample ids.

    As output of `compute`: a float64 scalar, in the unit of the embeddings, over all samples.

    Args:
        ids: see `KeyedMetric`.

    Example:
        >>> import torch
        >>> metric = MatchingDistance()
        >>> metric.update(torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]), ["a", "b"])
        >>> metric.compute().item()
        3.0
    """

    higher_is_better = False

    def __init__(self, ids: Sequence[str] | None = None) -> None:
        super().__init__(("text", "motion"), ids=ids)

    def update(self, text: Tensor, motion: Tensor, ids: Sequence[str]) -> None:
        """Take in a batch of pairs.

        Raises:
            ValueError: shapes that do not agree.
            DataError: embeddings that are not finite.
        """
        self._store(ids, {"text": text, "motion": motion})

    def compute(self) -> Tensor:
        """The mean distance over everything seen so far.

        Raises:
            DataError: no samples, or samples of `ids` are missing.
        """
        rows = self._rows()
        return matching_distance(rows["text"], rows["motion"])


class FrechetDistance(KeyedMetric):
    """FID between the embeddings of generated and of real motions, in float64; see `frechet_distance`.

    Heusel et al. (NeurIPS 2017); on motions, Guo et al. (CVPR 2022). The state keeps embeddings, not sums of them, so
    that a repeated sample counts once and the distance does not depend on the order of summation.

    As input to `update`: `motion`, embeddings [B, W], `ids`, B sample ids, and `real`, whether the motions are real.

    As output of `compute`: a float64 scalar >= 0.

    Args:
        ids: see `KeyedMetric`; both the real and the generated motions need all of them.

    Example:
        >>> import torch
        >>> metric = FrechetDistance()
        >>> metric.update(torch.tensor([[0.0], [2.0]]), ["a", "b"], real=True)
        >>> metric.update(torch.tensor([[3.0], [5.0]]), ["a", "b"], real=False)
        >>> round(metric.compute().item(), 6)
        9.0
    """

    higher_is_better = False

    def __init__(self, ids: Sequence[str] | None = None) -> None:
        super().__init__(("motion",), ids=ids)

    def update(self, motion: Tensor, ids: Sequence[str], real: bool) -> None:
        """Take in a batch of motions.

        Raises:
            ValueError: shapes that do not agree.
            DataError: embeddings that are not finite.
        """
        self._store(ids, {"motion": motion}, part=int(real))

    def compute(self) -> Tensor:
        """The distance between the two sets seen so far.

        Raises:
            DataError: fewer than two motions of either kind, or samples of `ids` are missing.
        """
        rows = self._rows()
        generated, real = (
            gaussian_of(rows.part(part)["motion"], what)
            for part, what in enumerate(("generated motions", "real motions"))
        )
        return frechet_distance(generated, real)


class Diversity(KeyedMetric):
    """Diversity: mean distance of random pairs of motions (Guo et al., CVPR 2022).

    As input to `update`: `motion`, embeddings [B, W], and `ids`, B sample ids.

    As output of `compute`: a float64 scalar, in the unit of the embeddings.

    Args:
        pairs: the size of the two draws, each without replacement.
        seed: seed of the draws from the samples ordered by id.
        ids: see `KeyedMetric`.

    Raises:
        ValueError: fewer than one pair.

    Example:
        >>> import torch
        >>> metric = Diversity(pairs=1)
        >>> metric.update(torch.tensor([[0.0], [0.0]]), ["a", "b"])
        >>> metric.compute().item()
        0.0
    """

    # No direction is better: the value is compared with that of real motions.
    higher_is_better = None

    def __init__(self, pairs: int = 300, seed: int = 0, ids: Sequence[str] | None = None) -> None:
        super().__init__(("motion",), ids=ids)
        if pairs < 1:
            raise ValueError(f"pairs={pairs}: give at least 1")
        self.pairs, self.seed = pairs, seed

    def update(self, motion: Tensor, ids: Sequence[str]) -> None:
        """Take in a batch of motions.

        Raises:
            ValueError: shapes that do not agree.
            DataError: embeddings that are not finite.
        """
        self._store(ids, {"motion": motion})

    def compute(self) -> Tensor:
        """The mean distance over the pairs drawn from everything seen so far.

        Raises:
            DataError: fewer samples than pairs, or samples of `ids` are missing.
        """
        return diversity(self._rows()["motion"], self.pairs, self.seed)


class MultiModality(KeyedMetric):
    """MultiModality: mean distance of random pairs of motions of the same caption (Guo et al., CVPR 2022).

    As input to `update`: `motion`, embeddings [B, W], `ids`, the B ids of their captions, and `repetition`, the number
    of the motion among those of its caption. The field generates 30 motions for each of 100 captions.

    As output of `compute`: a float64 scalar, in the unit of the embeddings.

    Args:
        pairs: the size of the two draws of repetitions, the same for all captions.
        seed: seed of the draws.
        ids: see `KeyedMetric`.

    Raises:
        ValueError: fewer than one pair.

    Example:
        >>> import torch
        >>> metric = MultiModality(pairs=2)
        >>> for repetition in range(2):
        ...     metric.update(torch.full((3, 1), 5.0), ["a", "b", "c"], repetition)
        >>> metric.compute().item()
        0.0
    """

    higher_is_better = True

    def __init__(self, pairs: int = 10, seed: int = 0, ids: Sequence[str] | None = None) -> None:
        super().__init__(("motion",), ids=ids)
        if pairs < 1:
            raise ValueError(f"pairs={pairs}: give at least 1")
        self.pairs, self.seed = pairs, seed

    def update(self, motion: Tensor, ids: Sequence[str], repetition: int) -> None:
        """Take in one motion for each of B captions.

        Raises:
            ValueError: shapes that do not agree.
            DataError: embeddings that are not finite.
        """
        self._store(ids, {"motion": motion}, part=repetition)

    def compute(self) -> Tensor:
        """The mean distance over the pairs drawn from everything seen so far.

        Raises:
            DataError: captions with different repetitions, fewer repetitions than pairs, or samples of `ids` missing.
        """
        rows = self._rows()
        parts = [rows.part(part) for part in sorted(set(rows.parts.tolist()))]
        if any(not torch.equal(part.keys, parts[0].keys) for part in parts):
            sizes = sorted({len(part) for part in parts})
            raise DataError(
                f"captions have different repetitions ({len(parts)}, of {sizes[0]} to {sizes[-1]} captions): "
                "MultiModality needs the same repetitions of every caption"
            )
        return multimodality(torch.stack([part["motion"] for part in parts], dim=1), self.pairs, self.seed)
