"""Figures of a test run by judges: evaluators that embed motions and captions in a space of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lightning_realign.checkpoints.folder import checkpoint_sha256
from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError, DataError, FeatureSpecError
from lightning_realign.evaluation.judges import Evaluator, load_evaluator
from lightning_realign.evaluation.measurement import GIVEN
from lightning_realign.evaluation.record import Embeddings
from lightning_realign.evaluation.stores import SampleStore, placed
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.motion import Skeleton, skeleton_label, skeleton_reference
from lightning_realign.settings.sources import JudgeSource
from lightning_realign.types import MotionTextBatch

# Names that a receipt has for other files.
RESERVED = ("generator", "reward")


def load_judge(
    source: JudgeSource, skeleton: Skeleton, text_cache: str | None, device: torch.device | str
) -> Evaluator:
    """The evaluator of a judge.

    Raises:
        FeatureSpecError: it reads motions of another skeleton.
    """
    evaluator = load_evaluator(
        source.kind,
        source.path,
        statistics=source.statistics,
        word_vectors=source.word_vectors,
        text_cache=text_cache,
        device=device,
    )
    if evaluator.skeleton != skeleton_reference(skeleton):
        raise FeatureSpecError(
            f"{source.path}: judge of skeleton {skeleton_label(evaluator.skeleton)!r}, but the motions are of "
            f"{skeleton.name!r}; use an evaluator of that skeleton"
        )
    return evaluator


def kinship(evaluator: Evaluator, reward: RewardBundle) -> tuple[str, ...]:
    """What a judge shares with the reward that guides: its architecture, its data; empty for a stranger."""
    shared = {
        "architecture": evaluator.architecture == "tmr",
        # Of published weights the data's fingerprint is unknown, and empty.
        "training data": evaluator.trained_on == reward.fingerprint != "",
    }
    return tuple(name for name, same in shared.items() if same)


class JudgeBoard(nn.Module):
    """One judge's embeddings of a run's captions, of every row's motions, and of the repeats for MultiModality.

    Args:
        rows: names of the rows.
    """

    def __init__(self, rows: Sequence[str]) -> None:
        super().__init__()
        self._rows = tuple(rows)
        self.captions = SampleStore()
        self.motions = nn.ModuleDict({f"row_{row}": SampleStore() for row in rows})
        self.repeats = nn.ModuleDict({f"row_{row}": SampleStore() for row in rows})

    def reset(self) -> None:
        """Forget all embeddings."""
        for store in (self.captions, *self.motions.values(), *self.repeats.values()):
            cast(SampleStore, store).reset()

    def compute(
        self, ids: Sequence[str], train: Tensor | None, repeated: Sequence[str], shared: int
    ) -> Embeddings | None:
        """All embeddings, a collective call, so every rank makes it; None where a row was not seen.

        Args:
            ids: the samples, in the order to have them in.
            train: embeddings [M, W] of the training split.
            repeated: the samples whose captions MultiModality is measured on.
            shared: how many draws of a row are repeats for MultiModality too.
        """
        text = placed(self.captions.rows(), ids)
        motions = {row: placed(cast(SampleStore, self.motions[f"row_{row}"]).rows(), ids) for row in self._rows}
        extra = {row: cast(SampleStore, self.repeats[f"row_{row}"]).rows() for row in self._rows}
        found = {row: motion.float() for row, motion in motions.items() if motion is not None}
        if text is None or len(found) < len(self._rows):
            return None
        repeats: dict[str, Tensor] = {}
        if repeated:
            places = [ids.index(sample) for sample in repeated]
            for row in (row for row in self._rows if row not in GIVEN):
                more = placed(extra[row], repeated)
                drawn = found[row][:shared, places]
                # Captions first: [C, S, W].
                repeats[row] = (drawn if more is None else torch.cat((drawn, more.float()))).transpose(0, 1)
        return Embeddings(text.float(), found, repeats, train)


class JudgePanel(nn.Module):
    """All judges of a test run.

    Args:
        judges: by the names they have in the table.
        rows: names of the rows.

    Raises:
        ConfigError: a name that cannot stand in a table or a receipt.
    """

    def __init__(self, judges: Mapping[str, JudgeSource], rows: Sequence[str]) -> None:
        super().__init__()
        for name in judges:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in RESERVED:
                raise ConfigError(
                    f"judges has the name {name!r}: use letters, digits, _ and -, and none of {', '.join(RESERVED)}"
                )
        self.judges, self._rows = dict(judges), tuple(rows)
        self._boards = nn.ModuleDict({f"judge_{name}": JudgeBoard(rows) for name in judges})
        self._evaluators: dict[str, Evaluator] = {}
        self._train: dict[str, Tensor] = {}

    def load(self, skeleton: Skeleton, text_cache: str | None, device: torch.device | str) -> None:
        """Load the evaluators. Raises what `load_judge` raises."""
        self._evaluators = {
            name: load_judge(judge, skeleton, text_cache, device) for name, judge in self.judges.items()
        }

    def prepare(self, data: MotionTextDataModule, split: Literal["val", "test"], device: torch.device | str) -> None:
        """Get ready for a split's captions, and embed the training split, where there is one, for the floor of FID."""
        tokens = data.caption_tokens(split) if self._evaluators else {}
        gallery = _gallery(data) if self._evaluators and "real" in self._rows else None
        for name, evaluator in self._evaluators.items():
            evaluator.prepare(tokens)
            if gallery is not None:
                self._train[name] = embed_split(evaluator, gallery, device)

    def reset(self) -> None:
        """Forget all embeddings of the measured split."""
        for name in self.judges:
            self._board(name).reset()

    @torch.no_grad()
    def read(self, draw: int, batch: MotionTextBatch) -> None:
        """Let every judge read the captions of a batch."""
        for name, evaluator in self._evaluators.items():
            self._board(name).captions.update(evaluator.embed_text(batch.captions), batch.ids, draw)

    def show(self, row: str, draw: int, features: Tensor, batch: MotionTextBatch, repeat: bool = False) -> None:
        """Let every judge see a batch of motions [B, T, D], in the data set's own units.

        Args:
            row: of the table.
            draw: of the row.
            features: the motions.
            batch: their lengths and ids.
            repeat: keep them for MultiModality only.
        """
        for name, evaluator in self._evaluators.items():
            stores = self._board(name).repeats if repeat else self._board(name).motions
            embedded = embed_finite(evaluator, features, batch.lengths)
            cast(SampleStore, stores[f"row_{row}"]).update(embedded, batch.ids, draw)

    def compute(self, ids: Sequence[str], repeated: Sequence[str], shared: int) -> dict[str, Embeddings]:
        """Every judge's embeddings, see `JudgeBoard.compute`; a collective call."""
        found = {name: self._board(name).compute(ids, self._train.get(name), repeated, shared) for name in self.judges}
        return {name: embeddings for name, embeddings in found.items() if embeddings is not None}

    def kinships(self, rewards: Mapping[str, RewardBundle]) -> dict[str, list[str]]:
        """What each judge shares with rewards, given by checkpoint, see `kinship`; `weights` if it is one of them."""
        digests = {checkpoint_sha256(Path(path)) for path in rewards}
        shared: dict[str, list[str]] = {}
        for name, evaluator in self._evaluators.items():
            same = bool(digests) and checkpoint_sha256(Path(self.judges[name].path)) in digests
            found = [one for reward in rewards.values() for one in kinship(evaluator, reward)]
            shared[name] = list(dict.fromkeys(["weights"] * same + found))
        return shared

    def fingerprints(self) -> dict[str, str]:
        """Of each judge's weights, statistics and vocabulary."""
        return {name: evaluator.fingerprint for name, evaluator in self._evaluators.items()}

    def _board(self, name: str) -> JudgeBoard:
        return cast(JudgeBoard, self._boards[f"judge_{name}"])


