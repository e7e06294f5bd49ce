"""What a motion does, read off its joints by formulas without learned parts, and what each content label asks for.

The labels are those of the Bandai-Namco-Research motion data set (Kobayashi et al., arXiv 2306.08861). All thresholds
lie in gaps between the real motions of its training split; no other split has been used for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightning_realign.motion import Skeleton

Array = NDArray[Any]
Gait = Literal["stand", "walk", "run"]
Heading = Literal["ahead", "back", "left", "right"]
Turn = Literal["left", "right", "none"]

RAISED = -0.3
"""Height of a wrist above the neck, in metres: weak styles raise a hand to -0.15, a hanging one stays below -0.4."""
RAISED_SHARE = 0.1
"""The share of the frames for which a hand is up if it is raised: arms that swing in walking come up briefly."""
TO_AND_FRO = 2.75
"""Path of a raised wrist by its largest distance from where it rose: 2 for up and down, real raising stays
below 2.6 and real waving above 2.9."""
STANDING = 0.25
"""Metres per second: standing people sway with at most 0.12, the slowest walk has 0.38."""
TURNED = (45.0, 135.0)
"""Degrees between which a turn to a side ends; without a turn, less than the first of them."""
AHEAD, BACK = 15.0, 135.0
"""Degrees of the way to the facing: straight walks keep within 12, diagonal ones have 20 to 54, walks back 176."""
END_FRAMES = 5
BOB_FRAMES = 11


@dataclass(frozen=True)
class Action:
    """What a motion does.

    turn: net turn about the y axis in degrees, left is positive. speed: of the pelvis over the floor, in m/s. way:
    where it moves as seen by the person, in degrees, 0 ahead, 90 left. running: above 0 where the legs run, see
    `running_score`. raised: whether the left and the right hand are up. to_and_fro: per hand how far the raised wrist
    goes in all, by its largest distance from where it rose; 0 where the hand is down.
    """

    turn: float
    speed: float
    way: float
    running: float
    raised: tuple[bool, bool]
    to_and_fro: tuple[float, float]

    @property
    def gait(self) -> Gait:
        """Whether it stands, walks or runs."""
        if self.speed < STANDING:
            return "stand"
        return "run" if self.running > 0 else "walk"

    @property
    def heading(self) -> Heading | None:
        """Which way it moves as seen by the person; None between the sides and back."""
        if abs(self.way) <= AHEAD:
            return "ahead"
        if abs(self.way) >= BACK:
            return "back"
        if abs(self.way) > 90 - AHEAD:
            return None
        return "left" if self.way > 0 else "right"

    @property
    def turned(self) -> Turn | None:
        """The side it turns to; None for more than such a turn."""
        least, most = TURNED
        if abs(self.turn) < least:
            return "none"
        if abs(self.turn) > most:
            return None
        return "left" if self.turn > 0 else "right"

    @property
    def waving(self) -> tuple[bool, bool]:
        """Whether the left and the right hand go to and fro while they are up."""
        left, right = (path > TO_AND_FRO for path in self.to_and_fro)
        return left, right


@dataclass(frozen=True)
class Rule:
    """What a content asks for. hands: left, right; None where arms are free. waves: what raised hands do."""

    gait: Gait
    heading: Heading | None = None
    turn: Turn = "none"
    hands: tuple[bool, bool] | None = None
    waves: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """What the rule is about: `hand` and `wave` of gestures, `gait` and perhaps `turn` of locomotion."""
        if self.hands is not None:
            return "hand", "wave"
        return ("gait",) if self.turn == "none" else ("turn", "gait")

    def verdicts(self, action: Action) -> dict[str, bool]:
        """Whether a motion meets the rule, by part."""
        if self.hands is not None:
            stays = action.gait == "stand" and action.turned == "none"
            waving = [wave for wave, named in zip(action.waving, self.hands, strict=True) if named]
            return {"hand": stays and action.raised == self.hands, "wave": waving == [self.waves] * len(waving)}
        moves, turns = action.gait == self.gait and action.heading == self.heading, action.turned == self.turn
        return {"gait": moves and turns} if self.turn == "none" else {"turn": turns, "gait": moves}


def _gestures() -> dict[str, Rule]:
    sides = {"left-hand": (True, False), "right-hand": (False, True), "both-hands": (True, True)}
    verbs = {"raise-up": False, "wave": True}
    return {
        f"{verb}-{side}": Rule("stand", hands=hands, waves=waves)
        for verb, waves in verbs.items()
        for side, hands in sides.items()
    }


RULES: Mapping[str, Rule] = {
    "walk": Rule("walk", "ahead"),
    "walk-back": Rule("walk", "back"),
    "walk-left": Rule("walk", "left"),
    "walk-right": Rule("walk", "right"),
    "walk-turn-left": Rule("walk", "ahead", "left"),
    "walk-turn-right": Rule("walk", "ahead", "right"),
    "run": Rule("run", "ahead"),
    "dash": Rule("run", "ahead"),
    **_gestures(),
}
"""By content. The others have none: their motions differ too much, or their captions leave open what would be asked."""


def content_of(label: str) -> str:
    """The content of a data set's label, which is written `content / style`."""
    return label.split(" / ")[0]


