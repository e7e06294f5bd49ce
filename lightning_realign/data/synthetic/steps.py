"""Footsteps: feet that stand still on the ground while the root travels or turns above them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightning_realign.data.synthetic.tracks import (
    REST_FORWARD,
    REST_TOE_OUT,
    SIDE_SIGN,
    Array,
    Style,
    Tracks,
)

_FINE = 200.0  # Hz, of the path's table


@dataclass(frozen=True)
class Gait:
    """How feet step.

    period: seconds from one foot's lift-off to the other's. swing: seconds that a foot is in the air (longer than the
    period means flight). lift: height of the ball of the foot at mid-swing, metres. heel: rise of the heel at lift-off,
    radians. lead: the side that steps first. spread: how much further apart than at rest the feet land, metres.
    """

    period: float
    swing: float
    lift: float
    heel: float
    lead: int
    spread: float = 0.0

    @property
    def stance(self) -> float:
        """Seconds that a foot stands between two swings."""
        return 2 * self.period - self.swing


@dataclass(frozen=True)
class Path:
    """Where the root goes: a table of x, z and yaw over time, from `start` to `end` seconds."""

    time: Array
    pose: Array
    start: float
    end: float

    @classmethod
    def along(cls, start: float, moving: float, ramp: float, velocity: tuple[float, float, float]) -> Path:
        """Rest until `start`, then move for `moving` seconds at a plateau velocity (x, z, yaw), eased in and out."""
        time = np.arange(0.0, start + moving + 1.0 / _FINE, 1.0 / _FINE)
        up, down = (time - start) / ramp, (start + moving - time) / ramp
        envelope = 0.5 - 0.5 * np.cos(np.pi * np.clip(np.minimum(up, down), 0.0, 1.0))
        distance = np.cumsum(envelope) / _FINE
        return cls(time, distance[:, None] * np.array(velocity), start, start + moving)

    def at(self, time: Array | float) -> Array:
        """x, z and yaw [..., 3]; before and after the table the path rests."""
        return np.stack([np.interp(time, self.time, self.pose[:, axis]) for axis in range(3)], axis=-1)


def _place(path: Path, time: float, side: int, style: Style, spread: float = 0.0) -> Array:
    """X and z of the ball, and yaw, of a foot that stands under the root's pose at `time`."""
    x, z, yaw = path.at(time)
    if time >= path.end:
        spread = 0.0
    lateral, forward = SIDE_SIGN[side] * (style.half_width + spread), REST_FORWARD
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array(
        [x + cos * lateral + sin * forward, z - sin * lateral + cos * forward, yaw + SIDE_SIGN[side] * REST_TOE_OUT]
    )


def _lift_offs(path: Path, gait: Gait) -> list[tuple[float, int]]:
    """(time, side) of every lift-off. Sides alternate until both feet stand under the resting root."""
    first = path.start - 0.3 * gait.swing
    last = path.end - gait.swing - 0.5 * gait.stance
    count = int(np.ceil((last - first) / gait.period)) + 2
    return [(first + step * gait.period, (gait.lead + step) % 2) for step in range(count)]


def duration(path: Path, gait: Gait) -> float:
    """Seconds until both root and feet rest."""
    return max(path.end, _lift_offs(path, gait)[-1][0] + gait.swing) + 0.05


def _swing(tracks: Tracks, time: Array, side: int, begin: float, gait: Gait, places: tuple[Array, Array]) -> None:
    """Move one foot from one place to the next during [begin, begin + swing], heel rising before and after lift-off."""
    share = (time - begin) / gait.swing
    after = share >= 0.0
    eased = np.clip((share - 0.05) / 0.90, 0.0, 1.0)  # up before forward: no scraping
    eased = eased**2 * (3 - 2 * eased)
    before_place, place = places
    pose = before_place + eased[:, None] * (place - before_place)
    tracks.ball[after, side, 0] = pose[after, 0]
    tracks.ball[after, side, 2] = pose[after, 1]
    tracks.foot[after, side, 0] = pose[after, 2]
    inside = (share > 0.0) & (share < 1.0)
    tracks.ball[inside, side, 1] = gait.lift * np.sin(np.pi * share[inside]) ** 2
    # The heel leaves the ground before the ball does, and is down again when the ball lands.
    lead_in = 0.45
    heel = np.clip((share + lead_in) / (1.0 + lead_in), 0.0, 1.0)
    tracks.foot[:, side, 1] += gait.heel * np.sin(np.pi * heel) ** 2 * 1.6 * np.clip(1.15 - heel, 0.0, 1.0)


def walk_feet(tracks: Tracks, time: Array, path: Path, gait: Gait, style: Style) -> None:
    """Write root track and footsteps along a path, in place."""
    pose = path.at(time)
    tracks.root[:, 0], tracks.root[:, 2], tracks.turn[:, 0] = pose[:, 0], pose[:, 1], pose[:, 2]
    places = [_place(path, 0.0, side, style) for side in (0, 1)]
    for begin, side in _lift_offs(path, gait):
        place = _place(path, begin + gait.swing + 0.5 * gait.stance, side, style, gait.spread)
        _swing(tracks, time, side, begin, gait, (places[side], place))
        places[side] = place


def stride_phase(time: Array, path: Path, gait: Gait) -> Array:
    """The phase in radians: 0 whenever the left foot lands, pi whenever the right one does."""
    landing = path.start - 0.3 * gait.swing + gait.swing + gait.lead * gait.period
    return np.asarray(np.pi * (time - landing) / gait.period)
