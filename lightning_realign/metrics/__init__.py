"""Metrics: pure functions in `functional`, and torchmetrics classes over them (docs/metrics.md)."""

from lightning_realign.metrics.generation import (
    Diversity,
    FrechetDistance,
    MatchingDistance,
    MultiModality,
    RPrecision,
)
from lightning_realign.metrics.keyed import KeyedMetric
from lightning_realign.metrics.oracle import OracleAccuracy
from lightning_realign.metrics.physical import FootHeight, FootSkatingRatio, GroundPenetration, Jerk, PhysicalMetric
from lightning_realign.metrics.protocols import RetrievalProtocols
from lightning_realign.metrics.retrieval import RetrievalByLevel, RetrievalMetrics

__all__ = [
    "Diversity",
    "FootHeight",
    "FootSkatingRatio",
    "FrechetDistance",
    "GroundPenetration",
    "Jerk",
    "KeyedMetric",
    "MatchingDistance",
    "MultiModality",
    "OracleAccuracy",
    "PhysicalMetric",
    "RPrecision",
    "RetrievalByLevel",
    "RetrievalMetrics",
    "RetrievalProtocols",
]
