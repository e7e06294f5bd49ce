"""Metrics: pure functions in `functional`, and torchmetrics classes over them (docs/metrics.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_realign.files.imports import lazy_names

if TYPE_CHECKING:
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

# Import the classes on first use, so that the functions do not load torchmetrics.
__getattr__ = lazy_names(
    __name__,
    {
        "Diversity": "generation",
        "FootHeight": "physical",
        "FootSkatingRatio": "physical",
        "FrechetDistance": "generation",
        "GroundPenetration": "physical",
        "Jerk": "physical",
        "KeyedMetric": "keyed",
        "MatchingDistance": "generation",
        "MultiModality": "generation",
        "OracleAccuracy": "oracle",
        "PhysicalMetric": "physical",
        "RPrecision": "generation",
        "RetrievalByLevel": "retrieval",
        "RetrievalMetrics": "retrieval",
        "RetrievalProtocols": "protocols",
    },
)
