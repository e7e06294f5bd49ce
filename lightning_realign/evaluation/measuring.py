"""The LightningModule that measures: systems over replications, by metrics of single motions and by judges."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from lightning_realign.data.datamodule import MotionTextDataModule, data_of
from lightning_realign.data.tasks import repeated
from lightning_realign.errors import CheckpointError, DataError
from lightning_realign.evaluation.judge_metrics import DIVERSITY_PAIRS, POOL
from lightning_realign.evaluation.judges.panel import JudgePanel
from lightning_realign.evaluation.method import GIVEN, Method, replications_of
from lightning_realign.evaluation.motion_metrics import MotionMeter, metric_board
from lightning_realign.evaluation.probes import Probe, described
from lightning_realign.evaluation.provenance import provenance
from lightning_realign.evaluation.rank_gathering import SampleStore, placed
from lightning_realign.evaluation.record import Record, write_record
from lightning_realign.evaluation.scoring import left_out, score
from lightning_realign.evaluation.wandb_tables import log_tables
from lightning_realign.files.ranks import fill_first
from lightning_realign.files.run_folder import run_folder
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.report.intervals import Interval
from lightning_realign.report.receipts import Receipt
from lightning_realign.settings.measuring import MeasuringConfig, SystemName
from lightning_realign.settings.plain import plain
from lightning_realign.settings.sources import CacheConfig, JudgeSource
from lightning_realign.types import MotionTextBatch

TestSplit = Literal["val", "test"]


class MeasuringModule(L.LightningModule):
    """Base of the modules whose `validate` and `test` measure the systems of a method on a split.

    A run goes like this. `setup` loads the method and the judges and fills caches. Each batch is made by every system
    in every replication; `MotionMeter` keeps the metrics of each motion, `JudgePanel` the embeddings. At the end all
    ranks gather them into a `Record`, and `score` computes the table. The metrics are logged, to W&B as a table too.
    Two files are written beside the run's `metrics.json`: the receipt `table-test.json`, and the record
    `samples-test.safetensors`, from which all metrics can be computed again.

    Args:
        systems: what is measured, in the table's order.
        measuring: how often, and of what.
        caches: folders of cached features.
        judges: evaluators that embed captions and motions, by the names they have in the table.
        probes: the user's own metrics.

    Raises:
        ConfigError: a judge or metric of a name that cannot stand in a table.
    """

    def __init__(
        self,
        systems: tuple[SystemName, ...],
        measuring: MeasuringConfig,
        caches: CacheConfig,
        judges: Mapping[str, JudgeSource],
        probes: Sequence[Probe] = (),
    ) -> None:
        super().__init__()
        self.measuring, self.caches, self.probes = measuring, caches, tuple(probes)
        self.lengths = SampleStore()
        self.measure_systems(systems, judges)
        self._method: Method | None = None
        self._repeated: set[str] = set()

    def measure_systems(self, systems: tuple[SystemName, ...], judges: Mapping[str, JudgeSource]) -> None:
        """Make place for what is measured of these systems; before anything is."""
        self.systems = systems
        self.board = metric_board(systems, self.probes)
        self.judges = JudgePanel(judges, systems)

    @abstractmethod
    def load_method(self, stage: str) -> Method:
        """The method that a stage measures; `setup` calls this on every rank."""

    @property
    def method(self) -> Method:
        """What makes the motions; loaded by `setup`."""
        if self._method is None:
            raise DataError(f"{type(self).__name__} has loaded nothing yet; run it with a Trainer (validate or test)")
        return self._method

    @property
    def data(self) -> MotionTextDataModule:
        """The trainer's data module, see `data_of`."""
        return data_of(self)

    def setup(self, stage: str) -> None:
        """Load the method and, where a stage measures, the judges, and fill the caches.

        Raises:
            ConfigError: the trainer has no data module of this project.
            DataError: files that cannot be used.
            FeatureSpecError: a judge of another skeleton than the data set's.
        """
        self._method = self.load_method(stage)
        if stage != TrainerFn.PREDICTING:
            self.judges.load(self.data.skeleton, self.caches.text, self.trainer.strategy.root_device)
        fill_first(self.trainer, lambda: self._fill_caches(stage), "caches of measuring")

    def _fill_caches(self, stage: str) -> None:
        measures, split = stage != TrainerFn.PREDICTING, split_of(stage)
        if measures and self.measuring.protocol == "published":
            captions = list(self.data.caption_tokens(split))
        else:
            captions = self.data.captions(TrainerFn(stage).value)
        self.method.prepare(self.data, captions)
        if not measures:
            return
        for probe in self.probes:
            probe.prepare(self.data, split)
        self.judges.prepare(self.data, split, self.trainer.strategy.root_device)
        if self.judges.judges:
            self._repeated = repeated(self.data.ids(split), self.measuring.multimodality_captions, self.measuring.seed)

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
        shared = self.method.repeats_are_replications and plan.protocol == "fixed"
        return min(plan.replications, plan.multimodality_repeats) if shared else 0

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Measure all systems on one batch of the validation split."""
        self._measure(batch, "val")

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Measure all systems on one batch of the test split."""
        self._measure(batch, "test")

    def on_validation_epoch_start(self) -> None:
        """Forget earlier measurements."""
        self._reset()

    def on_test_epoch_start(self) -> None:
        """Forget earlier measurements."""
        self._reset()

    def on_validation_epoch_end(self) -> None:
        """Gather, log and write the table."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Gather, log and write the table."""
        self._report("test")

    def _measure(self, batch: MotionTextBatch, split: TestSplit) -> None:
        plan, fixed = self.measuring, self.measuring.protocol == "fixed"
        meter = MotionMeter(self.method, self.board, self.probes, self.data.labels)
        for replication in range(plan.replications):
            given = batch if fixed else self.data.drawn(split, batch.ids, replication).to(self.device)
            if replication == 0 or not fixed:
                self.judges.embed_captions(given, replication)
                self.lengths.update(given.lengths[:, None], given.ids, replication)
            for system in self.systems:
                if replication < replications_of(system, plan.protocol, plan.replications):
                    features = meter.measure(system, given, replication)
                    self.judges.embed_motions(system, given, replication, features)
        places = [place for place, sample in enumerate(batch.ids) if sample in self._repeated]
        if places:
            self._repeat(batch.part(places))

    def _repeat(self, batch: MotionTextBatch) -> None:
        """Make the motions of the captions of MultiModality that no replication makes."""
        for system in (system for system in self.systems if system not in GIVEN):
            for number in range(self.shared_repeats, self.measuring.multimodality_repeats):
                features = self.method.make(system, batch, number, repeat=True).features
                self.judges.embed_motions(system, batch, number, features, repeat=True)

    def _reset(self) -> None:
        self.board.reset()
        self.lengths.reset()
        self.judges.reset()

    def _report(self, split: TestSplit) -> None:
        record = self._record(split)
        folder = run_folder(self.trainer)  # a collective call
        # The record is written first, so that nothing has to be generated again if anything below fails.
        if self.trainer.is_global_zero:
            write_record(folder / f"samples-{split}.safetensors", record)
        receipt = Receipt(score(record), record.settings)
        for system, metrics in receipt.systems.items():
            for metric, value in metrics.items():
                self._log(f"{split}/{system}/{metric}", value)
        if self.trainer.is_global_zero:
            path = folder / f"table-{split}.json"
            receipt.write(path)
            log_tables(self.trainer.loggers, f"{split}/metrics", receipt)
            rank_zero_info("%s\n%s", path, receipt.text())

    def _record(self, split: TestSplit) -> Record:
        """What all ranks have measured; a collective call."""
        lengths = self.lengths.gathered()
        seen = set() if lengths is None else set(lengths.keys.tolist())
        listed = self.data.ids(split)
        keyed = sorted(zip(id_keys(listed).tolist(), listed, strict=True))
        ids = [sample for key, sample in keyed if key in seen]
        metrics = self.board.compute(ids)
        frames = placed(lengths, ids)
        if frames is None:
            raise DataError(f"{type(self).__name__} has measured no samples: the {split} split gave no batch")
        chosen = [sample for sample in ids if sample in self._repeated]
        fixed, count = self.measuring.protocol == "fixed", self.measuring.replications
        record = Record(
            ids=tuple(ids),
            captions=tuple(
                tuple(sample.caption for sample in self.data.samples(split, ids, place))
                for place in ([None] if fixed else range(count))
            ),
            lengths=frames[..., 0].long(),
            labels=tuple(self.data.labels.get(sample) for sample in ids),
            replications=count,
            metrics=metrics,
            judges=self.judges.compute(ids, chosen, self.shared_repeats),
            settings={},
        )
        found = {"samples": len(ids), "left_out": left_out(record)}
        return replace(record, settings={**self._settings(split), **found})

    def _log(self, name: str, value: Interval) -> None:
        # Every rank has the same value, so that Lightning's average over ranks does not change it.
        self.log(name, value.mean, sync_dist=True)
        if value.half_width is not None:
            self.log(f"{name}_ci95", value.half_width, sync_dist=True)

    def _settings(self, split: TestSplit) -> dict[str, Any]:
        files = self.method.files() | {name: judge.path for name, judge in self.judges.judges.items()}
        return {
            "split": split,
            "split_size": len(self.data.ids(split)),
            "systems": list(self.systems),
            # Nobody knows whether a reward has guided motions that were made elsewhere.
            "guided": None if "samples" in self.systems else "guided" in self.systems,
            "pool": POOL,
            "diversity_pairs": DIVERSITY_PAIRS,
            **dict(self.hparams),
            "judge_fingerprints": self.judges.fingerprints(),
            "shared_with_reward": self.judges.shared_with(self.method.rewards()),
            "provenance": provenance(self.data, split, files),
        }


def plain_settings(
    settings: Mapping[str, Any], judges: Mapping[str, JudgeSource], probes: Sequence[Probe]
) -> dict[str, Any]:
    """The arguments of a module as the plain nested values that a receipt, a checkpoint and hparams.yaml can hold."""
    return {**plain(settings), "judges": plain(judges), "probes": [described(probe) for probe in probes]}


def split_of(stage: str) -> TestSplit:
    """The split that a stage measures."""
    return "test" if stage == TrainerFn.TESTING else "val"
