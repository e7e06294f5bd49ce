"""What all trainings share: set-up from the data module, the optimiser, seeding, and what a checkpoint carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any, Literal, TypeVar, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.data.datamodule import MotionTextDataModule, data_of
from lightning_realign.errors import CheckpointError, ConfigError, FeatureSpecError
from lightning_realign.files.hashing import stable_key
from lightning_realign.motion import Skeleton, load_skeleton, skeleton_label, skeleton_reference
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.text import CachedTextEncoder
from lightning_realign.training.optim import adamw_with_schedule
from lightning_realign.types import MotionTextBatch, zero_padding

T = TypeVar("T")
Stage = Literal["fit", "validate", "test", "predict"]


def as_dataclass(kind: type[T], value: T | Mapping[str, Any]) -> T:
    """The value itself, or the dataclass built from the dictionary that a checkpoint keeps of it."""
    return kind(**value) if isinstance(value, Mapping) else value


def primitive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with dataclasses, tuples and paths turned into dictionaries, lists and strings.

    Only such values survive in a checkpoint that is read with `weights_only=True`.
    """
    result: dict[str, Any] = {}
    for name, value in settings.items():
        if is_dataclass(value) and not isinstance(value, type):
            result[name] = primitive(asdict(value))
        elif isinstance(value, tuple):
            result[name] = list(value)
        else:
            result[name] = str(value) if isinstance(value, PurePath) else value
    return result


def derived_seed(*parts: int | str) -> int:
    """A seed in [0, 2^63) from the parts, the same in every process and on every machine."""
    return stable_key(":".join(map(str, parts)))


def _note_weights(module: nn.Module, _: object) -> None:
    module.has_weights = True  # type: ignore[assignment]