@torch.no_grad()
def embed_finite(evaluator: Evaluator, features: Tensor, lengths: Tensor) -> Tensor:
    """Embeddings [B, W] of motions [B, T, D].

    A motion that strong guidance has blown up cannot be embedded; it is judged as one of zeros.
    """
    finite = features.isfinite().all(dim=2).all(dim=1)
    kept = torch.where(finite[:, None, None], features, 0.0)
    embedded = evaluator.embed_motion(kept, lengths)
    finite = embedded.isfinite().all(dim=1).to(kept.device)
    if finite.all():
        return embedded
    return evaluator.embed_motion(torch.where(finite[:, None, None], kept, 0.0), lengths)


@torch.no_grad()
def embed_split(evaluator: Evaluator, batches: Iterable[MotionTextBatch], device: torch.device | str) -> Tensor:
    """Embeddings [M, W] of all motions of a split, on the CPU, in the order of their ids' keys."""
    rows: dict[int, Tensor] = {}
    for batch in batches:
        embedded = evaluator.embed_motion(batch.motion.to(device), batch.lengths.to(device)).cpu()
        rows.update(zip(id_keys(batch.ids).tolist(), embedded, strict=True))
    return torch.stack([rows[key] for key in sorted(rows)]).float()


def _gallery(data: MotionTextDataModule) -> Iterable[MotionTextBatch] | None:
    """The training split; None, with a warning, where the data set has none."""
    try:
        return data.gallery_dataloader()
    except DataError as error:
        rank_zero_warn(f"no floor of FID: {error}")
        return None
