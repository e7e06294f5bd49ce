"""Data sets of motions and captions.

- `datamodule`: the data sets as LightningDataModules. `dataset`, `loader`, `sampler`: their batches, and the order.
- `folder`, `formats`, `labels`, `skeletons`, `clips`, `fingerprint`: what lies in a data set's folder.
- `build`: making a data set from joints or BVH. `check`: looking one over. `packed`: mapping one into memory.
- `synthetic`: the embedded set and its oracle. `tagging`: parts of speech. `tasks`: what a test asks for, as a table.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_realign.data.datamodule import HumanML3DDataModule, KITMLDataModule, OwnDataModule
    from lightning_realign.data.synthetic.datamodule import SyntheticDataModule

__all__ = ["HumanML3DDataModule", "KITMLDataModule", "OwnDataModule", "SyntheticDataModule"]

_MODULES = {
    "HumanML3DDataModule": "lightning_realign.data.datamodule",
    "KITMLDataModule": "lightning_realign.data.datamodule",
    "OwnDataModule": "lightning_realign.data.datamodule",
    "SyntheticDataModule": "lightning_realign.data.synthetic.datamodule",
}


def __getattr__(name: str) -> Any:
    """Import the data modules on first use, so that reading files does not load Lightning."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
