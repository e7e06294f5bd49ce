"""A data set of any skeleton as a LightningDataModule."""

from __future__ import annotations

from pathlib import Path

from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.data.skeletons import find_skeleton
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import skeleton_reference


class OwnDataModule(MotionTextDataModule):
    """A data set in HumanML3D's layout that says itself of which skeleton it is, as `data build` writes it.

    The skeleton is the one that `metadata.json` names, or `skeleton.yaml` in the folder; both are read at once.
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
        """See `MotionTextDataModule`.

        Raises:
            DataError: if the folder is missing, or does not say of which skeleton it is.
            ConfigError: if a number is out of range.
        """
        if not Path(root).is_dir():
            raise DataError(f"OwnDataModule.root: {root} is not a folder; give a folder that `data build` made")
        try:
            skeleton = find_skeleton(Path(root))
        except (ConfigError, DataError) as error:
            raise DataError(f"OwnDataModule.root: {error}") from None
        reference = skeleton_reference(skeleton)
        super().__init__(root, reference, batch_size, num_workers, seed, min_length, max_length, bucket)
