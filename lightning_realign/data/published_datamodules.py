"""The published data sets as LightningDataModules."""

from __future__ import annotations

from pathlib import Path

from lightning_realign.data.datamodule import MotionTextDataModule


class HumanML3DDataModule(MotionTextDataModule):
    """HumanML3D (Guo et al., CVPR 2022), or any data set in its layout with its skeleton: 263 features, 20 fps."""

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
        """See `MotionTextDataModule`."""
        super().__init__(root, "humanml3d", batch_size, num_workers, seed, min_length, max_length, bucket)


class KITMLDataModule(MotionTextDataModule):
    """KIT-ML in HumanML3D's layout (Plappert et al., 2016; Guo et al., CVPR 2022): 251 features, 12.5 fps."""

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
        """See `MotionTextDataModule`."""
        super().__init__(root, "kit", batch_size, num_workers, seed, min_length, max_length, bucket)
