"""The oracle: which actions a motion shows, told from joint positions alone.

It finds events in smoothed curves with hysteresis: an event begins where a curve rises clearly above what other actions
reach, and lasts while the curve stays above a lower level. It names each event with its attributes, and compares the
ordered list with the wanted one. A surplus action is therefore as wrong as a missing one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_realign.data.synthetic.grammar import RUN_SPEEDS, WALK_SPEEDS, Action, Speed, from_attributes
from lightning_realign.data.synthetic.signals import Signals, measure
from lightning_realign.data.synthetic.tracks import Array
from lightning_realign.errors import DataError
from lightning_realign.motion import Skeleton

_SIDES = ("left", "right")
_COUNTED = ("jump", "squat", "clap")


@dataclass(frozen=True)
class Event:
    """An action that a motion shows in frames [start, end)."""

    action: Action
    start: int
    end: int

    def overlap(self, other: Event) -> int:
        """Number of frames shared with another event."""
        return max(min(self.end, other.end) - max(self.start, other.start), 0)


def spans(curve: Array, enter: float, leave: float) -> list[tuple[int, int]]:
    """Frame ranges [start, end) in which a curve stays above `leave` and somewhere reaches `enter`."""
    above = np.concatenate([[False], curve > leave, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    ranges = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(start, end) for start, end in ranges if curve[start:end].max() >= enter]


def _travels(signals: Signals) -> list[Event]:
    """Walks and runs: the root covers ground."""
    events = []
    for start, end in spans(signals.speed, 0.26, 0.17):
        along, aside = signals.velocity[start:end].sum(axis=0) / signals.fps
        if np.hypot(along, aside) < 0.45:
            continue
        if abs(along) >= abs(aside):
            side, curve = ("forward" if along > 0 else "backward"), signals.velocity[start:end, 0] * np.sign(along)
        else:
            side, curve = ("left" if aside > 0 else "right"), signals.velocity[start:end, 1] * np.sign(aside)
        speed = max(float(np.percentile(curve, 70)), 0.01)
        classes = {("walk", name): value for name, value in WALK_SPEEDS[side].items()}
        if side == "forward":
            classes |= {("run", name): value for name, value in RUN_SPEEDS.items()}
        family, pace = min(classes, key=lambda name: abs(np.log(speed / classes[name])))
        events.append(Event(_travel(family, side, pace), start, end))
    return events


def _travel(family: str, side: str, pace: str) -> Action:
    speed: Speed = "slow" if pace == "slow" else "fast" if pace == "fast" else "normal"
    return Action("run", speed=speed) if family == "run" else Action("walk", side, speed=speed)


def _turns(signals: Signals) -> list[Event]:
    """Changes of heading by at least 50 degrees."""
    rate = np.gradient(signals.yaw) * signals.fps
    events = []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for start, end in spans(sign * rate, 0.7, 0.2):
            angle = np.rad2deg(sign * (signals.yaw[end - 1] - signals.yaw[start]))
            if angle >= 50:
                events.append(Event(Action("turn", side, angle=90 if angle < 135 else 180), start, end))
    return events


def _jumps(signals: Signals) -> list[Event]:
    """Both feet well off the ground."""
    return [Event(Action("jump", count=1), *span) for span in spans(signals.airborne, 0.13, 0.06)]


def _squats(signals: Signals) -> list[Event]:
    """The root far below its standing height, other than in running."""
    curve = np.where(signals.speed < 1.6, signals.drop, 0.0)
    return [Event(Action("squat", count=1), *span) for span in spans(curve, 0.27, 0.16)]


def _bows(signals: Signals) -> list[Event]:
    """The torso far forward on standing legs."""
    events = []
    for start, end in spans(signals.incline, np.deg2rad(42), np.deg2rad(25)):
        if signals.drop[start:end].max() < 0.24:
            events.append(Event(Action("bow"), start, end))
    return events


def _reversals(curve: Array, size: float) -> int:
    """How often a curve turns back by at least `size`."""
    count, direction = 0, 0
    low = high = curve[0]
    for value in curve:
        low, high = min(low, value), max(high, value)
        if direction <= 0 and value - low >= size:
            count, direction, high = count + 1, 1, value
        elif direction >= 0 and high - value >= size:
            count, direction, low = count + 1, -1, value
    return max(count - 1, 0)


def _hands_up(signals: Signals) -> list[Event]:
    """Raised or waving hands. Two at once are one event of both hands."""
    found: list[list[Event]] = [[], []]
    for index, side in enumerate(_SIDES):
        for start, end in spans(signals.hand_up[:, index], 0.26, 0.08):
            height = signals.hand_up[start:end, index].max()
            swings = _reversals(signals.hand_out[start:end, index], 0.13)
            if height > 0.76:
                found[index].append(Event(Action("raise", side), start, end))
            elif swings >= 3:
                found[index].append(Event(Action("wave", side), start, end))
    return _paired(found[0], found[1])


def _paired(lefts: list[Event], rights: list[Event]) -> list[Event]:
    """Join left and right events of one family that happen at the same time."""
    events, rest = [], list(rights)
    for left in lefts:
        twin = next(
            (
                right
                for right in rest
                if right.action.family == left.action.family
                and left.overlap(right) > 0.5 * max(left.end - left.start, right.end - right.start)
            ),
            None,
        )
        if twin is None:
            events.append(left)
            continue
        rest.remove(twin)
        both = replace(left.action, side="both")
        events.append(Event(both, min(left.start, twin.start), max(left.end, twin.end)))
    return events + rest


def _punches(signals: Signals) -> list[Event]:
    """A hand thrust forward at shoulder height."""
    events = []
    for index, side in enumerate(_SIDES):
        level = np.abs(signals.hand_up[:, index]) < 0.35
        curve = np.where(level, signals.hand_forward[:, index], 0.0)
        events += [Event(Action("punch", side), *span) for span in spans(curve, 0.85, 0.7)]
    return events


def _kicks(signals: Signals) -> list[Event]:
    """A foot high in front of the body, other than in running."""
    events = []
    for index, side in enumerate(_SIDES):
        curve = np.minimum(signals.foot_forward[:, index] / 0.45, signals.foot_up[:, index] / 0.33)
        curve = np.where(signals.speed < 1.6, curve, 0.0)
        events += [Event(Action("kick", side), *span) for span in spans(curve, 1.0, 0.5)]
    return events


def _claps(signals: Signals) -> list[Event]:
    """Hands that meet in front of the body after they were well apart."""
    ready = (signals.hand_forward.min(axis=1) > 0.3) & (signals.hand_up.min(axis=1) > -0.75)
    ready &= signals.hand_up.max(axis=1) < 0.35
    apart, events = True, []
    close: NDArray[np.bool_] = ready & (signals.hands_apart < 0.26)
    for frame, distance in enumerate(signals.hands_apart):
        if apart and close[frame]:
            events.append(Event(Action("clap", count=1), frame, frame + 1))
            apart = False
        elif distance > 0.40:
            apart = True
    return events


_DETECTORS: tuple[Callable[[Signals], list[Event]], ...] = (
    _travels,
    _turns,
    _jumps,
    _squats,
    _bows,
    _hands_up,
    _punches,
    _kicks,
    _claps,
)


def recognise(joints: Tensor, skeleton: Skeleton) -> tuple[Action, ...]:
    """The actions that a motion shows, in the order of time; standing if it shows none.

    Args:
        joints: [T, J, 3] positions in the skeleton's unit, y up.
        skeleton: the joints' skeleton.

    Raises:
        DataError: the joints have another shape or are not finite.
    """
    if joints.ndim != 3 or joints.shape[1:] != (skeleton.num_joints, 3) or len(joints) < 2:
        raise DataError(
            f"joints have shape {tuple(joints.shape)}; {skeleton.name} needs (frames, {skeleton.num_joints}, 3)"
        )
    points = joints.detach().cpu().double().numpy()
    if not np.isfinite(points).all():
        raise DataError("joints have NaN or infinite coordinates; recover them again from finite features")
    signals = measure(points, skeleton)
    events = sorted(
        (event for find in _DETECTORS for event in find(signals)), key=lambda event: event.start + event.end
    )
    actions: list[Action] = []
    for event in events:
        last = actions[-1] if actions else None
        if last is not None and last.family == event.action.family and last.family in _COUNTED:
            actions[-1] = replace(last, count=(last.count or 0) + 1)
        else:
            actions.append(event.action)
    return tuple(actions) or (Action("stand"),)


def _words(actions: tuple[Action, ...]) -> str:
    def one(action: Action) -> str:
        count = None if action.count is None else f"x{action.count}"
        angle = None if action.angle is None else f"{action.angle} degrees"
        return " ".join(part for part in (action.family, action.side, count, angle, action.speed) if part)

    return ", then ".join(one(action) for action in actions)


def diagnose(joints: Tensor, skeleton: Skeleton, attributes: Mapping[str, Any]) -> str | None:
    """Why a motion does not do what its attributes say; None if it does.

    Args:
        joints: [T, J, 3] positions in the skeleton's unit, y up; nothing else is used.
        skeleton: the joints' skeleton.
        attributes: {"actions": [{"family", "side", "count", "angle", "speed"}, ...]}.

    Raises:
        DataError: joints or attributes are malformed.
    """
    asked, seen = from_attributes(attributes), recognise(joints, skeleton)
    return None if asked == seen else f"asked for {_words(asked)}; saw {_words(seen)}"


def is_right(joints: Tensor, skeleton: Skeleton, attributes: Mapping[str, Any]) -> bool:
    """Whether a motion does all that its attributes say, and nothing else; see `diagnose`."""
    return diagnose(joints, skeleton, attributes) is None
