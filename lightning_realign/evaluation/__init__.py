"""Measuring: motions of any method (`SampleScoring`), retrieval systems (`RetrievalSystem`), and what both share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_realign.files.imports import lazy_names

if TYPE_CHECKING:
    from lightning_realign.evaluation.retrieval import RetrievalSystem
    from lightning_realign.evaluation.samples import SampleScoring

__all__ = ["RetrievalSystem", "SampleScoring"]

# Import the modules that measure on first use, so that reading a table does not load Lightning.
__getattr__ = lazy_names(
    __name__,
    {
        "RetrievalSystem": "retrieval",
        "SampleScoring": "samples",
    },
)
