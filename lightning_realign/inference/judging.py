"""Figures of a test run by judges: evaluators that embed motions and captions in a space of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lightning_realign.checkpoint import RewardBundle
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError, DataError, FeatureSpecError
from lightning_realign.evaluators import Evaluator, load_evaluator
from lightning_realign.inference.evaluation import Interval, interval
from lightning_realign.inference.measurement import Row, draws_of
from lightning_realign.metrics.generation_functional import (
    diversity,
    frechet_distance,
    gaussian_of,
    matching_distance,
    pools_of,
    r_precision,
)
from lightning_realign.metrics.keyed import KeyedMetric, id_keys
from lightning_realign.motion import Skeleton
from lightning_realign.types import MotionTextBatch

POOL = 32
DIVERSITY_PAIRS = 300
# Names that a receipt has for other files.
RESERVED = ("generator", "reward")


@dataclass(frozen=True)
class Judge:
    """An evaluator that a test run asks.

    Attributes:
        kind: `guo`, as trained by this project; `guo_published`, with the weights of Guo et al.; `tmr`, a reward model.
        path: its checkpoint, or `finest.tar`.
        statistics: folder of the published evaluator's mean.npy and std.npy, see `load_evaluator`.
        word_vectors: folder of the published GloVe files.
    """

    kind: Literal["guo", "guo_published", "tmr"]
    path: str
    statistics: str | None = None
    word_vectors: str | None = None

    def load(self, skeleton: Skeleton, text_cache: str | None, device: torch.device | str) -> Evaluator:
        """The evaluator.

        Raises:
            FeatureSpecError: it reads motions of another skeleton.
        """
        evaluator = load_evaluator(
            self.kind,
            self.path,
            statistics=self.statistics,
            word_vectors=self.word_vectors,
            text_cache=text_cache,
            device=device,
        )
        if evaluator.skeleton != skeleton.name:
            raise FeatureSpecError(
                f"{self.path}: judge of skeleton {evaluator.skeleton!r}, but the motions are of {skeleton.name!r}; "
                "use an evaluator of that skeleton"
            )
        return evaluator


def kinship(evaluator: Evaluator, reward: RewardBundle | None) -> tuple[str, ...]:
    """What a judge shares with the reward that guides: its architecture, its data; empty for a stranger."""
    if reward is None:
        return ()
    shared = {
        "architecture": evaluator.architecture == "tmr",
        "training data": evaluator.trained_on == reward.fingerprint,
    }
    return tuple(name for name, same in shared.items() if same)


class EmbeddingStore(KeyedMetric):
    """Embeddings by sample id, gathered from all ranks and ordered; with a number per sample, such as its caption."""

    def __init__(self, *numbers: str) -> None:
        super().__init__(("embedding",), numbers)

    def update(self, ids: Sequence[str], embedding: Tensor, **numbers: Tensor) -> None:
        """Keep a batch: embeddings [B, W] and numbers [B].

        Raises:
            DataError: an embedding that is not finite.
        """
        self._store(ids, {"embedding": embedding, **numbers})

    def compute(self) -> dict[str, Tensor]:
        """`embedding` [N, W] and the numbers [N], each sample once, in the order of the ids' keys."""
        return dict(self._rows().columns)


class JudgeBoard(nn.Module):
    """What one judge says of every row and replication of a table.

    R-Precision (pools of 32, also with every motion of the same caption as a match), MM-Dist, FID against the real row
    (for that row itself: the floor), Diversity; definitions in `metrics.generation_functional`.

    Args:
        rows: names of the rows.
        replications: draws of the generated rows.
    """

    def __init__(self, rows: Sequence[Row], replications: int) -> None:
        super().__init__()
        self._rows = {row: range(draws_of(row, replications)) for row in rows}
        self.captions = EmbeddingStore("caption")
        self.motions = nn.ModuleDict({f"{row}_{draw}": EmbeddingStore() for row in rows for draw in self._rows[row]})

    def reset(self) -> None:
        """Forget all embeddings."""
        self.captions.reset()
        for store in self.motions.values():
            cast(EmbeddingStore, store).reset()

    @torch.no_grad()
    def update(self, evaluator: Evaluator, row: Row, draw: int, features: Tensor, batch: MotionTextBatch) -> None:
        """Embed a batch of motions [B, T, D], in the data set's own units.

        A motion that strong guidance has blown up cannot be embedded; it is judged as one of zeros.
        """
        if row == next(iter(self._rows)) and draw == 0:
            self.captions.update(batch.ids, evaluator.embed_text(batch.captions), caption=id_keys(batch.captions))
        finite = features.isfinite().all(dim=2).all(dim=1)
        kept = torch.where(finite[:, None, None], features, 0.0)
        embedded = evaluator.embed_motion(kept, batch.lengths)
        finite = embedded.isfinite().all(dim=1).to(kept.device)
        if not finite.all():
            embedded = evaluator.embed_motion(torch.where(finite[:, None, None], kept, 0.0), batch.lengths)
        self._store(row, draw).update(batch.ids, embedded)

    def compute(self, train: Tensor | None = None) -> dict[str, dict[str, Interval]]:
        """Row -> figure -> mean and interval over the draws; a collective call, so every rank makes it.

        Args:
            train: [M, W] embeddings of the training split, in an order of no meaning. The real row's FID is then the
                floor: that of disjoint parts of it, each as large as the measured split, against that split.
        """
        captions = self.captions.compute()
        motions = {
            row: [self._store(row, draw).compute()["embedding"] for draw in self._rows[row]] for row in self._rows
        }
        real = motions["real"][0] if "real" in motions else None
        table: dict[str, dict[str, Interval]] = {}
        for row, draws in motions.items():
            found = [_figures(captions, motion, None if row == "real" else real) for motion in draws]
            table[row] = {name: interval([figures[name] for figures in found]) for name in found[0]}
        floor = [] if train is None or real is None else _floor(train, real)
        if floor:
            table["real"]["FID"] = interval(floor)
        return table

    def _store(self, row: Row, draw: int) -> EmbeddingStore:
        return cast(EmbeddingStore, self.motions[f"{row}_{draw}"])


