"""The guidance that was measured to suit a reward, as the plain values of its entry's field `guidance`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.settings.guidance import FilledGuidance, GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig

FIELD = "guidance"
_REMEDY = "correct it there, or write the folder again with `export-model`"


@dataclass(frozen=True)
class SuitedGuidance:
    """The guidance that suits a reward.

    guidance: its settings; those that were not measured are open. steps: number of sampling steps it was measured with;
    None where that is not known.
    """

    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no folder can remember.

        Raises:
            ConfigError: a scale or location without mu, a part that is not of this project, or no number of steps.
        """
        self.guidance.require_mu()
        SamplingConfig(steps=self.steps)
        said = self.guidance.said
        for name in (said.get("scale", "score"), said.get("location", "x0"), *said.get("physical", {})):
            # A name with dots would be imported, and a file never decides what is run.
            if not name.isidentifier():
                raise ConfigError(f"{name!r} is a part of your own, which a folder cannot remember; set it in each run")

    @property
    def values(self) -> dict[str, Any]:
        """Its plain values; empty where nothing was measured."""
        return {**self.guidance.said, **({} if self.steps is None else {"steps": self.steps})}


def read_guidance(spec: Mapping[str, Any], where: str) -> SuitedGuidance:
    """The guidance in an entry; open where the entry has none.

    Args:
        spec: the entry.
        where: what messages call its file.

    Raises:
        CheckpointError: a field that is no setting of guidance, or has a value of another kind or out of range.
    """
    values = spec.get(FIELD, {})
    if not isinstance(values, dict):
        raise CheckpointError(f"{where}: field {FIELD!r} is {str(values)[:60]!r}, expected its settings: {_REMEDY}")
    kinds = {name: type(value) for name, value in FilledGuidance().said.items()} | {"steps": int}
    for name, value in values.items():
        if name not in kinds:
            raise CheckpointError(f"{where}: field '{FIELD}.{name}' is no setting of guidance: {_REMEDY}")
        if not _is(value, kinds[name]):
            wanted = {float: "a number", int: "an integer", str: "a name", dict: "numbers by name"}[kinds[name]]
            raise CheckpointError(
                f"{where}: field '{FIELD}.{name}' is {str(value)[:60]!r}, expected {wanted}: {_REMEDY}"
            )
    settings = {name: value for name, value in values.items() if name != "steps"}
    try:
        return SuitedGuidance(GuidanceConfig(**settings), values.get("steps"))
    except ConfigError as error:
        raise CheckpointError(f"{where}: field {FIELD!r}: {error}: {_REMEDY}") from None


def _is(value: Any, kind: type) -> bool:
    if kind is dict:
        return (
            isinstance(value, dict)
            and all(isinstance(name, str) for name in value)
            and all(_is(weight, float) for weight in value.values())
        )
    return isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
