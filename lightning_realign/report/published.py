"""Figures that others published, each with the source it was read in (`published/*.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lightning_realign.report.context import Context

_FOLDER = Path(__file__).with_name("published")


@dataclass(frozen=True)
class PublishedValue:
    """A published value: its mean, half the width of its 95% interval if given, and the text as it was printed."""

    mean: float
    half_width: float | None
    text: str


@dataclass(frozen=True)
class PublishedRow:
    """One row. method: its name. source: where the metrics were read. metrics: by name, only those that are given."""

    method: str
    source: str
    metrics: Mapping[str, PublishedValue]


Rows = tuple[PublishedRow, ...]


@dataclass(frozen=True)
class PublishedSet:
    """What was published on one data set.

    Attributes:
        data: the data set's name.
        names: the names that it may have in a receipt, in lower case.
        skeleton: its skeleton.
        remark: a note for the retrieval rows; empty for none.
        generation: rows of text-to-motion generation.
        retrieval: rows by protocol.
    """

    data: str
    names: tuple[str, ...]
    skeleton: str
    remark: str
    generation: Rows
    retrieval: Mapping[str, Rows]


def _value(text: str) -> PublishedValue:
    """The value that is printed as `0.511±.003` or `0.511`."""
    mean, _, width = text.partition("±")
    printed = mean if not width else f"{mean} ± {'0' if width.startswith('.') else ''}{width}"
    return PublishedValue(float(mean), float(width) if width else None, printed)


def _rows(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], sources: Mapping[str, str]
) -> tuple[PublishedRow, ...]:
    return tuple(
        PublishedRow(
            method,
            sources[source],
            {name: _value(cell) for name, cell in zip(columns, cells, strict=True) if cell is not None},
        )
        for method, source, *cells in rows
    )


def _read(path: Path) -> PublishedSet:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    sources, retrieval = content["sources"], dict(content["retrieval"])
    columns = retrieval.pop("columns")
    return PublishedSet(
        content["data"],
        tuple(content["names"]),
        content["skeleton"],
        content.get("remark", ""),
        _rows(content["generation"]["columns"], content["generation"]["rows"], sources),
        {protocol: _rows(columns, rows, sources) for protocol, rows in retrieval.items()},
    )


@cache
def published_sets() -> tuple[PublishedSet, ...]:
    """All data sets that there are published metrics of."""
    return tuple(_read(path) for path in sorted(_FOLDER.glob("*.yaml")))


def published_on(context: Context) -> PublishedSet | None:
    """What was published on the data set of a receipt; None if nothing was, or the receipt does not name it."""
    if not context.named or context.data is None:
        return None
    for known in published_sets():
        if context.data.lower() in known.names and context.skeleton in (None, known.skeleton):
            return known
    return None
