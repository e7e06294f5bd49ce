"""Metrics: pure functions in `functional`, torchmetrics classes over them."""

from lightning_realign.metrics.levels import RetrievalByLevel
from lightning_realign.metrics.retrieval import RetrievalMetrics

__all__ = ["RetrievalByLevel", "RetrievalMetrics"]
