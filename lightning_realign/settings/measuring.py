"""Settings of measuring: which systems, how often, and of what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_realign.settings.checks import check_choice, check_least

Protocol = Literal["fixed", "published"]
SystemName = Literal["real", "reconstruction", "unguided", "guided", "samples"]
# MultiModality compares pairs of this many motions of a caption.
MULTIMODALITY_PAIRS = 10


@dataclass(frozen=True)
class MeasuringConfig:
    """What `validate` and `test` measure.

    Args:
        replications: independent repetitions of every motion that is made; the field has 20.
        protocol: `fixed`, always a motion's first caption and the same crop; `published`, a random caption and crop of
            every motion in each replication, as published evaluations take them.
        systems: what is measured; null for all, `guided` only where something guides or searches.
        multimodality_captions: captions that judges measure MultiModality on; the field has 100, 0 leaves it out.
        multimodality_repeats: motions of each of those captions; the field has 30.
        seed: of the choice of those captions.

    Raises:
        ConfigError: a setting out of range.
    """

    replications: int = 20
    protocol: Protocol = "fixed"
    systems: list[SystemName] | None = None
    multimodality_captions: int = 100
    multimodality_repeats: int = 30
    seed: int = 1234

    def __post_init__(self) -> None:
        check_least("measuring replications", self.replications, 1)
        check_least("measuring multimodality_captions", self.multimodality_captions, 0)
        fewest = MULTIMODALITY_PAIRS if self.multimodality_captions else 0
        check_least("measuring multimodality_repeats", self.multimodality_repeats, fewest)
        check_choice("measuring protocol", self.protocol, Protocol)
