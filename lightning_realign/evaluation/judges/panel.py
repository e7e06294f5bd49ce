"""All judges of a test run: they embed its captions and motions, each in a space of its own."""

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
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.judges import Evaluator, load_evaluator
from lightning_realign.evaluation.judges.shared_with_reward import shared_with_reward
from lightning_realign.evaluation.method import GIVEN
from lightning_realign.evaluation.rank_gathering import SampleStore, placed
from lightning_realign.evaluation.record import Embeddings
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.motion import Skeleton, require_same_skeleton
from lightning_realign.settings.measuring import SystemName
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
    remedy = "use an evaluator of that skeleton"
    require_same_skeleton(f"{source.path}: judge", evaluator.skeleton, "the data set", skeleton, remedy)
    return evaluator


class JudgeBoard(nn.Module):
    """One judge's embeddings of a run's captions, of every system's motions, and of the repeats for MultiModality.

    Args:
        systems: names of the systems.
    """

    def __init__(self, systems: Sequence[str]) -> None:
        super().__init__()
        self._systems = tuple(systems)
        self.captions = SampleStore()
        # The prefix keeps names such as `keys` apart from the attributes of ModuleDict.
        self.motions = nn.ModuleDict({f"system_{system}": SampleStore() for system in systems})
        self.repeats = nn.ModuleDict({f"system_{system}": SampleStore() for system in systems})

    def reset(self) -> None:
        """Forget all embeddings."""
        for store in (self.captions, *self.motions.values(), *self.repeats.values()):
            cast(SampleStore, store).reset()

    def store(self, system: str, repeat: bool = False) -> SampleStore:
        """Where the embeddings of a system's motions, or those of its repeats, are kept."""
        return cast(SampleStore, (self.repeats if repeat else self.motions)[f"system_{system}"])

    def compute(
        self, ids: Sequence[str], train: Tensor | None, repeated: Sequence[str], shared: int
    ) -> Embeddings | None:
        """All embeddings; None if a system was not seen. A collective call, so every rank makes it.

        Args:
            ids: the samples, in the order of the result.
            train: embeddings [M, W] of the training split.
            repeated: the samples whose captions MultiModality is measured on.
            shared: how many replications of a system are repeats for MultiModality too.
        """
        text = placed(self.captions.gathered(), ids)
        motions = {system: placed(self.store(system).gathered(), ids) for system in self._systems}
        extra = {system: self.store(system, repeat=True).gathered() for system in self._systems}
        found = {system: motion.float() for system, motion in motions.items() if motion is not None}
        if text is None or len(found) < len(self._systems):
            return None
        repeats: dict[str, Tensor] = {}
        if repeated:
            places = [ids.index(sample) for sample in repeated]
            for system in (system for system in self._systems if system not in GIVEN):
                more = placed(extra[system], repeated)
                replicated = found[system][:shared, places]
                # Captions first: [C, S, W].
                repeats[system] = (replicated if more is None else torch.cat((replicated, more.float()))).transpose(
                    0, 1
                )
        return Embeddings(text.float(), found, repeats, train)


