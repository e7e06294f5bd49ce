"""What a synthetic motion can be asked to do: action families, their attributes, and a balanced draw of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from lightning_realign.errors import DataError

Family = Literal[
    "walk", "run", "turn", "jump", "squat", "raise", "wave", "kick", "punch", "bow", "clap", "stand"
]  # fmt: skip
Speed = Literal["slow", "normal", "fast"]

SPLITS = ("train", "val", "test")

# Plateau speed of the root in metres per second, on a body with HumanML3D's leg length. Neighbouring classes are a
# factor of about 1.6 apart, so that the oracle can cut between them at the geometric mean.
WALK_SPEEDS: Mapping[str, Mapping[str, float]] = {
    "forward": {"slow": 0.55, "normal": 0.90, "fast": 1.45},
    "backward": {"slow": 0.40, "normal": 0.65, "fast": 1.05},
    "left": {"slow": 0.36, "normal": 0.58, "fast": 0.93},
    "right": {"slow": 0.36, "normal": 0.58, "fast": 0.93},
}
RUN_SPEEDS: Mapping[str, float] = {"normal": 2.3, "fast": 3.7}

# Each family's share of the motions, in cells of equal weight. Walking has the most variants, so it has the most cells.
_VARIANTS_PER_FAMILY = 12
_FAMILY_WEIGHT: Mapping[str, int] = {"walk": 2}


@dataclass(frozen=True)
class Action:
    """One action and everything its caption promises.

    side: for walk `forward`, `backward`, `left` or `right`; for turn, kick and punch `left` or `right`; for raise and
    wave also `both`; None elsewhere. count: how often (jump, squat, clap), else None. angle: degrees of a turn, else
    None. speed: of walk and run, else None.
    """

    family: Family
    side: str | None = None
    count: int | None = None
    angle: int | None = None
    speed: Speed | None = None


def _variants() -> dict[str, tuple[Action, ...]]:
    """Every action of every family."""
    hands = ("left", "right", "both")
    speeds: tuple[Speed, ...] = ("slow", "normal", "fast")
    run_speeds: tuple[Speed, ...] = ("normal", "fast")
    return {
        "walk": tuple(Action("walk", side, speed=speed) for side in WALK_SPEEDS for speed in speeds),
        "run": tuple(Action("run", speed=speed) for speed in run_speeds),
        "turn": tuple(Action("turn", side, angle=angle) for side in ("left", "right") for angle in (90, 180)),
        "jump": tuple(Action("jump", count=count) for count in (1, 2, 3)),
        "squat": tuple(Action("squat", count=count) for count in (1, 2, 3)),
        "raise": tuple(Action("raise", side) for side in hands),
        "wave": tuple(Action("wave", side) for side in hands),
        "kick": tuple(Action("kick", side) for side in ("left", "right")),
        "punch": tuple(Action("punch", side) for side in ("left", "right")),
        "bow": (Action("bow"),),
        "clap": tuple(Action("clap", count=count) for count in (1, 2, 3)),
        "stand": (Action("stand"),),
    }


VARIANTS = _variants()

# One motion in this many is a sequence of two actions.
_SEQUENCE_EVERY = 6


def _cells(sequence: bool) -> list[Action]:
    """Equally likely actions. Sequences have no standing, and counts up to 2 only, to keep motions short."""
    cells: list[Action] = []
    for family, variants in VARIANTS.items():
        if sequence and family == "stand":
            continue
        usable = [action for action in variants if not sequence or (action.count or 1) <= 2]
        for number in range(_VARIANTS_PER_FAMILY * _FAMILY_WEIGHT.get(family, 1)):
            cells.append(usable[number % len(usable)])
    return cells


def _dealt(seed: int, split: str, deck: int, index: int, cells: list[Action]) -> Action:
    """The index-th card of endless shuffled decks of `cells`. It depends on the arguments alone."""
    round_number, position = divmod(index, len(cells))
    order = np.random.default_rng((seed, SPLITS.index(split), deck, round_number)).permutation(len(cells))
    return cells[int(order[position])]


def draw_actions(seed: int, split: str, index: int) -> tuple[Action, ...]:
    """The actions of motion `index` of a split: one action, or for every sixth motion a sequence of two.

    Actions are dealt from shuffled decks, so that families and sides stay balanced in every split.
    """
    block, place = divmod(index, _SEQUENCE_EVERY)
    singles = _SEQUENCE_EVERY - 1
    if place < singles:
        return (_dealt(seed, split, 0, singles * block + place, _cells(sequence=False)),)
    cells = _cells(sequence=True)
    first = _dealt(seed, split, 1, block, cells)
    second = _dealt(seed, split, 2, block, [action for action in cells if action.family != first.family])
    return first, second


def to_attributes(actions: tuple[Action, ...]) -> dict[str, Any]:
    """The JSON form written to attributes.json."""
    return {"actions": [asdict(action) for action in actions]}


def from_attributes(attributes: Mapping[str, Any]) -> tuple[Action, ...]:
    """Read the form of `to_attributes`.

    Raises:
        DataError: a field is missing or names no known action.
    """
    try:
        actions = tuple(Action(**entry) for entry in attributes["actions"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"attributes are {attributes!r} ({error}), not {{'actions': [{{family, side, count, angle, speed}}]}}; "
            "make the synthetic data set again"
        ) from error
    for action in actions:
        if action not in VARIANTS.get(action.family, ()):
            raise DataError(f"attributes: {action} is no known action; families are {', '.join(VARIANTS)}")
    return actions
