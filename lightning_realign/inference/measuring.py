"""The LightningModule that measures: rows of motions over replications, by figures of their own and by judges."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_realign.callbacks.run_record import run_folder
from lightning_realign.checkpoint import RewardBundle
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.evaluation.record import Record, write_record
from lightning_realign.evaluation.scoring import score
from lightning_realign.evaluation.table import Interval, table_text, write_table
from lightning_realign.hashing import stable_key
from lightning_realign.inference.judging import Judge, JudgePanel
from lightning_realign.inference.measurement import FIGURES, GIVEN, Protocol, Row, draws_of, measured
from lightning_realign.inference.provenance import provenance
from lightning_realign.inference.stores import FigureBoard, placed
from lightning_realign.inference.wandb_tables import log_tables
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.motion import Skeleton
from lightning_realign.types import MotionTextBatch

TestSplit = Literal["val", "test"]


@dataclass(frozen=True)
class MeasuringPlan:
    """How often, and of what, a run measures its rows.

    Attributes:
        replications: R, independent draws of every motion that is made.
        protocol: `fixed`, always a motion's first caption and the same crop; `published`, a random caption and crop of
            every motion in each replication, as published evaluations draw them.
        captions: C, captions that MultiModality is measured on; 0 for none.
        repeats: S, motions of each of those captions.
        seed: of the choice of those captions.
    """

    replications: int
    protocol: Protocol
    captions: int
    repeats: int
    seed: int

    def check(self, owner: str) -> None:
        """Refuse numbers out of range, naming the class whose arguments they are.

        Raises:
            ConfigError: one is.
        """
        limits = (("replications", self.replications, 1), ("multimodality_captions", self.captions, 0))
        for name, value, least in (*limits, ("multimodality_repeats", self.repeats, 1)):
            if value < least:
                raise ConfigError(f"{owner}.{name} is {value}; set it to {least} or more")
        if self.protocol not in get_args(Protocol):
            raise ConfigError(f"{owner}.protocol is {self.protocol!r}; choose {' or '.join(get_args(Protocol))}")

    @property
    def shared(self) -> int:
        """How many of a caption's S repeats are the replications' own motions; the others are made besides."""
        return min(self.replications, self.repeats - 1) if self.protocol == "fixed" else 0

    def repeated(self, ids: list[str]) -> set[str]:
        """The C of `ids` whose captions MultiModality is measured on: a choice that depends on nothing else."""
        return set(sorted(ids, key=lambda sample: stable_key(f"multimodality:{self.seed}:{sample}"))[: self.captions])


class MeasuringModule(L.LightningModule):
    """Base of the modules whose `validate` and `test` measure rows of motions on a split.

    At the end the figures are logged (to W&B as a table too) and written beside the run's metrics: `table-test.json`,
    the receipt, and `samples-test.safetensors`, the record from which all of them can be computed again.

    Args:
        rows: of the table.
        plan: what is measured.
        judges: evaluators to ask, by the names they have in the table.
    """

    def __init__(self, rows: tuple[Row, ...], plan: MeasuringPlan, judges: Mapping[str, Judge]) -> None:
        super().__init__()
        plan.check(type(self).__name__)
        self.rows, self.plan = rows, plan
        self.figures = FigureBoard(rows, FIGURES)
        self.judges = JudgePanel(judges, rows)
        self._repeated: set[str] = set()

    @abstractmethod
    def make(self, row: Row, batch: MotionTextBatch, replication: int) -> tuple[Tensor, int]:
        """Motions [B, T, D] of a row in the data set's own units, and the evaluations of the network per motion."""

    @abstractmethod
    def reward(self, features: Tensor, batch: MotionTextBatch) -> Tensor | None:
        """Clean rewards [B] of motions [B, T, D]; None without a reward model."""

    @abstractmethod
    def motion_skeleton(self) -> Skeleton:
        """The skeleton of the motions."""

    @abstractmethod
    def files(self) -> dict[str, str | None]:
        """Checkpoints that the run uses besides its judges', by role."""

    @abstractmethod
    def guide(self) -> RewardBundle | None:
        """The reward that judges are compared with."""

    @property
    def data(self) -> MotionTextDataModule:
        """The trainer's data module.

        Raises:
            ConfigError: it has none of this project.
        """
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, MotionTextDataModule):
            raise ConfigError(
                f"{type(self).__name__} needs a data module of motions and texts, not {type(data).__name__}: set "
                "`data` to e.g. lightning_realign.data.HumanML3DDataModule"
            )
        return data

    def prepare_judges(self, stage: str) -> None:
        """Let the judges get ready for the split of a stage, and choose the captions of MultiModality."""
        split = split_of(stage)
        self.judges.prepare(self.data, split, self.trainer.strategy.root_device)
        self._repeated = self.plan.repeated(self.data.ids(split)) if self.judges.judges else set()

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Measure the rows on one batch of the validation split."""
        self._measure(batch, "val")

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Measure the rows on one batch of the test split."""
        self._measure(batch, "test")

    def on_validation_epoch_start(self) -> None:
        """Forget earlier figures."""
        self._reset()

    def on_test_epoch_start(self) -> None:
        """Forget earlier figures."""
        self._reset()

    def on_validation_epoch_end(self) -> None:
        """Gather, log and write the table."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Gather, log and write the table."""
        self._report("test")

    def _measure(self, batch: MotionTextBatch, split: TestSplit) -> None:
        fixed = self.plan.protocol == "fixed"
        for draw in range(self.plan.replications):
            drawn = batch if fixed else self.data.drawn(split, batch.ids, draw).to(self.device)
            if draw == 0 or not fixed:
                self.judges.read(draw, drawn)
            for row in self.rows:
                if draw < draws_of(row, self.plan.protocol, self.plan.replications):
                    self.judges.show(row, draw, self._measured(row, draw, drawn), drawn)
        places = [place for place, sample in enumerate(batch.ids) if sample in self._repeated]
        if places:
            self._repeat(batch.part(places))

    def _measured(self, row: Row, draw: int, batch: MotionTextBatch) -> Tensor:
        return measured(
            self.figures,
            row,
            draw,
            batch,
            self.motion_skeleton(),
            lambda: self.make(row, batch, draw),
            lambda features: self.reward(features, batch),
        )

    def _repeat(self, batch: MotionTextBatch) -> None:
        """Make the motions of the captions of MultiModality that no replication makes."""
        for row in (row for row in self.rows if row not in GIVEN):
            for repeat in range(self.plan.shared, self.plan.repeats):
                self.judges.show(row, repeat, self.make(row, batch, repeat)[0], batch, repeat=True)

    def _reset(self) -> None:
        self.figures.reset()
        self.judges.reset()

    def _report(self, split: TestSplit) -> None:
        record = self._record(split)
        table = score(record)
        for row, figures in table.items():
            for figure, value in figures.items():
                self._log(f"{split}/{row}/{figure}", value)
        folder = run_folder(self.trainer)  # a collective call
        if self.trainer.is_global_zero:
            path = folder / f"table-{split}.json"
            write_record(folder / f"samples-{split}.safetensors", record)
            write_table(path, table, record.settings)
            log_tables(self.trainer.loggers, f"{split}/figures", table)
            rank_zero_info("%s\n%s", path, table_text(table))

    def _record(self, split: TestSplit) -> Record:
        """What all ranks have measured; a collective call."""
        found = self.figures.compute()
        seen = {key for figures in found.values() for key in figures["seconds"].keys.tolist()}
        listed = self.data.ids(split)
        keyed = sorted(zip(id_keys(listed).tolist(), listed, strict=True))
        ids = [sample for key, sample in keyed if key in seen]
        figures = {
            row: {name: values[..., 0] for name, rows in stores.items() if (values := placed(rows, ids)) is not None}
            for row, stores in found.items()
        }
        draws = [None] if self.plan.protocol == "fixed" else list(range(self.plan.replications))
        return Record(
            tuple(ids),
            tuple(tuple(sample.caption for sample in self.data.samples(split, ids, draw)) for draw in draws),
            tuple(self.data.labels.get(sample) for sample in ids),
            self.plan.replications,
            figures,
            self.judges.compute(ids, self.plan.shared),
            self._settings(split),
        )

    def _log(self, name: str, value: Interval) -> None:
        # Every rank has the same figure, and the average over ranks that Lightning takes leaves it.
        self.log(name, value.mean, sync_dist=True)
        if value.half_width is not None:
            self.log(f"{name}_ci95", value.half_width, sync_dist=True)

    def _settings(self, split: TestSplit) -> dict[str, Any]:
        own = {name: value for name, value in self.hparams.items() if name != "rows"}
        files = self.files() | {name: judge.path for name, judge in self.judges.judges.items()}
        return {
            "split": split,
            "rows": list(self.rows),
            **own,
            "judge_fingerprints": self.judges.fingerprints(),
            "shared_with_reward": self.judges.kinships(self.guide()),
            "provenance": provenance(self.data, files),
        }


def split_of(stage: str) -> TestSplit:
    """The split that a stage measures."""
    return "test" if stage == TrainerFn.TESTING else "val"
