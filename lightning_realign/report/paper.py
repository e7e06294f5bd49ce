"""The tables of the paper: generation by data set and judge, retrieval by data set and protocol.

The columns are those of Tables 1 to 3 of ReAlign (arXiv 2511.19217). Published rows stand beside measured ones only if
both have the same data set and protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lightning_realign.report.comparable import generation_hurdles, retrieval_hurdles
from lightning_realign.report.context import Context, JudgeRecord
from lightning_realign.report.intervals import Interval
from lightning_realign.report.notes import (
    floor_note,
    judge_notes,
    left_out_note,
    making_notes,
    repeats_notes,
    source_notes,
)
from lightning_realign.report.published import PublishedRow, published_on
from lightning_realign.report.receipts import Receipt

GENERATION = ("R@1", "R@2", "R@3", "FID", "MM-Dist", "Diversity", "MultiModality")
RETRIEVAL = tuple(
    f"{way}_{metric}" for way in ("t2m", "m2t") for metric in ("R@1", "R@2", "R@3", "R@5", "R@10", "MedR")
)
KINDS = {
    "guo": "Guo et al.'s architecture, trained by this project",
    "guo_published": "the published weights of Guo et al.",
    "tmr": "TMR's architecture",
    None: "of a kind that the receipt does not state",
}
PROTOCOLS = {
    "normal": "whole gallery",
    "threshold": "whole gallery, equal captions count",
    "nsim": "dissimilar captions only",
    "batches": "TMR's batches of 32",
    "pool32": "pools of 32, after ReAlign",
}
_RETRIEVAL_METRIC = re.compile(r"(?P<protocol>[^/]+)/(?:t2m|m2t)_(?:R@\d+|MedR)")


@dataclass(frozen=True)
class PaperRow:
    """A measured row of a table. name: its label. metrics: by column. real: whether it is of real motions."""

    name: str
    metrics: Mapping[str, Interval]
    real: bool = False


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        kind: what it is about.
        title: one line.
        context: the receipts' circumstances.
        part: the judge, or the protocol of retrieval.
        columns: names of the metrics.
        rows: the measured rows, the real ones first.
        published: the published rows, which are marked as such.
        notes: the lines below it.
    """

    kind: Literal["generation", "retrieval"]
    title: str
    context: Context
    part: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    published: tuple[PublishedRow, ...]
    notes: tuple[str, ...]


def retrieval_protocol(metric: str) -> str | None:
    """The protocol of a retrieval metric such as `normal/t2m_R@1`; None for any other metric.

    >>> retrieval_protocol("pool32/m2t_MedR"), retrieval_protocol("guo/R@1")
    ('pool32', None)
    """
    found = _RETRIEVAL_METRIC.fullmatch(metric)
    return None if found is None else found["protocol"]


def _judges_in(receipt: Receipt) -> list[str]:
    names = [name.rpartition("/") for row in receipt.systems.values() for name in row]
    return list(dict.fromkeys(judge for judge, _, metric in names if judge and metric in GENERATION))


def _protocols_in(receipt: Receipt) -> list[str]:
    found = [retrieval_protocol(name) for row in receipt.systems.values() for name in row]
    return list(dict.fromkeys(protocol for protocol in found if protocol is not None))


def _own_rows(receipt: Receipt, prefix: str, columns: Sequence[str]) -> dict[str, dict[str, Interval]]:
    rows = {
        name: {column: row[f"{prefix}/{column}"] for column in columns if f"{prefix}/{column}" in row}
        for name, row in receipt.systems.items()
    }
    return {name: metrics for name, metrics in rows.items() if metrics}


def _merged_rows(receipts: Sequence[Receipt], prefix: str, columns: Sequence[str]) -> tuple[PaperRow, ...]:
    """The rows of all receipts, the real ones first. Where all receipts agree on the real one, it stands only once.

    Where there are several receipts, a row also has its run's name; a method's row only if its name occurs twice.
    """
    own = [(receipt.run, _own_rows(receipt, prefix, columns)) for receipt in receipts]
    real = [rows["real"] for _, rows in own if "real" in rows]
    agreed = bool(real) and all(metrics == real[0] for metrics in real)
    entries = [(run, *entry) for run, rows in own for entry in rows.items() if not (agreed and entry[0] == "real")]
    entries.sort(key=lambda entry: entry[1] != "real")
    names = [name for _, name, _ in entries]
    methods = {receipt.made_by for receipt in receipts}
    plain = {name for name in names if len(receipts) == 1 or (name in methods and names.count(name) == 1)}
    merged = [
        PaperRow(name if name in plain else f"{name} ({run})", metrics, name == "real")
        for run, name, metrics in entries
    ]
    return tuple([PaperRow("real", real[0], real=True), *merged] if agreed else merged)


