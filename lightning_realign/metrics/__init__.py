"""Metrics: pure functions in the modules named `functional`, torchmetrics classes over them."""

from lightning_realign.metrics.generation import (
    Diversity,
    FrechetDistance,
    MatchingDistance,
    MultiModality,
    RPrecision,
)
from lightning_realign.metrics.keyed import KeyedMetric
from lightning_realign.metrics.levels import RetrievalByLevel
from lightning_realign.metrics.physical import FootHeight, FootSkatingRatio, GroundPenetration, Jerk
from lightning_realign.metrics.protocols import RetrievalProtocols
from lightning_realign.metrics.retrieval import RetrievalMetrics
from lightning_realign.metrics.sample_means import MeanReward, OracleAccuracy

__all__ = [
    "Diversity",
    "FootHeight",
    "FootSkatingRatio",
    "FrechetDistance",
    "GroundPenetration",
    "Jerk",
    "KeyedMetric",
    "MatchingDistance",
    "MeanReward",
    "MultiModality",
    "OracleAccuracy",
    "RPrecision",
    "RetrievalByLevel",
    "RetrievalMetrics",
    "RetrievalProtocols",
]