class TrainingModule(L.LightningModule):
    """Base of the LightningModules that fit.

    Subclasses call `save_hyperparameters(primitive(...))`, assign their networks, and define the steps.

    Args:
        skeleton: the feature spec that the data set must have: a name, or the path of an own one, see `load_skeleton`.
        kind: what the module's checkpoints are, as in `lightning_realign.checkpoints.entry`.
        learning_rate: peak of the schedule.
        warmup_steps: optimiser steps of linear warm-up, at most a tenth of the run.
        weight_decay: AdamW's.
        seed: of everything random in training; the same seed and data give the same run, interrupted or not.

    Raises:
        ConfigError: a number out of range, an unknown skeleton.
    """

    def __init__(
        self, skeleton: str, kind: str, learning_rate: float, warmup_steps: int, weight_decay: float, seed: int
    ) -> None:
        super().__init__()
        for name, value in (("warmup_steps", warmup_steps), ("weight_decay", weight_decay)):
            if value < 0:
                raise ConfigError(f"{type(self).__name__}.{name} is {value}; set it to 0 or more")
        if learning_rate <= 0:
            raise ConfigError(f"{type(self).__name__}.learning_rate is {learning_rate}; set it above 0")
        self.skeleton: Skeleton = load_skeleton(skeleton)
        self.kind = kind
        self.normaliser = Normaliser(self.skeleton.num_features)
        self.fingerprint = ""
        self.learning_rate, self.warmup_steps, self.weight_decay = learning_rate, warmup_steps, weight_decay
        self.seed = seed
        self.has_weights = False
        self.register_load_state_dict_post_hook(_note_weights)  # type: ignore[no-untyped-call]

    def setup(self, stage: str) -> None:
        """Take the data set's statistics (fit only) and make sure that its features are the expected ones.

        A run that resumes gets the checkpoint's statistics right after, when Lightning restores the weights.

        Raises:
            ConfigError: the trainer has no data module of this project.
            FeatureSpecError: the data set has another skeleton.
        """
        data = self.data
        if data.skeleton != self.skeleton:
            own, given = (skeleton_label(skeleton_reference(one)) for one in (self.skeleton, data.skeleton))
            raise FeatureSpecError(
                f"{type(self).__name__} is for skeleton {own!r}, the data set has {given!r}: set model.skeleton, "
                "or use another checkpoint or data set"
            )
        if stage == "fit":
            self.fingerprint = data.fingerprint
            self.adopt(data)
            self.renew_averages()

    def on_fit_start(self) -> None:
        """Bring fresh weights to where they start from, see `start`; weights of a checkpoint stay as they are."""
        if not self.has_weights:
            self.start()
        self.has_weights = True

    def start(self) -> None:
        """Change the fresh weights by what the data set tells, before the first step of a fit; here nothing."""

    def on_validation_start(self) -> None:
        """Refuse to measure weights that were never trained."""
        self._require_weights("validate")

    def on_test_start(self) -> None:
        """Refuse to measure weights that were never trained."""
        self._require_weights("test")

    def _require_weights(self, command: str) -> None:
        if not self.has_weights:
            raise ConfigError(
                f"{type(self).__name__} has random weights, which {command} would measure: give the checkpoint of a "
                "trained one with --ckpt_path"
            )

    def adopt(self, data: MotionTextDataModule) -> None:
        """Take from the data set what the networks need, before the first step of a fit."""
        self.normaliser.set(data.normaliser.mean, data.normaliser.std)

    @property
    def data(self) -> MotionTextDataModule:
        """The trainer's data module, see `data_of`."""
        return data_of(self)

    def normalised(self, batch: MotionTextBatch) -> Tensor:
        """The batch's features normalised, [B, T, D], zero beyond each length."""
        return zero_padding(self.normaliser.normalise(batch.motion), batch.lengths)

    def prepare_text(self, encoder: CachedTextEncoder, stage: str, more: Sequence[str] = ()) -> None:
        """Encode the stage's captions (and `more`), once per machine; the other ranks then read the cache."""
        captions = [*self.data.captions(cast("Stage", stage)), *more]
        first = self.trainer.local_rank == 0
        if first:
            encoder.prepare(captions)
        self.trainer.strategy.barrier("text features")
        if not first:
            encoder.prepare(captions)

    def on_train_batch_start(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Seed every batch on its own, so that resuming continues exactly, and no two ranks draw the same noise."""
        torch.manual_seed(derived_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over everything trainable, with warm-up and a cosine over the whole run."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return adamw_with_schedule(
            trainable,
            self.learning_rate,
            self.warmup_steps,
            self.weight_decay,
            float(self.trainer.estimated_stepping_batches),
        )

    def specification(self) -> dict[str, Any]:
        """What the checkpoint says of itself: kind, architecture, feature spec, text encoder, schedule."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its checkpoints hold")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint self-contained."""
        checkpoint[SPEC_KEY] = self.specification()
        # The whole spec in place of the path of an own one.
        checkpoint.get("hyper_parameters", {})["skeleton"] = skeleton_reference(self.skeleton)

    def make_networks(self, spec: Mapping[str, Any]) -> None:
        """Make what only a checkpoint's own entry tells how to make, before its weights are loaded; here nothing."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another kind, feature spec or architecture before its weights fail to fit.

        Raises:
            CheckpointError: as said.
        """
        found = checkpoint.get(SPEC_KEY, {})
        for field, wanted in (("kind", self.kind), ("skeleton", skeleton_reference(self.skeleton))):
            value = found.get(field)
            if value != wanted:
                given = skeleton_label(value) if field == "skeleton" and isinstance(value, str) else value
                raise CheckpointError(
                    f"the checkpoint given to {type(self).__name__} has {field} {given!r}, "
                    f"expected {skeleton_label(wanted)!r}: give a checkpoint that this class has written"
                )
        self.make_networks(found)
        own, given = self.state_dict(), checkpoint["state_dict"]
        for name in sorted(own.keys() | given.keys()):
            shapes = [tuple(weights[name].shape) if name in weights else None for weights in (given, own)]
            if shapes[0] != shapes[1]:
                raise CheckpointError(
                    f"the checkpoint given to {type(self).__name__} has {name!r} of shape {shapes[0]}, this model "
                    f"needs {shapes[1]}: give the configuration that the checkpoint was trained with"
                )

    def renew_averages(self) -> None:
        """Let weight averaging copy this module again: it did so before everything in it was known."""
        if self._trainer is None or self._trainer.state.fn != "fit":
            return
        callbacks: list[L.Callback] = getattr(self._trainer, "callbacks", [])
        for callback in callbacks:
            if isinstance(callback, WeightAveraging):
                callback.setup(self._trainer, self, "fit")
