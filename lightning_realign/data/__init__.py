"""Data sets: published folders, joint positions with captions, and the synthetic set."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_realign.data.own_datamodule import OwnDataModule
    from lightning_realign.data.published_datamodules import HumanML3DDataModule, KITMLDataModule
    from lightning_realign.data.synthetic.datamodule import SyntheticDataModule

__all__ = ["HumanML3DDataModule", "KITMLDataModule", "OwnDataModule", "SyntheticDataModule"]

_MODULES = {
    "HumanML3DDataModule": "lightning_realign.data.published_datamodules",
    "KITMLDataModule": "lightning_realign.data.published_datamodules",
    "OwnDataModule": "lightning_realign.data.own_datamodule",
    "SyntheticDataModule": "lightning_realign.data.synthetic.datamodule",
}


def __getattr__(name: str) -> Any:
    """Import the data modules on first use, so that reading files does not load Lightning."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
