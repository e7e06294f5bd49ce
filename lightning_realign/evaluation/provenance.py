"""Where the values of a run come from: versions and checksums."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from lightning_realign import __version__
from lightning_realign.checkpoints.folder import checkpoint_sha256, located
from lightning_realign.data.datamodule import MotionTextDataModule

PACKAGES = ("torch", "lightning", "torchmetrics", "diffusers", "transformers", "numpy")


def provenance(
    data: MotionTextDataModule, split: Literal["val", "test"], files: Mapping[str, str | None]
) -> dict[str, Any]:
    """What a receipt says of how its values came about.

    Args:
        data: the data set that was measured on.
        split: the split of it.
        files: checkpoints that were used, by their role; None where a role is not filled.

    Returns:
        Primitive values: versions, the data set's folder, hashes and settings, SHA-256 of every checkpoint and, where
        it comes from the Hugging Face Hub, its commit.
    """
    return {
        "versions": {
            "lightning_realign": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
        "data": {
            "root": str(data.root),
            "name": data.metadata.name,
            "skeleton": data.skeleton.name,
            "fingerprint": data.fingerprint,
            "content": data.content(split),
            "seed": data.seed,
            "min_length": data.metadata.min_length,
            "max_length": data.metadata.max_length,
        },
        "files": {
            role: {"path": path, "sha256": checkpoint_sha256(Path(path)), **_revision(path)}
            for role, path in files.items()
            if path is not None
        },
    }


def _revision(path: str) -> dict[str, str]:
    """The commit of a checkpoint from the Hugging Face Hub."""
    revision = located(path).revision
    return {"revision": revision} if revision else {}
