"""Measuring: motions of any method (`SampleScoring`), retrieval systems (`RetrievalSystem`), and what both share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_realign.evaluation.retrieval import RetrievalSystem
    from lightning_realign.evaluation.samples import SampleScoring

__all__ = ["RetrievalSystem", "SampleScoring"]

_MODULES = {
    "RetrievalSystem": "lightning_realign.evaluation.retrieval",
    "SampleScoring": "lightning_realign.evaluation.samples",
}


def __getattr__(name: str) -> Any:
    """Import the modules that measure on first use, so that reading a table does not load Lightning."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