class JudgePanel(nn.Module):
    """All judges of a test run.

    Args:
        judges: by the names they have in the table.
        rows: names of the rows.
        replications: draws of the generated rows.

    Raises:
        ConfigError: a name that cannot stand in a table or a receipt.
    """

    def __init__(self, judges: Mapping[str, Judge], rows: Sequence[Row], replications: int) -> None:
        super().__init__()
        for name in judges:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in RESERVED:
                raise ConfigError(
                    f"judges has the name {name!r}: use letters, digits, _ and -, and none of {', '.join(RESERVED)}"
                )
        self.judges, self._rows = dict(judges), tuple(rows)
        self._boards = nn.ModuleDict({f"judge_{name}": JudgeBoard(rows, replications) for name in judges})
        self._evaluators: dict[str, Evaluator] = {}
        self._train: dict[str, Tensor] = {}

    def load(self, skeleton: Skeleton, text_cache: str | None, device: torch.device | str) -> None:
        """Load the evaluators. Raises what `Judge.load` raises."""
        self._evaluators = {name: judge.load(skeleton, text_cache, device) for name, judge in self.judges.items()}

    def prepare(self, data: MotionTextDataModule, split: Literal["val", "test"], device: torch.device | str) -> None:
        """Get ready for a split's captions, and embed the training split, where there is one, for the floor of FID."""
        tokens = data.caption_tokens(split) if self._evaluators else {}
        for name, evaluator in self._evaluators.items():
            evaluator.prepare(tokens)
            if "real" in self._rows:
                try:
                    self._train[name] = embed_split(evaluator, data.gallery_dataloader(), device)
                except DataError as error:
                    rank_zero_warn(f"no floor of FID: {error}")

    def reset(self) -> None:
        """Forget all embeddings of the measured split."""
        for name in self.judges:
            self._board(name).reset()

    def show(self, row: Row, draw: int, features: Tensor, batch: MotionTextBatch) -> None:
        """Let every judge see a batch of motions [B, T, D], in the data set's own units."""
        for name, evaluator in self._evaluators.items():
            self._board(name).update(evaluator, row, draw, features, batch)

    def compute(self) -> dict[str, dict[str, Interval]]:
        """Row -> `judge/figure` -> mean and interval; a collective call."""
        table: dict[str, dict[str, Interval]] = {row: {} for row in self._rows}
        for name in self.judges:
            for row, figures in self._board(name).compute(self._train.get(name)).items():
                table[row].update({f"{name}/{figure}": value for figure, value in figures.items()})
        return table

    def kinships(self, reward: RewardBundle | None) -> dict[str, list[str]]:
        """What each judge shares with the reward that guides, see `kinship`."""
        return {name: list(kinship(evaluator, reward)) for name, evaluator in self._evaluators.items()}

    def _board(self, name: str) -> JudgeBoard:
        return cast(JudgeBoard, self._boards[f"judge_{name}"])


@torch.no_grad()
def embed_split(evaluator: Evaluator, batches: Iterable[MotionTextBatch], device: torch.device | str) -> Tensor:
    """Embeddings [M, W] of all motions of a split, on the CPU, in the order of their ids' keys."""
    rows: dict[int, Tensor] = {}
    for batch in batches:
        embedded = evaluator.embed_motion(batch.motion.to(device), batch.lengths.to(device)).cpu()
        rows.update(zip(id_keys(batch.ids).tolist(), embedded, strict=True))
    return torch.stack([rows[key] for key in sorted(rows)])


def _floor(train: Tensor, real: Tensor) -> list[float]:
    """FID of disjoint parts of `train` [M, W], each of N motions, against `real` [N, W]; empty where M < N."""
    if len(real) < 2:
        return []
    target = gaussian_of(real)
    parts = torch.split(train.to(real), len(real))
    return [frechet_distance(gaussian_of(part), target).item() for part in parts if len(part) == len(real)]


def _figures(captions: Mapping[str, Tensor], motion: Tensor, real: Tensor | None) -> dict[str, float]:
    """The figures of motions [N, W] beside their captions; FID where there are real ones to compare with."""
    text, figures = captions["embedding"], {}
    if len(motion) < POOL:
        rank_zero_warn(f"{len(motion)} samples do not fill a pool of {POOL}: no R-Precision")
    else:
        pools = pools_of(len(motion), POOL, seed=0)
        for kind, groups in (("", None), ("_caption", captions["caption"])):
            for k, value in enumerate(r_precision(text, motion, pools, groups).tolist(), start=1):
                figures[f"R@{k}{kind}"] = value
    figures["MM-Dist"] = matching_distance(text, motion).item()
    figures["Diversity"] = diversity(motion, min(DIVERSITY_PAIRS, len(motion))).item()
    if real is not None and len(motion) > 1:
        figures["FID"] = frechet_distance(gaussian_of(motion), gaussian_of(real)).item()
    return figures
