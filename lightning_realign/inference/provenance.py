"""Where the figures of a run come from: versions, checksums, peak memory."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import lightning_realign
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.data.formats import file_sha256

PACKAGES = ("torch", "lightning", "torchmetrics", "diffusers", "transformers", "numpy")


def provenance(data: MotionTextDataModule, files: Mapping[str, str | None]) -> dict[str, Any]:
    """What a receipt says of how its figures came about.

    Args:
        data: the data set that was measured on.
        files: checkpoints that were used, by their role; None where a role is not filled.

    Returns:
        Primitive values: versions, the data set's folder and fingerprint, SHA-256 of every file, peak memory in bytes.
    """
    return {
        "versions": {
            "lightning_realign": lightning_realign.__version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
        "data": {"root": str(data.root), "fingerprint": data.fingerprint},
        "files": {
            role: {"path": path, "sha256": file_sha256(Path(path))} for role, path in files.items() if path is not None
        },
        "peak_memory_bytes": _peak_memory(),
    }


def _peak_memory() -> int:
    """The most memory that this process has held so far: on the accelerator where there is one, else resident."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return peak if sys.platform == "darwin" else peak * 1024
