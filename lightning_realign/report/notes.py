"""The notes below a table of the paper: FID's floor, what judge and reward share, why published rows are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_realign.report.context import Context, JudgeRecord
from lightning_realign.report.published import PublishedRow, published_on

_PUBLISHED_KIND = "guo_published"
# What the field uses: motions in a pool of R-Precision, and motions of each caption for MultiModality.
_POOL = 32
_REPEATS = 30
_TRAINED_ON = {"humanml3d": "HumanML3D", "kit": "KIT-ML"}


def floor_note(measured: Iterable[bool]) -> str:
    """What FID the real rows have.

    Args:
        measured: for each real row, whether it has one.
    """
    found = list(measured)
    if any(found):
        return (
            "FID of the real row is a floor: real motions of other captions (the training split, in parts as large as "
            "what was measured) against the real row, as all FIDs are. Generated motions share captions and lengths "
            "with the real row, so a row can lie below it: FID then no longer tells it from real motion at this "
            "sample size."
        )
    if found:
        return "The real row has no FID: the floor (real against real) was not measured."
    return "There is no real row, so no floor of FID and no scale for the other metrics."


def _shared(judge: str, context: Context, record: JudgeRecord) -> str:
    if context.elsewhere and context.guided is None:
        return (
            f"Made elsewhere: whether a reward guided these motions, and what judge {judge} shares with it, is unknown."
        )
    if context.guided is False or not context.rewarded:
        return f"No reward guided here, so judge {judge} shares nothing with one."
    if context.guided is None:
        return f"The receipt does not say whether a reward guided, and so not what judge {judge} shares with it."
    if record.shared is None:
        return f"The receipt does not say what judge {judge} shares with the reward that guided."
    if record.shared:
        return f"Judge {judge} shares with the reward that guided: {', '.join(record.shared)}."
    return f"Judge {judge} shares neither architecture nor training data with the reward that guided."


def _seen(judge: str, context: Context, record: JudgeRecord) -> str | None:
    """What data a judge with published weights was trained on, and whether other data are measured."""
    if record.kind != _PUBLISHED_KIND:
        return None
    own = _TRAINED_ON.get(context.skeleton or "", "HumanML3D or KIT-ML")
    if published_on(context) is not None:
        return f"Judge {judge} has published weights, trained on {own}."
    data = context.data or "this data set"
    return f"Judge {judge} has published weights, trained on {own}: it saw other data than {data}, so take care."


def judge_notes(runs: Sequence[tuple[str, Context]], judge: str) -> list[str]:
    """What a judge shares with the reward of each run, and what it was trained on, as far as the receipts say.

    Args:
        runs: name and context of each receipt.
        judge: its name.
    """
    records = [(run, context, context.judges.get(judge, JudgeRecord())) for run, context in runs]
    said = [(run, _shared(judge, context, record)) for run, context, record in records]
    agreed = len({line for _, line in said}) == 1
    lines = [said[0][1]] if agreed else [f"{run}: {line}" for run, line in said]
    seen = _seen(judge, *records[0][1:])
    return lines if seen is None else [*lines, seen]


def repeats_notes(runs: Sequence[tuple[str, Context]]) -> list[str]:
    """Which runs measure MultiModality on another number of motions per caption than the field does.

    Two draws from S motions give the same one, at distance 0, with probability 1/S.

    Args:
        runs: name and context of each receipt that has a MultiModality.
    """
    lines = []
    for run, context in runs:
        repeats = context.repeats
        if repeats is not None and repeats not in (0, _REPEATS):
            change = (1 - 1 / repeats) / (1 - 1 / _REPEATS) - 1
            often = "more" if repeats < _REPEATS else "less"
            lines.append(
                f"MultiModality of {run} is of {repeats} motions per caption, the field's of {_REPEATS}: two draws "
                f"meet the same motion {often} often, which alone makes {change:+.1%}."
            )
    return lines


def making_notes(protocol: str) -> list[str]:
    """How published rows of retrieval under a protocol were made differently from measured ones."""
    if protocol == "nsim":  # the list says which motions
        return []
    if protocol == "pool32":
        return [
            "Not made in quite the same way: ReAlign's pools hold a random caption and a random crop of every motion, "
            "and its last pool is topped up; the measured ones hold first captions and fixed crops, and are all full."
        ]
    return [
        "Not made in quite the same way: TMR has motions of any length, the measured rows those within the data set's "
        f"limits, so that their {'batches' if protocol == 'batches' else 'galleries'} differ."
    ]


def left_out_note(hurdles: Sequence[str]) -> str:
    """Why published rows are left out, in one line."""
    return f"Published rows are left out: {'; '.join(hurdles)}."


def sources_of(rows: Sequence[PublishedRow]) -> list[str]:
    """The sources of published rows, each once, in order. A row carries the number of its source, from 1."""
    return list(dict.fromkeys(row.source for row in rows))


def source_notes(rows: Sequence[PublishedRow]) -> list[str]:
    """One line for each source of published rows, by its number."""
    lead = "Rows marked published are others' numbers, not measured here"
    lead += "; the FID of their real row is no such floor." if any("FID" in row.metrics for row in rows) else "."
    return [lead, *(f"[{number}] {source}" for number, source in enumerate(sources_of(rows), 1))]
