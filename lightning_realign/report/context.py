"""What a receipt's settings say about the table that its figures belong in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from lightning_realign.errors import DataError


@dataclass(frozen=True)
class JudgeRecord:
    """A judge of a test run.

    Attributes:
        kind: `guo`, `guo_published` or `tmr`; None where the receipt does not say.
        identity: what tells judges of one name apart: the checkpoint's checksum, else its path.
        shared: what it has in common with the reward that guided; None where the receipt does not say.
    """

    kind: str | None = None
    identity: str | None = None
    shared: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Context:
    """Under which circumstances a run's figures came about; None for whatever an older receipt leaves out.

    Attributes:
        data: name of the data set, for an older receipt that of its folder.
        named: whether the receipt names its data set, rather than only its folder.
        skeleton: of the data set.
        fingerprint: of the data set's content.
        split: `val` or `test`.
        protocol: `fixed` or `published`, of captions and crops.
        rewarded: whether a reward took part.
        listed_subset: whether the subset of dissimilar captions (`nsim`) came from a file.
        judges: by their names in the table.
    """

    data: str | None = None
    named: bool = False
    skeleton: str | None = None
    fingerprint: str | None = None
    split: str | None = None
    protocol: str | None = None
    rewarded: bool = True
    listed_subset: bool = False
    judges: Mapping[str, JudgeRecord] = field(default_factory=dict)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _judge(name: str, settings: Mapping[str, Any]) -> JudgeRecord:
    stated = _mapping(_mapping(settings.get("judges")).get(name))
    file = _mapping(_mapping(_mapping(settings.get("provenance")).get("files")).get(name))
    shared = _mapping(settings.get("shared_with_reward")).get(name)
    return JudgeRecord(
        _text(stated.get("kind")),
        _text(file.get("sha256")) or _text(stated.get("path")),
        tuple(str(part) for part in shared) if isinstance(shared, list) else None,
    )


def read_context(path: Path, settings: Any) -> Context:
    """The context that the field `settings` of a receipt states.

    Args:
        path: the receipt, for the message.
        settings: the field's content; None where there is none.

    Raises:
        DataError: it is no JSON object.
    """
    if settings is None:
        return Context()
    if not isinstance(settings, dict):
        raise DataError(f"{path}: field 'settings' is a {type(settings).__name__}, not an object; run the test again")
    data = _mapping(_mapping(settings.get("provenance")).get("data"))
    root, name = _text(data.get("root")), _text(data.get("name"))
    return Context(
        data=name or (PurePath(root).name if root else None),
        named=name is not None,
        skeleton=_text(data.get("skeleton")),
        fingerprint=_text(data.get("fingerprint")),
        split=_text(settings.get("split")),
        protocol=_text(settings.get("protocol")),
        rewarded="reward" not in settings or settings["reward"] is not None,
        listed_subset=isinstance(settings.get("nsim"), str),
        judges={str(judge): _judge(str(judge), settings) for judge in _mapping(settings.get("judges"))},
    )
