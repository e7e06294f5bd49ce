"""What a test run measures: a method that makes motions, and which systems of it are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, get_args

from torch import Tensor

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.motion import Skeleton
from lightning_realign.settings.measuring import Protocol as CaptionProtocol
from lightning_realign.settings.measuring import SystemName
from lightning_realign.types import MotionTextBatch

# Systems that no method makes: they are the same in every replication of the same captions and crops.
GIVEN = ("real", "reconstruction")


@dataclass(frozen=True)
class Made:
    """A batch of motions, and what they cost.

    features: [B, T, D] in the data set's own units. evaluations: of the network, per motion; None for motions that
    existed before, whose cost is unknown.
    """

    features: Tensor
    evaluations: int | None = None


class Method(Protocol):
    """What makes the motions of a test run. `MeasuringModule` measures whatever implements it.

    Attributes:
        repeats_are_replications: whether repeat k of a caption for MultiModality is the motion of replication k, so
            that the two need not both be made.
    """

    repeats_are_replications: bool

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton of the motions."""

    def prepare(self, data: MotionTextDataModule, captions: Sequence[str]) -> None:
        """Fill caches before the first batch.

        Args:
            data: the data module of the run.
            captions: all texts that motions will be made for.
        """

    def make(self, system: SystemName, batch: MotionTextBatch, replication: int, repeat: bool = False) -> Made:
        """Make a batch's motions.

        Args:
            system: which of the method's systems makes them.
            batch: captions, lengths and ids; its motions are the real ones.
            replication: the number of the replication, or of the repeat of the same captions.
            repeat: whether it is a repeat, for MultiModality.
        """

    def reward(self, features: Tensor, batch: MotionTextBatch) -> Tensor | None:
        """Clean rewards [B] of motions [B, T, D] for the captions of a batch; None without a reward model."""

    def files(self) -> dict[str, str | None]:
        """The checkpoints that the method uses, by their role; None for a role that is not filled."""

    def rewards(self) -> Mapping[str, RewardBundle]:
        """The learned rewards, by their checkpoints; the receipt says what each judge shares with them."""


def chosen_systems(systems: Sequence[SystemName] | None, guided: bool) -> tuple[SystemName, ...]:
    """The systems of a generator that are measured, in the table's order.

    Args:
        systems: those that the user names; None for all, `guided` only where something guides or searches.
        guided: whether something guides or searches.

    Raises:
        ConfigError: an unknown system, none at all, or `guided` without anything that guides or searches.
    """
    allowed: tuple[SystemName, ...] = tuple(name for name in get_args(SystemName) if name != "samples")
    if systems is None:
        return allowed if guided else allowed[:-1]
    unknown = [name for name in systems if name not in allowed]
    if not systems or unknown:
        raise ConfigError(f"measuring systems is {systems}; list one or more of {', '.join(allowed)}")
    if "guided" in systems and not guided:
        raise ConfigError(
            f"measuring systems is {systems}, but mu and eta are 0; set guidance.mu, guidance.eta, guidance.physical "
            "or search.travel.times, or search.candidates or search.particles.count above 1, or drop 'guided'"
        )
    return tuple(name for name in allowed if name in systems)


def replications_of(system: SystemName, protocol: CaptionProtocol, replications: int) -> int:
    """How often a system is measured: once if it is given, with fixed captions and crops; else in each replication."""
    return 1 if system in GIVEN and protocol == "fixed" else replications
