"""The embedded synthetic data set as a LightningDataModule."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.data.formats import SPLITS, read_split
from lightning_realign.errors import DataError
from lightning_realign.motion import Skeleton, load_skeleton


class SyntheticDataModule(MotionTextDataModule):
    """Procedural motions with captions and true attributes, made under `root` when they are not there yet."""

    def __init__(
        self,
        root: str | Path,
        skeleton: Literal["humanml3d", "kit"] = "humanml3d",
        train: int = 1200,
        val: int = 60,
        test: int = 240,
        data_seed: int = 1234,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 1234,
        min_length: int | None = None,
        max_length: int = 200,
        bucket: bool = True,
    ) -> None:
        """See `MotionTextDataModule`.

        Args:
            root: where the data set is, or will be made.
            skeleton: whose form the motions take.
            train: motions in the training split.
            val: motions in the validation split.
            test: motions in the test split.
            data_seed: seed of the motions themselves; `seed` orders them in training.
            batch_size: motions per batch and rank.
            num_workers: loader processes.
            seed: of order, captions and crops in training.
            min_length: frames a motion needs; None takes the data set's.
            max_length: a motion has fewer frames than this.
            bucket: batch motions of similar length.
        """
        self._form = skeleton
        super().__init__(root, batch_size, num_workers, seed, min_length, max_length, bucket)
        self.sizes = {"train": train, "val": val, "test": test}
        self.data_seed = data_seed

    def find_skeleton(self) -> Skeleton:
        """The skeleton whose form was chosen."""
        return load_skeleton(self._form)

    def prepare_data(self) -> None:
        """Make the data set where `root` is missing or empty; otherwise check that it is the one asked for.

        Raises:
            DataError: if another data set lies under `root`.
        """
        if not self.root.exists() or not any(self.root.iterdir()):
            self._make()
        for split, size in self.sizes.items():
            found = len(read_split(self.root / f"{split}.txt"))
            if found != size:
                self._fail(f"{self.root / f'{split}.txt'} lists {found} motions, not {size}; use another root", split)
        made_with = self.metadata.extra.get("seed", self.data_seed)
        if made_with != self.data_seed:
            self._fail(
                f"{self.root} was made with seed {made_with}, not {self.data_seed}; use another root", "data_seed"
            )

    def _make(self) -> None:
        from lightning_realign.data.synthetic import make_dataset

        train, val, test = (self.sizes[split] for split in SPLITS)
        try:
            make_dataset(self.root, self.skeleton.name, train, val, test, self.data_seed)
        except (OSError, DataError):
            # Another process may have been faster; prepare_data checks what it made.
            if not self.root.is_dir() or not any(self.root.iterdir()):
                raise