def read_action(joints: Array, skeleton: Skeleton) -> Action | None:
    """What a motion does.

    Args:
        joints: [T, J, 3] in metres, y up.
        skeleton: of the joints, at its frame rate; it needs joints named `neck`, `left_wrist` and `right_wrist`.

    Returns:
        None for a motion that is not finite, or of less than two frames.

    Raises:
        ConfigError: the skeleton has no such joint.
    """
    wrists = skeleton.index("left_wrist"), skeleton.index("right_wrist")
    neck = skeleton.index("neck")
    if len(joints) < 2 or not np.isfinite(joints).all():
        return None
    ahead = facing_directions(joints, skeleton)
    steps = np.diff(joints[:, 0][:, [0, 2]], axis=0) * skeleton.fps
    forward = float((steps * ahead[:-1]).sum(axis=1).mean())
    leftward = float((steps[:, 0] * ahead[:-1, 1] - steps[:, 1] * ahead[:-1, 0]).mean())
    hands = [_hand(joints[:, wrist] - joints[:, neck]) for wrist in wrists]
    speed = float(np.hypot(steps[:, 0], steps[:, 1]).mean())
    return Action(
        turn=net_turn(ahead),
        speed=speed,
        way=math.degrees(math.atan2(leftward, forward)),
        running=running_score(joints, ahead, speed, skeleton),
        raised=(hands[0][0], hands[1][0]),
        to_and_fro=(hands[0][1], hands[1][1]),
    )


def facing_directions(joints: Array, skeleton: Skeleton) -> Array:
    """Unit vectors [T, 2] in (x, z) that poses [T, J, 3] face: square to the line through hips and shoulders."""
    right_hip, left_hip, right_shoulder, left_shoulder = (joints[:, joint] for joint in skeleton.face)
    across = (left_hip - right_hip) + (left_shoulder - right_shoulder)
    ahead = np.stack((-across[:, 2], across[:, 0]), axis=1)
    unit: Array = ahead / np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    return unit


def net_turn(ahead: Array) -> float:
    """Degrees from the first to the last facing of [T, 2], left is positive, each the mean over a few frames."""
    yaw = np.unwrap(np.arctan2(ahead[:, 0], ahead[:, 1]))
    return math.degrees(yaw[-END_FRAMES:].mean() - yaw[:END_FRAMES].mean())


def running_score(joints: Array, ahead: Array, speed: float, skeleton: Skeleton) -> float:
    """Running against walking, above 0 for running: three signs of it, each by its distance from where the gaits part.

    The phase of the pelvis: in walking it is highest when the legs pass each other, over a stiff leg, in running when
    they are spread, in flight (Cavagna et al., 1977). The duty factor, the share of the time for which a foot is on the
    ground, is above one half in walking and below in running (Alexander, 1989). And running is faster. Old people's
    running keeps a foot on the ground, active people's walking is as fast as it: no sign would do by itself.

    Args:
        joints: [T, J, 3] in metres.
        ahead: [T, 2] facing, see `facing_directions`.
        speed: mean speed over the floor, in m/s.
        skeleton: of the joints.
    """
    feet = np.array((skeleton.feet_left, skeleton.feet_right))
    spread = ((joints[:, feet[0, 0]] - joints[:, feet[1, 0]])[:, [0, 2]] * ahead).sum(axis=1)
    phase = _correlation(_detrended(joints[:, 0, 1]), np.abs(spread))
    pace = np.linalg.norm(np.diff(joints[:, feet][..., [0, 2]], axis=0), axis=-1).min(axis=-1) * skeleton.fps
    duty = float((pace < speed / 2).mean())
    return (phase - 0.15) / 0.3 + (0.54 - duty) / 0.06 + (speed - 1.45) / 0.6


def _detrended(heights: Array) -> Array:
    """Heights [T] less their mean over half a second around each."""
    padded = np.pad(heights, BOB_FRAMES // 2, mode="edge")
    less: Array = heights - np.convolve(padded, np.full(BOB_FRAMES, 1 / BOB_FRAMES), "valid")
    return less


def _correlation(first: Array, second: Array) -> float:
    """Of two series [T]; 0 where one is constant."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale > 1e-9 else 0.0


def _hand(wrist: Array) -> tuple[bool, float]:
    """Whether a hand is raised, and how much it goes to and fro then; from its places [T, 3] relative to the neck."""
    if np.quantile(wrist[:, 1], 1 - RAISED_SHARE) <= RAISED:
        return False, 0.0
    padded = np.pad(wrist, ((1, 1), (0, 0)), mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    up = np.flatnonzero(wrist[:, 1] > RAISED)
    stretch = smooth[up[0] : up[-1] + 1]
    reach = float(np.linalg.norm(stretch - stretch[0], axis=1).max())
    path = float(np.linalg.norm(np.diff(stretch, axis=0), axis=1).sum())
    return True, path / max(reach, 1e-9)
