"""The circumstances of a run, as its receipt's settings state them: they decide which metrics compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any


@dataclass(frozen=True)
class JudgeRecord:
    """A judge of a test run.

    Attributes:
        kind: `guo`, `guo_published` or `tmr`; None if the receipt does not say.
        identity: what distinguishes judges of one name: the fingerprint of its weights, else its checkpoint's checksum,
            else its path.
        shared: what it has in common with the reward that guided; None if the receipt does not say.
    """

    kind: str | None = None
    identity: str | None = None
    shared: tuple[str, ...] | None = None


@dataclass(frozen=True)
class RetrievalRecord:
    """The settings that some protocols of retrieval depend on.

    Attributes:
        subset: the dissimilar captions (`nsim`): checksum or path of a list of ids, or how many were chosen.
        listed: whether they came from a list.
        threshold: from which similarity captions count as the same.
        sentence_encoder: name of the encoder that compares captions.
    """

    subset: str | int | None = None
    listed: bool = False
    threshold: float | None = None
    sentence_encoder: str | None = None

    def identity(self, protocol: str) -> tuple[object, ...]:
        """What must be equal for metrics under a protocol to compare."""
        if protocol == "threshold":
            return (self.threshold, self.sentence_encoder)
        if protocol == "nsim":
            return (self.subset, None if self.listed else self.sentence_encoder)
        return ()


@dataclass(frozen=True)
class Context:
    """The circumstances in which a run's metrics came about; None for whatever an older receipt leaves out.

    Attributes:
        data: name of the data set; for an older receipt, the name of its folder.
        named: whether the receipt names its data set, not only its folder.
        skeleton: skeleton of the data set.
        content: hash of the measured split's motions, captions and labels, the same wherever they lie.
        fingerprint: fingerprint of the data set's files.
        split: `val` or `test`.
        samples: how many motions of the split were measured.
        split_size: how many usable motions the split has.
        pool: size of R-Precision's pools.
        repeats: S, how many motions of each caption MultiModality is measured on.
        protocol: `fixed` or `published` captions and crops.
        method: who made the motions of the system `samples`.
        elsewhere: whether the motions were made elsewhere.
        rewarded: whether a reward took part.
        guided: whether a reward guided.
        retrieval: the settings of a retrieval system.
        judges: the judges, by their names in the table.
    """

    data: str | None = None
    named: bool = False
    skeleton: str | None = None
    content: str | None = None
    fingerprint: str | None = None
    split: str | None = None
    samples: int | None = None
    split_size: int | None = None
    pool: int | None = None
    repeats: int | None = None
    protocol: str | None = None
    method: str | None = None
    elsewhere: bool = False
    rewarded: bool = True
    guided: bool | None = None
    retrieval: RetrievalRecord = RetrievalRecord()
    judges: Mapping[str, JudgeRecord] = field(default_factory=dict)

    @property
    def data_identity(self) -> tuple[str | None, ...]:
        """What distinguishes measured data: their content; for an older receipt, the data set's name and files."""
        if self.content is not None:
            return (self.content, self.skeleton)
        return (None, self.data, self.fingerprint, self.skeleton)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _checksum(role: str, settings: Mapping[str, Any]) -> str | None:
    files = _mapping(_mapping(settings.get("provenance")).get("files"))
    return _text(_mapping(files.get(role)).get("sha256"))


def _judge(name: str, settings: Mapping[str, Any]) -> JudgeRecord:
    stated = _mapping(_mapping(settings.get("judges")).get(name))
    fingerprint = _text(_mapping(settings.get("judge_fingerprints")).get(name))
    shared = _mapping(settings.get("shared_with_reward")).get(name)
    return JudgeRecord(
        _text(stated.get("kind")),
        fingerprint or _checksum(name, settings) or _text(stated.get("path")),
        tuple(str(part) for part in shared) if isinstance(shared, list) else None,
    )


def _retrieval(settings: Mapping[str, Any]) -> RetrievalRecord:
    path, threshold = _text(settings.get("nsim")), settings.get("threshold")
    return RetrievalRecord(
        subset=_count(settings.get("nsim")) if path is None else _checksum("nsim", settings) or path,
        listed=path is not None,
        threshold=float(threshold) if isinstance(threshold, int | float) else None,
        sentence_encoder=_text(settings.get("sentence_encoder")),
    )


def stated(settings: Mapping[str, Any], group: str, name: str) -> Any:
    """A setting of a run, from the settings of its receipt; None where they do not state it.

    Receipts of version 0.1 have no groups, and hold the setting under its name alone.
    """
    inside = settings.get(group)
    return inside.get(name) if isinstance(inside, dict) else settings.get(name)


def _systems(settings: Mapping[str, Any]) -> Sequence[Any]:
    systems = settings.get("systems", settings.get("rows"))
    return systems if isinstance(systems, list) else ()


def _is_rewarded(settings: Mapping[str, Any]) -> bool:
    reward = settings.get("reward", "unknown")
    return (reward.get("path") if isinstance(reward, dict) else reward) is not None


def context_of(settings: Mapping[str, Any]) -> Context:
    """The context that the settings of a receipt state; a setting that an older receipt leaves out is None."""
    data = _mapping(_mapping(settings.get("provenance")).get("data"))
    root, name, guided = _text(data.get("root")), _text(data.get("name")), settings.get("guided")
    return Context(
        data=name or (PurePath(root).name if root else None),
        named=name is not None,
        skeleton=_text(data.get("skeleton")),
        content=_text(data.get("content")),
        fingerprint=_text(data.get("fingerprint")),
        split=_text(settings.get("split")),
        samples=_count(settings.get("samples")),
        split_size=_count(settings.get("split_size")),
        pool=_count(settings.get("pool")),
        repeats=_count(stated(settings, "measuring", "multimodality_repeats")),
        protocol=_text(stated(settings, "measuring", "protocol")),
        method=_text(settings.get("method")),
        elsewhere="samples" in _systems(settings) or "method" in settings,
        rewarded=_is_rewarded(settings),
        guided=guided if isinstance(guided, bool) else None,
        retrieval=_retrieval(settings),
        judges={str(judge): _judge(str(judge), settings) for judge in _mapping(settings.get("judges"))},
    )
