"""Where weights come from, and where features of texts and motions are cached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lightning_realign.errors import ConfigError
from lightning_realign.settings.checks import check_choice

RewardFamily = Literal["own", "realign", "tmr"]
JudgeKind = Literal["guo", "guo_published", "tmr", "tmr_published", "realign_published"]


@dataclass(frozen=True)
class GeneratorSource:
    """The weights of a generator.

    Args:
        path: checkpoint, model folder or `hf://owner/name`.
        family: `own`, a published generator (docs/backbones.md), or the path of a function that loads one of yours.
        statistics: folder of Mean.npy and Std.npy, for published files that do not hold theirs.
    """

    path: str
    family: str = "own"
    statistics: str | None = None


@dataclass(frozen=True)
class RewardSource:
    """The weights of a reward, or of several whose mean is the reward.

    Args:
        path: checkpoint, model folder or `hf://owner/name`; null for no reward.
        family: `own`, or a published reward: `realign` or `tmr` (docs/backbones.md).
        statistics: folder of Mean.npy and Std.npy, for published files that do not hold theirs.
        ensemble: further rewards of the same family; the mean of all guides, ranks candidates and weighs particles.
            The one of `path` alone reads x^c and makes the metric `reward`.

    Raises:
        ConfigError: an unknown family, or an ensemble without a first reward.
    """

    path: str | None = None
    family: RewardFamily = "own"
    statistics: str | None = None
    ensemble: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_choice("reward family", self.family, RewardFamily)
        if self.path is None and self.ensemble:
            raise ConfigError(f"reward path is not set, but ensemble is {self.ensemble}: give the first one as path")

    @property
    def paths(self) -> tuple[str, ...]:
        """All rewards, the first one first; none without a path."""
        return () if self.path is None else (self.path, *self.ensemble)


@dataclass(frozen=True)
class JudgeSource:
    """The weights of a judge, an evaluator network that a test asks.

    Args:
        kind: `guo`, as trained by this project; `guo_published`, with the weights of Guo et al.; `tmr`, a reward model;
            `tmr_published` and `realign_published`, those of TMR and ReAlign.
        path: its checkpoint, `finest.tar`, or TMR's folder.
        statistics: folder of a published judge's statistics.
        word_vectors: folder of the published GloVe files, for `guo_published`.

    Raises:
        ConfigError: an unknown kind.
    """

    kind: JudgeKind
    path: str
    statistics: str | None = None
    word_vectors: str | None = None

    def __post_init__(self) -> None:
        check_choice("judge kind", self.kind, JudgeKind)


@dataclass(frozen=True)
class CacheConfig:
    """Folders of what is computed once; null for the usual ones under `$REALIGN_CACHE` or `~/.cache/lightning_realign`.

    Args:
        text: folder of cached text features.
        index: folder of cached indexes, from which x^c is retrieved.
    """

    text: str | None = None
    index: str | None = None