def _groups(receipts: Sequence[Receipt], parts: Callable[[Receipt], list[str]]) -> list[tuple[str, list[Receipt]]]:
    """Receipts whose metrics compare: they have the same data, split, protocol, samples and pools, and the same judge.

    Retrieval under some protocols also depends on how captions are compared, see `RetrievalRecord`.
    """
    groups: dict[Hashable, tuple[str, list[Receipt]]] = {}
    for receipt in receipts:
        context = receipt.context
        for part in parts(receipt):
            judge = context.judges.get(part, JudgeRecord())
            made = (context.split, context.protocol, context.samples, context.pool)
            measured = (judge.kind, judge.identity, *context.retrieval.identity(part))
            groups.setdefault((part, context.data_identity, made, measured), (part, []))[1].append(receipt)
    return list(groups.values())


def _where(context: Context) -> str:
    split = "" if context.split is None else f", {context.split} split"
    return f"{context.data or 'an unnamed data set'}{split}"


def _generation(judge: str, receipts: Sequence[Receipt]) -> PaperTable:
    context, runs = receipts[0].context, [(receipt.run, receipt.context) for receipt in receipts]
    rows = _merged_rows(receipts, judge, GENERATION)
    known = published_on(context)
    hurdles = _all_hurdles(receipts, lambda other: generation_hurdles(other, judge))
    published = known.generation if known is not None and not hurdles else ()
    kind = KINDS.get(context.judges.get(judge, JudgeRecord()).kind, KINDS[None])
    protocol = "captions and crops" + (" not stated" if context.protocol is None else f": {context.protocol}")
    notes = (
        floor_note("FID" in row.metrics for row in rows if row.real),
        *judge_notes(runs, judge),
        *repeats_notes(_with_multimodality(receipts, judge)),
        *(source_notes(published) if published else [left_out_note(hurdles)]),
    )
    title = f"Generation on {_where(context)}, judged by {judge} ({kind}; {protocol})"
    return PaperTable("generation", title, context, judge, GENERATION, rows, published, notes)


def _all_hurdles(receipts: Sequence[Receipt], hurdles: Callable[[Context], list[str]]) -> list[str]:
    """The reasons against published rows that any of the receipts gives, each once."""
    return list(dict.fromkeys(hurdle for receipt in receipts for hurdle in hurdles(receipt.context)))


def _with_multimodality(receipts: Sequence[Receipt], judge: str) -> list[tuple[str, Context]]:
    metric = f"{judge}/MultiModality"
    return [
        (receipt.run, receipt.context) for receipt in receipts if any(metric in row for row in receipt.systems.values())
    ]


def _retrieval(protocol: str, receipts: Sequence[Receipt]) -> PaperTable:
    context = receipts[0].context
    known = published_on(context)
    hurdles = _all_hurdles(receipts, lambda other: retrieval_hurdles(other, protocol))
    published = known.retrieval.get(protocol, ()) if known is not None and not hurdles else ()
    if known is not None and not hurdles and not published:
        hurdles = ["no source of them under this protocol was at hand"]
    remark = [known.remark] if known is not None and known.remark else []
    beside = [*source_notes(published), *making_notes(protocol), *remark] if published else [left_out_note(hurdles)]
    notes = ("Recalls are in percent.", *beside)
    title = f"Retrieval on {_where(context)}, protocol {protocol} ({PROTOCOLS.get(protocol, 'of an own kind')})"
    rows = _merged_rows(receipts, protocol, RETRIEVAL)
    return PaperTable("retrieval", title, context, protocol, RETRIEVAL, rows, published, notes)


def _told_apart(tables: Sequence[PaperTable], groups: Sequence[tuple[str, list[Receipt]]]) -> list[PaperTable]:
    """The same tables. Titles that occur twice (other data, or another judge of the same name) also name their runs."""
    titles = [table.title for table in tables]
    return [
        replace(table, title=f"{table.title}; {', '.join(receipt.run for receipt in receipts)}")
        if titles.count(table.title) > 1
        else table
        for table, (_, receipts) in zip(tables, groups, strict=True)
    ]


def paper_tables(receipts: Sequence[Receipt]) -> list[PaperTable]:
    """All tables that the receipts' metrics fill: of generation first, then of retrieval."""
    generation, retrieval = _groups(receipts, _judges_in), _groups(receipts, _protocols_in)
    return [
        *_told_apart([_generation(*group) for group in generation], generation),
        *_told_apart([_retrieval(*group) for group in retrieval], retrieval),
    ]
