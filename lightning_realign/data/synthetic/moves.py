"""One small function for each action family. Each writes some seconds of motion, from rest to rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lightning_realign.data.synthetic.grammar import RUN_SPEEDS, WALK_SPEEDS, Action
from lightning_realign.data.synthetic.steps import Gait, Path, duration, stride_phase, walk_feet
from lightning_realign.data.synthetic.tracks import (
    LEFT,
    RIGHT,
    SIDE_SIGN,
    Array,
    Style,
    Tracks,
    add_sway,
    join,
    keyframes,
    pulse,
)

Move = Callable[[Action, Style, float, np.random.Generator], Tracks]

_FLEX, _OUT, _INWARD, _BEND = range(4)
_WALK_PERIODS: Mapping[str, float] = {"slow": 0.66, "normal": 0.56, "fast": 0.45}
_SIDES: Mapping[str, tuple[int, ...]] = {"left": (LEFT,), "right": (RIGHT,), "both": (LEFT, RIGHT)}
_GRAVITY = 9.81
_SHORTEST = 2.3  # seconds, so that no motion is shorter than the formats' shortest clips
# From hip to ankle of a standing leg, and from ankle to ball of the foot, metres.
_LEG, _FOOT_UP, _FOOT_FORWARD = 0.81, 0.055, 0.13


def _blank(seconds: float, style: Style, fps: float) -> tuple[Tracks, Array]:
    """Resting tracks of that duration, and their times in seconds."""
    tracks = Tracks.rest(max(round(seconds * fps), 2), style)
    return tracks, np.arange(len(tracks)) / fps


def _arm(tracks: Tracks, side: int, weight: Array, pose: tuple[float, float, float, float]) -> None:
    """Blend one arm, with weights [T], from where it is towards a pose (flexion, abduction, inward rotation, bend)."""
    tracks.arms[:, side] += weight[:, None] * (np.array(pose) - tracks.arms[:, side])


def _swing_arms(tracks: Tracks, phase: Array, envelope: Array, swing: float, bend: float) -> None:
    """Swing the arms against the legs: the right hand is foremost when the left foot lands."""
    for side, sign in ((LEFT, -1.0), (RIGHT, 1.0)):
        tracks.arms[:, side, _FLEX] += envelope * swing * sign * np.cos(phase)
        tracks.arms[:, side, _BEND] += envelope * (bend + 0.4 * swing * sign * np.cos(phase))


def _envelope(time: Array, path: Path, ramp: float) -> Array:
    return pulse(time, path.start, ramp, max(path.end - path.start - 2 * ramp, 0.05), ramp)


def walk(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Walk forward, backward, or sideways."""
    side, pace = action.side or "forward", action.speed or "normal"
    speed = WALK_SPEEDS[side][pace] * rng.uniform(0.96, 1.04)
    heading = {"forward": (0.0, 1.0), "backward": (0.0, -1.0), "left": (1.0, 0.0), "right": (-1.0, 0.0)}[side]
    sideways = side in ("left", "right")
    moving = {"slow": 1.15, "normal": 1.05, "fast": 0.95}[pace] * rng.uniform(2.1, 2.7)
    path = Path.along(0.15, moving, 0.4, (speed * heading[0], speed * heading[1], 0.0))
    period = _WALK_PERIODS[pace] * (0.85 if sideways else 1.0) * rng.uniform(0.97, 1.03)
    heel = {"forward": 0.75, "backward": 0.35}.get(side, 0.2) * min(speed, 1.0)
    # Sideways, the foot on that side leads and the feet stay further apart, so that the legs don't cross.
    lead = _SIDES[side][0] if sideways else style.lead
    gait = Gait(period, 0.75 * period, 0.05, heel, lead, 0.04 if sideways else 0.0)
    tracks, time = _blank(duration(path, gait), style, fps)
    walk_feet(tracks, time, path, gait, style)
    phase, envelope = stride_phase(time, path, gait), _envelope(time, path, 0.4)
    swing = style.vigour * (0.12 if sideways else 0.16 + 0.28 * min(speed, 1.5))
    _swing_arms(tracks, phase, envelope, swing, 0.1)
    tracks.root[:, 1] -= envelope * (0.012 + 0.012 * np.cos(2 * phase))
    tracks.turn[:, 2] += envelope * 0.03 * np.sin(phase)
    tracks.spine[:, 0] += envelope * 0.05 * np.cos(phase) * (0.0 if sideways else 1.0)
    tracks.turn[:, 1] += envelope * 0.05 * speed * heading[1]
    return tracks


