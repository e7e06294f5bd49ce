"""The LightningModule that tests a retrieval system: one system, one data set, all protocols, one receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import lightning as L
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from lightning_realign.data.datamodule import MotionTextDataModule, data_of
from lightning_realign.data.formats import read_split
from lightning_realign.errors import CheckpointError, ConfigError, DataError
from lightning_realign.evaluation.judges.embeddings import EmbeddingSource, Kind, load_source
from lightning_realign.evaluation.provenance import provenance
from lightning_realign.files.ranks import fill_first
from lightning_realign.files.run_folder import run_folder
from lightning_realign.metrics.functional.retrieval import RECALLS
from lightning_realign.metrics.protocols import (
    POOL,
    PROTOCOLS,
    Protocol,
    RetrievalProtocols,
    Similarity,
    needs_sentences,
)
from lightning_realign.report.intervals import interval
from lightning_realign.report.receipts import Receipt
from lightning_realign.report.table import format_table
from lightning_realign.settings.sources import JudgeSource
from lightning_realign.text import CachedTextEncoder
from lightning_realign.types import MotionTextBatch

DIRECTIONS = {"t2m": "text to motion", "m2t": "motion to text"}
METRICS = (*(f"R@{k}" for k in RECALLS), "MedR")
Name = Literal["val", "test"]
# Lightning itself refuses the other stages of a module that has steps for these alone.
_SPLITS: dict[str, Name] = {"validate": "val", "test": "test"}


class RetrievalSystem(L.LightningModule):
    """Text-to-motion and motion-to-text retrieval by one system, under TMR's four protocols and in ReAlign's pools.

    `validate` and `test` embed every pair of the split once (first caption, fixed crop), and log R@1, 2, 3, 5, 10 in
    percent and the median rank of both directions: `test/normal/t2m_R@1` and so on. They are written, with all
    settings and checksums, to `retrieval-val.json` or `retrieval-test.json` beside the run's metrics.

    The protocols are those of `RetrievalProtocols`. TMR's (`normal`, `threshold`, `nsim`, `batches`) have every listed
    motion once; `pool32` also has the parts of motions that captions with times describe, as the published loaders of
    text-to-motion do. A protocol that a split is too small for is left out with a warning.

    Systems rank by what they are trained with: those of Guo et al.'s architecture by Euclidean distance, reward models
    (ReAlign, TMR, TEMOS) by the cosine of the latents' means, embeddings from elsewhere by `metric`.

    Args:
        system: its name in tables.
        kind: `tmr` for any reward model (ReAlign, TMR, TEMOS) of this project, at noise level 0; `guo` for an evaluator
            of Guo et al.'s architecture; `realign_published`, `tmr_published` and `guo_published` for their authors'
            own weights; `embeddings` for a file that was made elsewhere.
        path: its checkpoint, `finest.tar`, TMR's folder, or a `.npz` file with `ids` [N], `text` [N, W] and `motion`
            [N, W].
        metric: `cosine` or `euclidean`, for kind `embeddings` and only there.
        statistics: folder of the statistics of published weights, see `load_evaluator`.
        word_vectors: for `guo_published`, the folder of the published GloVe files.
        protocols: those to measure; null for all.
        nsim: the subset of dissimilar captions: a file of ids, one a line (TMR's `nsim_test.txt`), or how many to
            choose.
        threshold: captions with a similarity above it, scaled to [0, 1], count as the same.
        sentence_encoder: what compares captions for `threshold`, and for `nsim` without a file; TMR uses
            all-mpnet-base-v2, which may be given as a folder.
        text_cache: folder of cached text features; null for the usual one.

    Raises:
        ConfigError: a setting that is out of range or contradicts another one.
        DataError: the file of ids cannot be used.
    """

    def __init__(
        self,
        system: str,
        kind: Kind,
        path: str,
        metric: Similarity | None = None,
        statistics: str | None = None,
        word_vectors: str | None = None,
        protocols: list[Protocol] | None = None,
        nsim: int | str = 100,
        threshold: float = 0.95,
        sentence_encoder: str = "all-MiniLM-L6-v2",
        text_cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.system, self.path, self.metric, self.threshold = system, path, metric, threshold
        self.protocols: tuple[Protocol, ...] = PROTOCOLS if protocols is None else tuple(dict.fromkeys(protocols))
        self.judge: JudgeSource | None = None
        _check_settings(system, kind, self.protocols, nsim, threshold)
        if kind != "embeddings":
            self.judge = JudgeSource(kind, path, statistics, word_vectors)
        for option, value in (("statistics", statistics), ("word_vectors", word_vectors)):
            if self.judge is None and value is not None:
                raise ConfigError(f"RetrievalSystem.{option} is {value}, but kind embeddings needs none; leave it out")
        self.nsim: int | tuple[str, ...] = nsim if isinstance(nsim, int) else tuple(read_split(Path(nsim)))
        self.text_cache = text_cache
        self.sentences: CachedTextEncoder | None = None
        if needs_sentences(self.protocols, self.nsim):
            self.sentences = CachedTextEncoder(sentence_encoder, text_cache)
        self.metrics = nn.ModuleList()
        self.left_out: dict[Protocol, str] = {}
        self._source: EmbeddingSource | None = None

    def setup(self, stage: str) -> None:
        """Load the system, encode the stage's captions, and see which protocols the split is large enough for.

        Raises:
            ConfigError: the trainer has no data module of this project, or no protocol is left.
            DataError: samples that a protocol or a file needs are missing.
            FeatureSpecError: the system is for motions of another skeleton.
        """
        data, split = data_of(self), _SPLITS[stage]
        device = self.trainer.strategy.root_device
        self._source = load_source(self.judge, self.path, self.metric, data.skeleton, self.text_cache, device)
        fill_first(self.trainer, lambda: self._prepare(data, split), "captions of retrieval")
        self.metrics = self._metrics(data, split)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse `--ckpt_path`.

        Raises:
            CheckpointError: always; this module has no weights of its own.
        """
        raise CheckpointError(
            "RetrievalSystem has no checkpoint of its own: leave --ckpt_path out, and name the system's in "
            "model.init_args.path"
        )

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Embed a batch of the validation split."""
        self._embed(batch)

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Embed a batch of the test split."""
        self._embed(batch)

    def on_validation_epoch_end(self) -> None:
        """Rank, log and write the receipt."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Rank, log and write the receipt."""
        self._report("test")

    def _prepare(self, data: MotionTextDataModule, split: Name) -> None:
        tokens = data.caption_tokens(split)
        self.source.prepare(data.ids(split), tokens)
        if self.sentences is not None:
            self.sentences.prepare(tokens)

    @property
    def source(self) -> EmbeddingSource:
        """What embeds.

        Raises:
            ConfigError: no run has begun.
        """
        if self._source is None:
            raise ConfigError("RetrievalSystem has loaded nothing yet; run it with a Trainer (validate or test)")
        return self._source

    def _metrics(self, data: MotionTextDataModule, split: Name) -> nn.ModuleList:
        """One metric for TMR's protocols, on the motions as listed, and one for the pools, on all samples."""
        every = data.ids(split)
        listed = set(read_split(data.root / f"{split}.txt"))
        whole = [sample for sample in every if sample in listed]
        self._check_subset(whole, split)
        self.left_out = self._too_small(len(whole), len(every))
        for protocol, reason in self.left_out.items():
            rank_zero_warn(f"protocol {protocol} is left out: {reason}")
        kept = [protocol for protocol in self.protocols if protocol not in self.left_out]
        if not kept:
            raise ConfigError(
                f"{data.root}: split {split!r} is too small for {', '.join(self.protocols)} ({len(every)} samples); "
                "choose other protocols or a larger split"
            )
        groups = {True: whole, False: every}
        return nn.ModuleList(
            RetrievalProtocols(chosen, self.nsim, self.threshold, ids=groups[tmr], similarity=self.source.similarity)
            for tmr in groups
            if (chosen := [protocol for protocol in kept if (protocol != "pool32") is tmr])
        )

    def _check_subset(self, ids: Sequence[str], split: Name) -> None:
        if "nsim" not in self.protocols or isinstance(self.nsim, int):
            return
        missing = sorted(set(self.nsim) - set(ids))
        if missing:
            raise DataError(
                f"{self.hparams['nsim']}: {len(missing)} of {len(self.nsim)} ids are not among the {len(ids)} motions "
                f"of split {split!r}, {missing[0]!r} first; give the list of this data set and split"
            )

    def _too_small(self, listed: int, every: int) -> dict[Protocol, str]:
        """The protocols that need more samples than there are, and why."""
        subset = self.nsim if isinstance(self.nsim, int) else len(self.nsim)
        needs: dict[Protocol, tuple[int, int]] = {
            "normal": (listed, 2),
            "threshold": (listed, 2),
            "nsim": (listed, subset),
            "batches": (listed, POOL),
            "pool32": (every, POOL),
        }
        return {
            protocol: f"{size} samples, it needs {least}"
            for protocol, (size, least) in needs.items()
            if protocol in self.protocols and size < least
        }

    def _embed(self, batch: MotionTextBatch) -> None:
        motion, text = self.source.embed(batch)
        sentences = None if self.sentences is None else self.sentences(batch.captions).sentence
        for metric in self._protocol_metrics():
            metric.update(motion, text, sentences, batch.ids)

    def _protocol_metrics(self) -> list[RetrievalProtocols]:
        return [metric for metric in self.metrics if isinstance(metric, RetrievalProtocols)]

    def _report(self, split: Name) -> None:
        found: dict[str, Tensor] = {}
        for metric in self._protocol_metrics():
            found.update(metric.compute())
            metric.reset()
        # Every rank has the same values: the metrics gather their own states.
        self.log_dict({f"{split}/{name}": value.float() for name, value in found.items()})
        path = run_folder(self.trainer) / f"retrieval-{split}.json"  # a collective call
        if self.trainer.is_global_zero:
            values = {name: value.item() for name, value in found.items()}
            systems = {self.system: {name: interval([value]) for name, value in values.items()}}
            Receipt(systems, self._settings(split)).write(path)
            rank_zero_info("%s: %s\n%s", path, self.system, _text(values))

    def _settings(self, split: Name) -> Mapping[str, Any]:
        data = data_of(self)
        measured = [protocol for protocol in self.protocols if protocol not in self.left_out]
        return {
            "split": split,
            **dict(self.hparams),
            "protocols": measured,
            "left_out": dict(self.left_out),
            "metric": self.source.similarity,
            "samples": len(data.ids(split)),
            "provenance": provenance(data, split, {"system": self.path, "nsim": self._listed()}),
        }

    def _listed(self) -> str | None:
        """The file of the subset's ids; None where it is chosen."""
        return None if isinstance(self.nsim, int) else str(self.hparams["nsim"])


def _check_settings(system: str, kind: Kind, protocols: Sequence[Protocol], nsim: int | str, threshold: float) -> None:
    if not system.strip():
        raise ConfigError("RetrievalSystem.system is empty; give the name that the system has in tables")
    if kind not in get_args(Kind):
        raise ConfigError(f"RetrievalSystem.kind is {kind!r}; choose one of {', '.join(get_args(Kind))}")
    if not protocols or not set(protocols) <= set(PROTOCOLS):
        raise ConfigError(f"RetrievalSystem.protocols is [{', '.join(protocols)}]; choose from {', '.join(PROTOCOLS)}")
    if isinstance(nsim, int) and nsim < 2:
        raise ConfigError(f"RetrievalSystem.nsim is {nsim}; choose 2 or more, or give a file of ids")
    if not 0 <= threshold <= 1:
        raise ConfigError(f"RetrievalSystem.threshold is {threshold}; set it between 0 and 1")


def _text(values: Mapping[str, float]) -> str:
    """The metrics as aligned text, one line per protocol and direction."""
    protocols = list(dict.fromkeys(name.split("/")[0] for name in values))
    lines = [
        [protocol, words, *(f"{values[f'{protocol}/{direction}_{metric}']:.2f}" for metric in METRICS)]
        for protocol in protocols
        for direction, words in DIRECTIONS.items()
    ]
    return format_table(["protocol", "direction", *METRICS], lines)
