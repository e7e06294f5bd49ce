"""The data sets as LightningDataModules: HumanML3D, KIT-ML, and one of any skeleton (the synthetic: `synthetic`).

They yield raw (not normalised) `MotionTextBatch`es.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch.utils.data import DataLoader

from lightning_realign.data.clips import LeftOut
from lightning_realign.data.dataset import CROP_UNIT, MotionTextDataset, Sample, Split, collate
from lightning_realign.data.folder import DataFolder
from lightning_realign.data.formats import SPLITS
from lightning_realign.data.loader import TrainingLoader
from lightning_realign.data.sampler import BucketSampler
from lightning_realign.data.skeletons import find_skeleton
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import Skeleton, load_skeleton
from lightning_realign.types import MotionTextBatch

logger = logging.getLogger(__name__)

Loader = DataLoader[Any]
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
_STAGE_SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


def data_of(module: L.LightningModule) -> MotionTextDataModule:
    """The data module of a module's trainer.

    Raises:
        ConfigError: there is none, or it is not one of this project's.
    """
    # Lightning types `datamodule` on the trainer only where it is passed in.
    data = getattr(module.trainer, "datamodule", None)
    if not isinstance(data, MotionTextDataModule):
        raise ConfigError(
            f"{type(module).__name__} needs a data module of motions and texts, not {type(data).__name__}: set `data` "
            "to e.g. lightning_realign.data.HumanML3DDataModule"
        )
    return data


class MotionTextDataModule(DataFolder, L.LightningDataModule):
    """A folder in HumanML3D's layout: base of the data modules, each of which says what its skeleton is.

    Attributes:
        skeleton: the `Skeleton` of the motions.
        left_out: per split read so far, the listed motions that are not used, and why.
    """

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 1234,
        min_length: int | None = None,
        max_length: int = 200,
        bucket: bool = True,
    ) -> None:
        """A data set under `root`; nothing is read before `setup`.

        Args:
            root: the data set's folder.
            batch_size: motions per batch and rank.
            num_workers: loader processes; they change nothing but speed.
            seed: of order, captions and crops in training.
            min_length: frames a motion needs; None takes metadata.json's, else the published one (40, KIT-ML 24).
            max_length: a motion has fewer frames than this (and than metadata.json's).
            bucket: batch motions of similar length, so that little is padding.

        Raises:
            ConfigError: a number is out of range, or the skeleton is unknown.
        """
        super().__init__()
        self.root = Path(root)
        self.skeleton = self.find_skeleton()
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.min_length, self.max_length, self.bucket = min_length, max_length, bucket
        self.left_out: dict[str, tuple[LeftOut, ...]] = {}
        self._splits: dict[str, Split] = {}
        self._training_loader: TrainingLoader | None = None
        self._resume: dict[str, int] = {}
        limits = {"batch_size": 1, "num_workers": 0, "seed": 0, "max_length": CROP_UNIT + 1, "min_length": CROP_UNIT}
        for name, least in limits.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{type(self).__name__}.{name} is {value}; set it to {least} or more")

    @abstractmethod
    def find_skeleton(self) -> Skeleton:
        """The skeleton of the data set under `self.root`; called once."""

    def setup(self, stage: str | None = None) -> None:
        """Read the splits that the stage needs ("fit" reads train and val; None reads all).

        Raises:
            DataError: if the folder, a split, a caption or the statistics cannot be used.
            ConfigError: if the trainer's precision has half or double weights.
        """
        self._check_precision()
        _ = self.metadata, self.normaliser, self._attributes
        names = SPLITS if stage is None else _STAGE_SPLITS[stage]
        for name in names:
            self._split(name)
        self._check_labels(names)

    def train_dataloader(self) -> Loader:
        """Random captions and crops, shuffled and bucketed; full batches only."""
        loader = self._loader("train", training=True)
        if isinstance(loader, TrainingLoader):
            self._training_loader = loader
            if self._resume:
                loader.load_state_dict(self._resume)
                self._resume = {}
        return loader

    def state_dict(self) -> dict[str, int]:
        """Where training is in the epoch; Lightning keeps it in checkpoints."""
        return self._resume if self._training_loader is None else self._training_loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let the next training loader go on where the checkpoint's loader was.

        Lightning restores the loader's own state only if nobody has used the loader before, but the learning rate's
        schedule does, to count its steps.
        """
        self._resume = dict(state_dict)

    def val_dataloader(self) -> Loader:
        """The validation split: first captions, fixed crops, every motion once."""
        return self._loader("val")

    def test_dataloader(self) -> Loader:
        """The test split: first captions, fixed crops, every motion once."""
        return self._loader("test")

    def predict_dataloader(self) -> Loader:
        """The same as `test_dataloader`."""
        return self._loader("test")

    def gallery_dataloader(self) -> Loader:
        """The training split with first captions and fixed crops, every motion once, all of them on every rank."""
        return self._loader("train", shard=False)

    def captions(self, stage: Literal["fit", "validate", "test", "predict"]) -> list[str]:
        """All distinct captions that the stage's loaders can yield, in the order of the files."""
        found: dict[str, None] = {}
        for name in _STAGE_SPLITS[stage]:
            for entry in self._split(name).entries:
                used = entry.captions if name == "train" else entry.captions[:1]
                found.update((caption.text, None) for caption in used)
        return list(found)

    def caption_tokens(self, *splits: Literal["train", "val", "test"]) -> dict[str, tuple[str, ...]]:
        """The `word/POS` tokens of all captions of the splits, by their texts, in the order of the files."""
        found: dict[str, tuple[str, ...]] = {}
        for entry in (entry for name in splits for entry in self._split(name).entries):
            for caption in entry.captions:
                found.setdefault(caption.text, caption.tokens)
        return found

    def ids(self, split: Literal["train", "val", "test"]) -> list[str]:
        """The ids of all usable motions of a split, in the order of its list."""
        return [entry.id for entry in self._split(split).entries]

    def drawn(self, split: Literal["train", "val", "test"], ids: Sequence[str], replication: int) -> MotionTextBatch:
        """Motions of a split, each with a caption and a crop drawn at random, as published evaluations have them.

        Args:
            split: the split.
            ids: the motions.
            replication: number of the replication; with the data module's seed it determines captions and crops.
        """
        return collate(list(self.samples(split, ids, replication)))

    def samples(self, split: str, ids: Sequence[str], replication: int | None = None) -> Iterator[Sample]:
        """Motions of a split one by one.

        Args:
            split: the split.
            ids: the motions.
            replication: number of the replication whose captions and crops they have, see `drawn`; None for the first
                captions and fixed crops.
        """
        places = {entry.id: place for place, entry in enumerate(self._split(split).entries)}
        dataset = self._dataset(split, training=replication is not None)
        return (dataset[replication or 0, places[sample]] for sample in ids)

    def _dataset(self, split: str, training: bool) -> MotionTextDataset:
        # Crops are whole units, so the longest is the last unit below the limit: 196 frames for 200.
        max_frames = (self.metadata.max_length - 1) // CROP_UNIT * CROP_UNIT
        return MotionTextDataset(
            self._split(split).entries,
            training=training,
            max_frames=max_frames,
            seed=self.seed,
            attributes=self._attributes,
        )

    def _loader(self, split: str, *, training: bool = False, shard: bool = True) -> Loader:
        entries = self._split(split).entries
        ranks, rank = self._ranks() if shard else (1, 0)
        batch_size = self._training_batch_size(len(entries), ranks) if training else self.batch_size
        if len(entries) < ranks:
            self._fail(f"{self.root}: split {split!r} has {len(entries)} motions for {ranks} ranks; use fewer devices")
        sampler = BucketSampler(
            [len(entry.motion) for entry in entries],
            batch_size,
            training=training,
            seed=self.seed,
            num_replicas=ranks,
            rank=rank,
            bucket=self.bucket,
        )
        kind = TrainingLoader if training else DataLoader
        return kind(
            self._dataset(split, training),
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            drop_last=training,
            persistent_workers=self.num_workers > 0,
        )

    def _training_batch_size(self, count: int, ranks: int) -> int:
        size = min(self.batch_size, count // ranks)
        if size < 1:
            self._fail(f"{self.root}: split 'train' has {count} motions for {ranks} ranks; use fewer devices")
        if size < self.batch_size:
            logger.warning(
                "batch_size %d lowered to %d: the training split has %d motions", self.batch_size, size, count
            )
        return size

    def _check_precision(self) -> None:
        # Statistics, root paths and features are float32 throughout; autocast keeps them so, "true" precisions do not.
        precision = str(self.trainer.precision) if self.trainer is not None else "32-true"
        if precision not in PRECISIONS:
            raise ConfigError(f"trainer.precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")

    def _ranks(self) -> tuple[int, int]:
        """World size and this process's rank, with or without a trainer."""
        if self.trainer is not None:
            return self.trainer.world_size, self.trainer.global_rank
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_world_size(), torch.distributed.get_rank()
        return 1, 0


class HumanML3DDataModule(MotionTextDataModule):
    """HumanML3D (Guo et al., CVPR 2022), or any data set in its layout with its skeleton: 263 features, 20 fps."""

    def find_skeleton(self) -> Skeleton:
        """HumanML3D's."""
        return load_skeleton("humanml3d")


class KITMLDataModule(MotionTextDataModule):
    """KIT-ML in HumanML3D's layout (Plappert et al., 2016; Guo et al., CVPR 2022): 251 features, 12.5 fps."""

    def find_skeleton(self) -> Skeleton:
        """KIT-ML's."""
        return load_skeleton("kit")


class OwnDataModule(MotionTextDataModule):
    """A data set of any skeleton in HumanML3D's layout, as `data build` writes it.

    Its skeleton is the one that `metadata.json` names, or `skeleton.yaml` in the folder; both are read at once.
    """

    def find_skeleton(self) -> Skeleton:
        """The skeleton that the folder names.

        Raises:
            DataError: the folder is missing, or does not say of which skeleton it is.
        """
        if not self.root.is_dir():
            self._fail(f"{self.root} is not a folder; give a folder that `data build` made")
        try:
            return find_skeleton(self.root)
        except (ConfigError, DataError) as error:
            self._fail(str(error))
