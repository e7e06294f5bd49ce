"""The LightningModule that measures: rows of motions over replications, by figures of their own and by judges."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import Any, Literal

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.data.datamodule import MotionTextDataModule, data_of
from lightning_realign.data.tasks import repeated
from lightning_realign.errors import CheckpointError, DataError
from lightning_realign.evaluation.judging import JudgePanel
from lightning_realign.evaluation.measurement import FIGURES, GIVEN, draws_of, measured
from lightning_realign.evaluation.probes import Probe, described, probe_figures
from lightning_realign.evaluation.provenance import provenance
from lightning_realign.evaluation.record import Record, write_record
from lightning_realign.evaluation.scoring import DIVERSITY_PAIRS, POOL, left_out, score
from lightning_realign.evaluation.stores import FigureBoard, SampleStore, placed
from lightning_realign.evaluation.table import Interval, table_text, write_table
from lightning_realign.evaluation.wandb_tables import log_tables
from lightning_realign.files.run_folder import run_folder
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.motion import Skeleton
from lightning_realign.settings.measuring import MeasuringConfig, SystemName
from lightning_realign.settings.sources import JudgeSource
from lightning_realign.types import MotionTextBatch

TestSplit = Literal["val", "test"]


class MeasuringModule(L.LightningModule):
    """Base of the modules whose `validate` and `test` measure rows of motions on a split.

    At the end the figures are logged (to W&B as a table too) and written beside the run's metrics: `table-test.json`,
    the receipt, and `samples-test.safetensors`, the record from which all of them can be computed again.

    Args:
        systems: what is measured, in the table's order.
        measuring: how often, and of what.
        judges: evaluators to ask, by the names they have in the table.
        probes: figures besides our own.

    Raises:
        ConfigError: a judge or metric of a name that cannot stand in a table.
    """

    # Whether a caption's replications are among its repeats for MultiModality, where the protocol is `fixed`.
    reuses_replications = True

    def __init__(
        self,
        systems: tuple[SystemName, ...],
        measuring: MeasuringConfig,
        judges: Mapping[str, JudgeSource],
        probes: Sequence[Probe] = (),
    ) -> None:
        super().__init__()
        self.systems, self.measuring, self.probes = systems, measuring, tuple(probes)
        self.figures = FigureBoard(systems, FIGURES + probe_figures(probes, FIGURES))
        self.lengths = SampleStore()
        self.judges = JudgePanel(judges, systems)
        self._repeated: set[str] = set()

    @abstractmethod
    def make(self, row: SystemName, batch: MotionTextBatch, draw: int, repeat: bool) -> tuple[Tensor, int | None]:
        """Motions [B, T, D] of a row in the data set's own units, and the evaluations of the network per motion.

        Args:
            row: of the table.
            batch: captions and lengths.
            draw: the replication, or the repeat of the same captions.
            repeat: whether it is a repeat, for MultiModality.

        Returns:
            The motions; the number of evaluations, None for motions that were there already.
        """

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
    def guides(self) -> dict[str, RewardBundle]:
        """The rewards that judges are compared with, by checkpoint."""

    @abstractmethod
    def guided(self) -> bool | None:
        """Whether that reward has guided a row of the table; None where that is not known."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse `--ckpt_path`.

        Raises:
            CheckpointError: always; a module that measures has no weights of its own.
        """
        raise CheckpointError(
            f"{type(self).__name__} has no checkpoint of its own: leave --ckpt_path out, and name those of the "
            "networks in model.init_args"
        )

    @property
    def shared_repeats(self) -> int:
        """How many of a caption's repeats are the replications' own motions; the others are made besides."""
        plan = self.measuring
        shared = self.reuses_replications and plan.protocol == "fixed"
        return min(plan.replications, plan.multimodality_repeats) if shared else 0

    @property
    def data(self) -> MotionTextDataModule:
        """The trainer's data module, see `data_of`."""
        return data_of(self)

    def prepare_judges(self, stage: str) -> None:
        """Let judges and probes get ready for the split of a stage, and choose the captions of MultiModality."""
        split = split_of(stage)
        for probe in self.probes:
            probe.prepare(self.data, split)
        self.judges.prepare(self.data, split, self.trainer.strategy.root_device)
        if self.judges.judges:
            self._repeated = repeated(self.data.ids(split), self.measuring.multimodality_captions, self.measuring.seed)

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
        fixed = self.measuring.protocol == "fixed"
        for draw in range(self.measuring.replications):
            drawn = batch if fixed else self.data.drawn(split, batch.ids, draw).to(self.device)
            if draw == 0 or not fixed:
                self.judges.read(draw, drawn)
                self.lengths.update(drawn.lengths[:, None], drawn.ids, draw)
            for row in self.systems:
                if draw < draws_of(row, self.measuring.protocol, self.measuring.replications):
                    self.judges.show(row, draw, self._measured(row, draw, drawn), drawn)
        places = [place for place, sample in enumerate(batch.ids) if sample in self._repeated]
        if places:
            self._repeat(batch.part(places))

    def _measured(self, row: SystemName, draw: int, batch: MotionTextBatch) -> Tensor:
        return measured(
            self.figures,
            row,
            draw,
            batch,
            self.motion_skeleton(),
            lambda: self.make(row, batch, draw, repeat=False),
            lambda features: self.reward(features, batch),
            self.probes,
            self.data.labels,
        )

    def _repeat(self, batch: MotionTextBatch) -> None:
        """Make the motions of the captions of MultiModality that no replication makes."""
        for row in (row for row in self.systems if row not in GIVEN):
            for repeat in range(self.shared_repeats, self.measuring.multimodality_repeats):
                self.judges.show(row, repeat, self.make(row, batch, repeat, repeat=True)[0], batch, repeat=True)

    def _reset(self) -> None:
        self.figures.reset()
        self.lengths.reset()
        self.judges.reset()

    def _report(self, split: TestSplit) -> None:
        record = self._record(split)
        folder = run_folder(self.trainer)  # a collective call
        # First of all, so that whatever may yet be wrong, nothing has to be generated again.
        if self.trainer.is_global_zero:
            write_record(folder / f"samples-{split}.safetensors", record)
        table = score(record)
        for row, figures in table.items():
            for figure, value in figures.items():
                self._log(f"{split}/{row}/{figure}", value)
        if self.trainer.is_global_zero:
            path = folder / f"table-{split}.json"
            write_table(path, table, record.settings)
            log_tables(self.trainer.loggers, f"{split}/figures", table)
            rank_zero_info("%s\n%s", path, table_text(table))

    def _record(self, split: TestSplit) -> Record:
        """What all ranks have measured; a collective call."""
        found, lengths = self.figures.compute(), self.lengths.rows()
        seen = set() if lengths is None else set(lengths.keys.tolist())
        listed = self.data.ids(split)
        keyed = sorted(zip(id_keys(listed).tolist(), listed, strict=True))
        ids = [sample for key, sample in keyed if key in seen]
        figures = {
            row: {name: values[..., 0] for name, rows in stores.items() if (values := placed(rows, ids)) is not None}
            for row, stores in found.items()
        }
        frames = placed(lengths, ids)
        if frames is None:
            raise DataError(f"{type(self).__name__} has measured no samples: the {split} split gave no batch")
        chosen = [sample for sample in ids if sample in self._repeated]
        draws = [None] if self.measuring.protocol == "fixed" else list(range(self.measuring.replications))
        record = Record(
            tuple(ids),
            tuple(tuple(sample.caption for sample in self.data.samples(split, ids, draw)) for draw in draws),
            frames[..., 0].long(),
            tuple(self.data.labels.get(sample) for sample in ids),
            self.measuring.replications,
            figures,
            self.judges.compute(ids, chosen, self.shared_repeats),
            self._settings(split),
        )
        missing = left_out(record)
        return replace(record, settings={**record.settings, "samples": len(ids), "left_out": missing})

    def _log(self, name: str, value: Interval) -> None:
        # Every rank has the same figure, and the average over ranks that Lightning takes leaves it.
        self.log(name, value.mean, sync_dist=True)
        if value.half_width is not None:
            self.log(f"{name}_ci95", value.half_width, sync_dist=True)

    def _settings(self, split: TestSplit) -> dict[str, Any]:
        own = dict(self.hparams)
        files = self.files() | {name: judge.path for name, judge in self.judges.judges.items()}
        return {
            "split": split,
            "split_size": len(self.data.ids(split)),
            "systems": list(self.systems),
            "guided": self.guided(),
            "pool": POOL,
            "diversity_pairs": DIVERSITY_PAIRS,
            **own,
            "judge_fingerprints": self.judges.fingerprints(),
            "shared_with_reward": self.judges.kinships(self.guides()),
            "provenance": provenance(self.data, split, files),
        }


def plain_settings(
    settings: Mapping[str, Any], judges: Mapping[str, JudgeSource], probes: Sequence[Probe]
) -> dict[str, Any]:
    """The arguments of a module as the plain nested values that a receipt, a checkpoint and hparams.yaml can hold."""
    plain = {name: asdict(value) if is_dataclass(value) else value for name, value in settings.items()}  # type: ignore[arg-type]
    judged = {name: asdict(judge) for name, judge in judges.items()}
    return {**plain, "judges": judged, "probes": [described(probe) for probe in probes]}


def split_of(stage: str) -> TestSplit:
    """The split that a stage measures."""
    return "test" if stage == TrainerFn.TESTING else "val"