def run(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Run forward, with a moment of flight in every step."""
    pace = action.speed or "normal"
    speed = RUN_SPEEDS[pace] * rng.uniform(0.97, 1.03)
    path = Path.along(0.15, rng.uniform(2.1, 2.6), 0.5, (0.0, speed, 0.0))
    period = {"normal": 0.36, "fast": 0.31}[pace] * rng.uniform(0.97, 1.03)
    gait = Gait(period, 1.3 * period, 0.22, 1.0, style.lead)
    tracks, time = _blank(duration(path, gait), style, fps)
    walk_feet(tracks, time, path, gait, style)
    phase, envelope = stride_phase(time, path, gait), _envelope(time, path, 0.5)
    for side in (LEFT, RIGHT):
        _arm(tracks, side, envelope, (0.0, 0.2, 0.2, 1.5))
    _swing_arms(tracks, phase, envelope, style.vigour * 0.55, 0.0)
    # Lowest in mid-stance, a little after landing; highest in flight.
    tracks.root[:, 1] -= envelope * (0.05 + 0.025 * np.cos(2 * (phase - 0.9)))
    tracks.turn[:, 1] += envelope * 0.12
    tracks.spine[:, 1] += envelope * 0.06
    tracks.spine[:, 0] += envelope * 0.07 * np.cos(phase)
    return tracks


def turn(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Turn in place by stepping round."""
    angle = np.deg2rad((action.angle or 90) * rng.uniform(0.95, 1.05))
    sign = 1.0 if action.side == "left" else -1.0
    ramp = 0.35
    moving = ramp + angle / (1.55 * rng.uniform(0.95, 1.05))
    path = Path.along(0.15, moving, ramp, (0.0, 0.0, sign * angle / (moving - ramp)))
    gait = Gait(0.42, 0.34, 0.06, 0.15, _SIDES[action.side or "left"][0])
    tracks, time = _blank(duration(path, gait), style, fps)
    walk_feet(tracks, time, path, gait, style)
    phase, envelope = stride_phase(time, path, gait), _envelope(time, path, ramp)
    _swing_arms(tracks, phase, envelope, 0.08, 0.1)
    tracks.arms[:, :, _OUT] += 0.08 * envelope[:, None]
    tracks.root[:, 1] -= 0.01 * envelope
    return tracks


def jump(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Jump straight up, `count` times, with both feet."""
    count = action.count or 1
    height = 0.30 * style.vigour * rng.uniform(0.92, 1.08)
    flight = 2 * np.sqrt(2 * height / _GRAVITY)
    crouch, absorb = 0.5, 0.5
    cycle = crouch + flight + absorb
    tracks, time = _blank(count * cycle + 0.15, style, fps)
    for repeat in range(count):
        off = repeat * cycle + crouch
        on = off + flight
        # Down, up through the standing height at take-off, and down again after landing.
        depth = keyframes(
            time, [(off - 0.5, 0.0), (off - 0.2, 0.17), (off, 0.0), (on, 0.0), (on + 0.17, 0.15), (on + 0.5, 0.0)]
        )
        air = np.clip((time - off) / flight, 0.0, 1.0)
        rise = 4 * height * air * (1 - air)
        tracks.root[:, 1] += rise - depth
        tracks.root[:, 2] -= 0.15 * depth
        tracks.ball[:, :, 1] += rise[:, None]
        tracks.foot[:, :, 1] += 0.55 * (np.sin(np.pi * air) ** 2)[:, None]
        tracks.turn[:, 1] += 1.6 * depth
        tracks.spine[:, 1] += 0.8 * depth
        reach = keyframes(
            time, [(off - 0.5, 0.0), (off - 0.2, -0.6), (off + 0.05, 0.5), (on + 0.1, 0.2), (on + 0.5, 0.0)]
        )
        tracks.arms[:, :, _FLEX] += style.vigour * reach[:, None]
        tracks.arms[:, :, _BEND] += 0.5 * np.abs(reach)[:, None]
    return tracks


def squat(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Squat down and rise, `count` times, arms forward for balance."""
    count = action.count or 1
    depth = 0.42 * style.vigour * rng.uniform(0.95, 1.05)
    cycle = 1.6 * rng.uniform(0.95, 1.08)
    tracks, time = _blank(count * cycle + 0.1, style, fps)
    for repeat in range(count):
        down = pulse(time, repeat * cycle, 0.44 * cycle, 0.1 * cycle, 0.44 * cycle)
        tracks.root[:, 1] -= depth * down
        tracks.root[:, 2] -= 0.16 * down
        tracks.turn[:, 1] += 0.35 * down
        tracks.spine[:, 1] += 0.15 * down
        tracks.head -= 0.25 * down
        for side in (LEFT, RIGHT):
            _arm(tracks, side, down, (0.75, 0.12, 0.0, 0.9))
    return tracks


def raise_hand(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Raise one or both hands straight overhead, hold, and lower them."""
    up, hold, down = rng.uniform(0.75, 0.95), rng.uniform(0.7, 1.1), rng.uniform(0.75, 0.95)
    tracks, time = _blank(0.1 + up + hold + down + 0.15, style, fps)
    raised = pulse(time, 0.1, up, hold, down)
    midway = 4 * raised * (1 - raised)
    for side in _SIDES[action.side or "both"]:
        _arm(tracks, side, raised, (2.95 + rng.uniform(-0.08, 0.08), 0.12, 0.0, 0.12))
        # Hands pass close to the body, not stretched out in front of it.
        tracks.arms[:, side, _BEND] += 1.9 * midway
    tracks.head -= 0.12 * raised
    if action.side != "both":
        tracks.spine[:, 2] += 0.05 * raised * SIDE_SIGN[_SIDES[action.side or "both"][0]]
    return tracks


def wave(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Wave one or both hands beside the head."""
    swings, frequency = 3, rng.uniform(1.1, 1.25)
    lift = 0.6
    busy = swings / frequency
    tracks, time = _blank(0.1 + 2 * lift + busy + 0.15, style, fps)
    raised = pulse(time, 0.1, lift, busy, lift)
    swing = pulse(time, lift, 0.3, max(busy - 0.4, 0.1), 0.3) * np.sin(2 * np.pi * frequency * (time - 0.1 - lift))
    for side in _SIDES[action.side or "both"]:
        _arm(tracks, side, raised, (0.1, 1.65, -1.5, 1.25))
        tracks.arms[:, side, _BEND] += 0.6 * style.vigour * swing
    return tracks


def kick(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Kick forward with one leg, standing on the other."""
    side = _SIDES[action.side or "left"][0]
    other = 1 - side
    height = rng.uniform(1.15, 1.35) * min(style.vigour, 1.02)
    tracks, time = _blank(2.0, style, fps)
    onto = pulse(time, 0.0, 0.45, 0.95, 0.5)
    tracks.root[:, 0] += 0.8 * SIDE_SIGN[other] * style.half_width * onto
    tracks.root[:, 1] -= 0.02 * onto
    # Angle of the leg about the hip: back, forward and up, and back under the body.
    angle = keyframes(time, [(0.35, 0.0), (0.65, -0.45), (0.98, height), (1.1, height), (1.6, 0.0)])
    bent = keyframes(time, [(0.35, 0.0), (0.65, 1.0), (0.95, 0.4), (1.1, 0.4), (1.35, 0.8), (1.6, 0.0)])
    reach = _LEG * (1.0 - 0.10 * bent)
    pointed = np.where(angle < 0, -0.9 * angle, -0.6 * angle)
    forward, up = _FOOT_FORWARD * np.cos(pointed) - _FOOT_UP * np.sin(pointed), _FOOT_UP * np.cos(pointed)
    tracks.ball[:, side, 2] += reach * np.sin(angle) + forward - _FOOT_FORWARD
    tracks.ball[:, side, 1] += _LEG - reach * np.cos(angle) - (up + _FOOT_FORWARD * np.sin(pointed)) + _FOOT_UP
    tracks.foot[:, side, 1] += pointed
    tracks.turn[:, 1] -= 0.12 * np.maximum(angle, 0.0)
    tracks.spine[:, 1] += 0.10 * np.maximum(angle, 0.0)
    tracks.arms[:, :, _OUT] += 0.35 * onto[:, None]
    tracks.arms[:, side, _FLEX] -= 0.35 * angle
    tracks.arms[:, other, _FLEX] += 0.30 * angle
    return tracks


def punch(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Punch forward with one hand, from a guard at the chest."""
    side = _SIDES[action.side or "left"][0]
    tracks, time = _blank(2.1, style, fps)
    guard = pulse(time, 0.05, 0.5, 0.95, 0.5)
    strike = pulse(time, 0.65, 0.26, rng.uniform(0.16, 0.24), 0.32)
    _arm(tracks, side, guard, (0.35, 0.15, 0.1, 2.1))
    _arm(tracks, 1 - side, guard, (0.15, 0.15, 0.2, 1.3))
    _arm(tracks, side, strike, (1.52, 0.0, 0.0, 0.12))
    tracks.spine[:, 0] -= SIDE_SIGN[side] * 0.16 * strike
    tracks.turn[:, 1] += 0.06 * strike
    tracks.root[:, 1] -= 0.03 * guard
    tracks.root[:, 2] += 0.05 * strike
    return tracks


def bow(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Bow from the hips, hold, and come up."""
    down, hold = rng.uniform(0.8, 1.0), rng.uniform(0.4, 0.8)
    tracks, time = _blank(0.1 + 2 * down + hold + 0.15, style, fps)
    bent = pulse(time, 0.1, down, hold, down)
    depth = rng.uniform(1.2, 1.4)
    tracks.turn[:, 1] += 0.68 * depth * bent
    tracks.spine[:, 1] += 0.32 * depth * bent
    tracks.root[:, 2] -= 0.12 * bent
    tracks.root[:, 1] -= 0.02 * bent
    tracks.arms[:, :, _FLEX] += 0.65 * depth * bent[:, None]
    return tracks


def clap(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Clap `count` times in front of the chest, hands wide apart in between."""
    count = action.count or 1
    lift, cycle = 0.55, 0.76 * rng.uniform(0.96, 1.04)
    tracks, time = _blank(0.1 + 2 * lift + (count + 0.5) * cycle + 0.15, style, fps)
    raised = pulse(time, 0.1, lift, (count + 0.5) * cycle, lift)
    together = np.zeros(len(time))
    for repeat in range(count):
        together += pulse(time, 0.1 + lift + (repeat + 0.25) * cycle, 0.46 * cycle, 0.08 * cycle, 0.46 * cycle)
    for side in (LEFT, RIGHT):
        _arm(tracks, side, raised, (0.35, 0.45, -0.1, 1.35))
        _arm(tracks, side, together * raised, (0.35, 0.0, 0.8, 1.35))
    return tracks


def stand(action: Action, style: Style, fps: float, rng: np.random.Generator) -> Tracks:
    """Stand still."""
    return _blank(rng.uniform(2.2, 4.0), style, fps)[0]


MOVES: Mapping[str, Move] = {
    "walk": walk,
    "run": run,
    "turn": turn,
    "jump": jump,
    "squat": squat,
    "raise": raise_hand,
    "wave": wave,
    "kick": kick,
    "punch": punch,
    "bow": bow,
    "clap": clap,
    "stand": stand,
}


def perform(actions: tuple[Action, ...], fps: float, rng: np.random.Generator) -> Tracks:
    """The actions in order, with a moment of standing before, between and after them."""
    style = Style.draw(rng)
    parts: list[Tracks] = []
    for action in actions:
        parts += [_blank(rng.uniform(0.15, 0.35), style, fps)[0], MOVES[action.family](action, style, fps, rng)]
    shown = sum(len(part) for part in parts) / fps
    parts.append(_blank(max(rng.uniform(0.2, 0.4), _SHORTEST - shown), style, fps)[0])
    tracks = join(parts)
    add_sway(tracks, fps, rng)
    return tracks
