"""Data sets of motions and captions.

- `datamodule`: the data sets as LightningDataModules. `dataset`, `loader`, `sampler`: their batches, and the order.
- `folder`, `formats`, `labels`, `skeletons`, `clips`, `fingerprint`: what lies in a data set's folder.
- `build`: making a data set from joints or BVH. `check`: looking one over. `packed`: mapping one into memory.
- `synthetic`: the embedded set and its oracle. `tagging`: parts of speech. `tasks`: what a test asks for, as a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_realign.files.imports import lazy_names

if TYPE_CHECKING:
    from lightning_realign.data.datamodule import HumanML3DDataModule, KITMLDataModule, OwnDataModule
    from lightning_realign.data.synthetic.datamodule import SyntheticDataModule

__all__ = ["HumanML3DDataModule", "KITMLDataModule", "OwnDataModule", "SyntheticDataModule"]

# Import the data modules on first use, so that reading files does not load Lightning.
__getattr__ = lazy_names(
    __name__,
    {
        "HumanML3DDataModule": "datamodule",
        "KITMLDataModule": "datamodule",
        "OwnDataModule": "datamodule",
        "SyntheticDataModule": "synthetic.datamodule",
    },
)
