"""Generating: over a data set (`GuidedGeneration`), in Python (`Pipeline`), and from prompts to files (`generate`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_realign.files.imports import lazy_names

if TYPE_CHECKING:
    from lightning_realign.inference.module import GuidedGeneration
    from lightning_realign.inference.motions import Motion
    from lightning_realign.inference.pipeline import Pipeline

__all__ = ["GuidedGeneration", "Motion", "Pipeline"]

# Import the public names on first use, so that generating from prompts does not load Lightning.
__getattr__ = lazy_names(
    __name__,
    {
        "GuidedGeneration": "module",
        "Motion": "motions",
        "Pipeline": "pipeline",
    },
)
