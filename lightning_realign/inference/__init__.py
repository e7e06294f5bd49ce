"""Generating: over a data set (`GuidedGeneration`), in Python (`Pipeline`), and from prompts to files (`generate`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_realign.inference.module import GuidedGeneration
    from lightning_realign.inference.motions import Motion
    from lightning_realign.inference.pipeline import Pipeline

__all__ = ["GuidedGeneration", "Motion", "Pipeline"]

_MODULES = {
    "GuidedGeneration": "lightning_realign.inference.module",
    "Motion": "lightning_realign.inference.motions",
    "Pipeline": "lightning_realign.inference.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that generating from prompts does not load Lightning."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
