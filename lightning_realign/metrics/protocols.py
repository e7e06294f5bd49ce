"""Retrieval under TMR's four protocols (Petrovich et al., ICCV 2023, github.com/Mathux/TMR) and in pools of 32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lightning_realign.errors import DataError
from lightning_realign.metrics.functional.generation import pairwise_distance, pools_of
from lightning_realign.metrics.functional.retrieval import RECALLS, cosine_similarity_matrix, pooled_scores
from lightning_realign.metrics.keyed import KeyedMetric, Rows, id_keys

Protocol = Literal["normal", "threshold", "nsim", "batches", "pool32"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
POOL = 32
Similarity = Literal["cosine", "euclidean"]


def euclidean_nearness(queries: Tensor, gallery: Tensor) -> Tensor:
    """Negative Euclidean distances [N, M] of queries [N, W] from a gallery [M, W], float64."""
    return -pairwise_distance(queries, gallery)


SIMILARITIES: Mapping[Similarity, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine_similarity_matrix,
    "euclidean": euclidean_nearness,
}


def needs_sentences(protocols: Sequence[Protocol], dissimilar: int | Sequence[str]) -> bool:
    """Whether any of the protocols compares captions: `threshold`, or `nsim` without a given list."""
    return "threshold" in protocols or ("nsim" in protocols and isinstance(dissimilar, int))


def similar_captions(sentences: Tensor, threshold: float = 0.95) -> Tensor:
    """Which captions count as the same: bool [N, N], true where the cosine exceeds 2 threshold - 1 (0.90 for 0.95).

    TMR compares similarities scaled to [0, 1]; its sentence embeddings are those of all-mpnet-base-v2.

    Args:
        sentences: [N, S] sentence embeddings.
        threshold: of the scaled similarity, in [0, 1].
    """
    same = cosine_similarity_matrix(sentences, sentences) > 2 * threshold - 1
    return same.fill_diagonal_(True)


def dissimilar_subset(sentences: Tensor, size: int = 100) -> Tensor:
    """Indices of captions that are far from each other: int64 [size], ascending.

    It is for data sets without a published list (TMR's list comes from an approximate quadratic knapsack). The first
    caption is the one least similar to all. Then captions are added one by one: always the one whose nearest chosen
    caption is farthest away.

    Args:
        sentences: [N, S] sentence embeddings.
        size: how many to choose.

    Raises:
        DataError: fewer captions than that.
    """
    if len(sentences) < size:
        raise DataError(
            f"{len(sentences)} captions are too few for a dissimilar subset of {size}: score more or choose fewer"
        )
    similarity = cosine_similarity_matrix(sentences, sentences)
    chosen = [int(similarity.double().mean(dim=1).argmin())]
    nearest = similarity[chosen[0]].clone()
    while len(chosen) < size:
        nearest[chosen[-1]] = torch.inf
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, similarity[chosen[-1]])
    return torch.tensor(sorted(chosen))


def small_batches(size: int, pool: int = 32, seed: int = 0) -> Tensor:
    """TMR's batches of items that are ordered by id: indices [size // pool, pool], the remainder left out.

    Drawn by NumPy's legacy generator, whose stream is frozen, so that the batches are the published ones.

    Raises:
        DataError: there are fewer items than one batch holds.
    """
    if size < pool:
        raise DataError(f"{size} samples do not fill one batch of {pool}: score more samples or choose a smaller batch")
    order = np.arange(size)
    np.random.RandomState(seed).shuffle(order)
    return torch.from_numpy(order[: size // pool * pool].reshape(-1, pool))


class RetrievalProtocols(KeyedMetric):
    """Text-to-motion and motion-to-text R@k (percent) and median rank under TMR's protocols and in ReAlign's pools.

    The first four protocols are TMR's. `normal` ranks the whole gallery. `threshold` does, too, but every item whose
    caption is as good as the query's is a match. `nsim` ranks a subset of captions far from each other. `batches` takes
    the mean over batches of 32 (TMR calls it Guo's protocol). `pool32` takes the mean over pools of 32 (Weng et al.,
    AAAI 2026), the same pools as `RetrievalMetrics(32)`. A match that ties with other items takes the average of their
    places.

    As input to `update`:
        motion: [B, W] latents (means) of motions.
        text: [B, W] latents (means) of their captions.
        sentences: [B, S] sentence embeddings of the captions, from a model other than the measured one. None if no
            protocol needs them, see `needs_sentences`.
        ids: B sample ids.

    As output of `compute`: a dictionary of float64 scalars, `normal/t2m_R@1` ... `pool32/m2t_MedR`.

    Args:
        protocols: the protocols to measure.
        dissimilar: the subset of `nsim`, as ids (TMR publishes lists of about 100), or the number to choose, see
            `dissimilar_subset`.
        threshold: from which similarity captions count as the same, see `similar_captions`.
        pool: pairs per batch in `batches`.
        seed: seed of the shuffles that form batches and pools.
        recalls: the k of R@k.
        ids: the pairs to score; all of them are required. The batches are then TMR's, which follow the order of the
            ids. None scores all pairs that were seen, in the order of their ids' keys.
        similarity: what ranks latents: the `cosine`, as in TMR and ReAlign, or the `euclidean` distance, as in Guo et
            al.

    Raises:
        ValueError: no or unknown protocols, a pool or subset below 2, a threshold outside [0, 1], a k below 1, or an
            unknown similarity.

    Example:
        >>> import torch
        >>> metric = RetrievalProtocols(["normal", "batches"], pool=4)
        >>> metric.update(torch.eye(4), torch.eye(4), None, ["a", "b", "c", "d"])
        >>> metric.compute()["batches/t2m_R@1"].item()
        100.0
    """

    higher_is_better = True

    def __init__(
        self,
        protocols: Sequence[Protocol] = PROTOCOLS,
        dissimilar: int | Sequence[str] = 100,
        threshold: float = 0.95,
        pool: int = POOL,
        seed: int = 0,
        recalls: Sequence[int] = RECALLS,
        ids: Sequence[str] | None = None,
        similarity: Similarity = "cosine",
    ) -> None:
        if not protocols or not set(protocols) <= set(PROTOCOLS):
            raise ValueError(f"protocols={tuple(protocols)}: choose from {', '.join(PROTOCOLS)}")
        subset = dissimilar if isinstance(dissimilar, int) else len(dissimilar)
        if min(pool, subset) < 2 or not 0 <= threshold <= 1:
            raise ValueError(
                f"pool={pool}, threshold={threshold}, {subset} dissimilar captions: a pool or subset holds at least 2, "
                "and the threshold is in [0, 1]"
            )
        if not recalls or min(recalls) < 1:
            raise ValueError(f"recalls={tuple(recalls)}: give at least one k, none below 1")
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity={similarity!r}: choose {' or '.join(SIMILARITIES)}")
        compares = needs_sentences(protocols, dissimilar)
        columns = ("motion", "text", "sentences") if compares else ("motion", "text")
        super().__init__(columns, ids=None if ids is None else sorted(ids))
        self.protocols, self.dissimilar, self.threshold = tuple(protocols), dissimilar, threshold
        self.pool, self.seed, self.recalls = pool, seed, tuple(recalls)
        self.similarity: Similarity = similarity
        self.compares_captions = compares

    def update(self, motion: Tensor, text: Tensor, sentences: Tensor | None, ids: Sequence[str]) -> None:
        """Take in a batch of pairs.

        Raises:
            ValueError: shapes that do not agree, or sentences that are missing.
            DataError: latents or embeddings that are not finite.
        """
        if motion.shape != text.shape:
            raise ValueError(
                f"motion has shape {tuple(motion.shape)} and text {tuple(text.shape)}: both must be [B, W]"
            )
        columns = {"motion": motion, "text": text}
        if self.compares_captions:
            if sentences is None:
                raise ValueError("sentences is None, but a protocol compares captions: give [B, S] embeddings of them")
            columns["sentences"] = sentences
        self._store(ids, columns)

    def compute(self) -> dict[str, Tensor]:
        """Rank everything seen so far.

        Raises:
            DataError: too few pairs for a batch, a pool or the subset, or required pairs are missing.
        """
        rows = self._rows()
        found = {}
        for protocol in self.protocols:
            pools, matches = self._setting(protocol, rows)
            near = SIMILARITIES[self.similarity]
            scores = pooled_scores(rows["motion"], rows["text"], pools, self.recalls, matches, near)
            found.update({f"{protocol}/{name}": value for name, value in scores.items()})
        return found

    def _setting(self, protocol: Protocol, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """The pools [M, P] of a protocol, and which pairs count as the same [N, N]."""
        match protocol:
            case "normal":
                return torch.arange(len(rows))[None], None
            case "threshold":
                return torch.arange(len(rows))[None], similar_captions(rows["sentences"], self.threshold)
            case "nsim":
                return self._subset(rows)[None], None
            case "batches":
                return small_batches(len(rows), self.pool, self.seed), None
            case "pool32":
                # In the order of the keys, whatever order the ids give: the pools are those of `RetrievalMetrics`.
                return rows.keys.argsort().cpu()[pools_of(len(rows), POOL, self.seed)], None

    def _subset(self, rows: Rows) -> Tensor:
        if isinstance(self.dissimilar, int):
            return dissimilar_subset(rows["sentences"], self.dissimilar)
        places = {key: place for place, key in enumerate(rows.keys.tolist())}
        wanted = dict(zip(id_keys(self.dissimilar).tolist(), self.dissimilar, strict=True))
        missing = [sample for key, sample in wanted.items() if key not in places]
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(wanted)} samples of the dissimilar subset were not given, "
                f"{missing[0]!r} among them: score the whole test split, or give a list of its ids"
            )
        return torch.tensor([places[key] for key in wanted])
