"""How the study reads the records and receipts of the package: the one place that knows the names of their parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from lightning_realign.evaluation.record import Embeddings, Record

Measured = Mapping[str, Mapping[str, Tensor]]


def measured(record: Record) -> Measured:
    """What was measured of every sample: system -> metric -> [K, N]."""
    return record.figures


def with_parts(
    record: Record, texts: int, replications: int, metrics: Measured, judges: Mapping[str, Embeddings]
) -> Record:
    """A record of other replications or systems; captions and lengths are those of the first `texts` replications."""
    return replace(
        record,
        captions=record.captions[:texts],
        lengths=record.lengths[:texts],
        replications=replications,
        figures=metrics,
        judges=judges,
    )


def systems_in(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The systems of a receipt's JSON, by name.

    Raises:
        KeyError: it has none.
    """
    return content["rows"] if "rows" in content else content["systems"]