class JudgePanel(nn.Module):
    """All judges of a test run.

    Args:
        judges: by the names they have in the table.
        systems: names of the systems.

    Raises:
        ConfigError: a name that cannot stand in a table or a receipt.
    """

    def __init__(self, judges: Mapping[str, JudgeSource], systems: Sequence[str]) -> None:
        super().__init__()
        for name in judges:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in RESERVED:
                raise ConfigError(
                    f"judges has the name {name!r}: use letters, digits, _ and -, and none of {', '.join(RESERVED)}"
                )
        self.judges, self._systems = dict(judges), tuple(systems)
        self._boards = nn.ModuleDict({f"judge_{name}": JudgeBoard(systems) for name in judges})
        self._evaluators: dict[str, Evaluator] = {}
        self._train: dict[str, Tensor] = {}

    def load(self, skeleton: Skeleton, text_cache: str | None, device: torch.device | str) -> None:
        """Load the evaluators. Raises what `load_judge` raises."""
        self._evaluators = {
            name: load_judge(judge, skeleton, text_cache, device) for name, judge in self.judges.items()
        }

    def prepare(self, data: MotionTextDataModule, split: Literal["val", "test"], device: torch.device | str) -> None:
        """Read a split's captions, and embed the training split, if there is one, for the floor of FID."""
        tokens = data.caption_tokens(split) if self._evaluators else {}
        gallery = _gallery(data) if self._evaluators and "real" in self._systems else None
        for name, evaluator in self._evaluators.items():
            evaluator.prepare(tokens)
            if gallery is not None:
                self._train[name] = embed_split(evaluator, gallery, device)

    def reset(self) -> None:
        """Forget all embeddings of the measured split."""
        for name in self.judges:
            self._board(name).reset()

    @torch.no_grad()
    def embed_captions(self, batch: MotionTextBatch, replication: int) -> None:
        """Let every judge embed the captions of a batch."""
        for name, evaluator in self._evaluators.items():
            self._board(name).captions.update(evaluator.embed_text(batch.captions), batch.ids, replication)

    def embed_motions(
        self, system: SystemName, batch: MotionTextBatch, replication: int, features: Tensor, repeat: bool = False
    ) -> None:
        """Let every judge embed the motions that a system made for a batch.

        Args:
            system: of the table.
            batch: lengths and ids.
            replication: of the system, or the number of the repeat.
            features: the motions [B, T, D], in the data set's own units.
            repeat: keep the embeddings for MultiModality only.
        """
        for name, evaluator in self._evaluators.items():
            embedded = embed_finite(evaluator, features, batch.lengths)
            self._board(name).store(system, repeat).update(embedded, batch.ids, replication)

    def compute(self, ids: Sequence[str], repeated: Sequence[str], shared: int) -> dict[str, Embeddings]:
        """Every judge's embeddings, see `JudgeBoard.compute`; a collective call."""
        found = {name: self._board(name).compute(ids, self._train.get(name), repeated, shared) for name in self.judges}
        return {name: embeddings for name, embeddings in found.items() if embeddings is not None}

    def shared_with(self, rewards: Mapping[str, RewardBundle]) -> dict[str, list[str]]:
        """What each judge shares with rewards, see `shared_with_reward`; `weights` if it is one of them."""
        digests = {checkpoint_sha256(Path(path)) for path in rewards}
        shared: dict[str, list[str]] = {}
        for name, evaluator in self._evaluators.items():
            same = bool(digests) and checkpoint_sha256(Path(self.judges[name].path)) in digests
            found = [one for reward in rewards.values() for one in shared_with_reward(evaluator, reward)]
            shared[name] = list(dict.fromkeys(["weights"] * same + found))
        return shared

    def fingerprints(self) -> dict[str, str]:
        """Each judge's fingerprint of weights, statistics and vocabulary."""
        return {name: evaluator.fingerprint for name, evaluator in self._evaluators.items()}

    def _board(self, name: str) -> JudgeBoard:
        return cast(JudgeBoard, self._boards[f"judge_{name}"])


@torch.no_grad()
def embed_finite(evaluator: Evaluator, features: Tensor, lengths: Tensor) -> Tensor:
    """Embeddings [B, W] of motions [B, T, D].

    A motion with features or an embedding that are NaN or infinite is judged as one of zeros.
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
    found: dict[int, Tensor] = {}
    for batch in batches:
        embedded = evaluator.embed_motion(batch.motion.to(device), batch.lengths.to(device)).cpu()
        found.update(zip(id_keys(batch.ids).tolist(), embedded, strict=True))
    return torch.stack([found[key] for key in sorted(found)]).float()


def _gallery(data: MotionTextDataModule) -> Iterable[MotionTextBatch] | None:
    """The training split; None, with a warning, if the data set has none."""
    try:
        return data.gallery_dataloader()
    except DataError as error:
        rank_zero_warn(f"no floor of FID: {error}")
        return None
