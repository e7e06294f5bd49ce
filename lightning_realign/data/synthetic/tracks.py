"""The body-level description of a motion, independent of any skeleton: where root, spine, arms and feet are.

Distances are metres on a body with HumanML3D's leg length; they scale with the skeleton's size. Angles are radians. y
is up. At yaw 0 the body faces +z and its left is +x; a positive yaw turns it to the left.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEFT, RIGHT = 0, 1
# By side index: the sign of the x axis on which the side lies.
SIDE_SIGN = np.array([1.0, -1.0])

# Where the ball of a resting foot lies relative to the root, and how far its toes point outwards.
REST_FORWARD, REST_TOE_OUT = 0.09, 0.12


@dataclass(frozen=True)
class Style:
    """The traits of one motion's performer. All values are constant during the motion.

    half_width: lateral distance of the feet from the root. arm_out, arm_bend: how the arms hang. lean: of the torso.
    vigour: factor on amplitudes. lead: the foot that starts walking.
    """

    half_width: float
    arm_out: float
    arm_bend: float
    lean: float
    vigour: float
    lead: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Style:
        """A random performer."""
        return cls(
            half_width=rng.uniform(0.085, 0.105),
            arm_out=rng.uniform(0.10, 0.18),
            arm_bend=rng.uniform(0.20, 0.40),
            lean=rng.uniform(0.00, 0.05),
            vigour=rng.uniform(0.94, 1.06),
            lead=int(rng.integers(2)),
        )


@dataclass
class Tracks:
    """T frames of body-level motion.

    root: [T, 3] x, height above standing, z. turn: [T, 3] yaw, pitch (positive leans forward) and roll of the pelvis.
    spine: [T, 3] twist, pitch and side bend of the chest against the pelvis. head: [T] pitch against the chest.
    arms: [T, 2, 4] per side flexion (0 hangs, pi/2 points forward, pi up), abduction (away from the body), inward
    rotation of the upper arm, and elbow bend. ball: [T, 2, 3] position of the ball of the foot, y from the ground.
    foot: [T, 2, 2] yaw, and pitch (positive lifts the heel).
    """

    root: Array
    turn: Array
    spine: Array
    head: Array
    arms: Array
    ball: Array
    foot: Array

    def __len__(self) -> int:
        return len(self.root)

    @classmethod
    def rest(cls, frames: int, style: Style) -> Tracks:
        """Standing still at the origin, facing +z."""
        tracks = cls(
            root=np.zeros((frames, 3)),
            turn=np.zeros((frames, 3)),
            spine=np.zeros((frames, 3)),
            head=np.zeros(frames),
            arms=np.zeros((frames, 2, 4)),
            ball=np.zeros((frames, 2, 3)),
            foot=np.zeros((frames, 2, 2)),
        )
        tracks.spine[:, 1] = style.lean
        tracks.arms[:] = (0.05, style.arm_out, 0.15, style.arm_bend)
        tracks.ball[..., 0] = SIDE_SIGN * style.half_width
        tracks.ball[..., 2] = REST_FORWARD
        tracks.foot[..., 0] = SIDE_SIGN * REST_TOE_OUT
        return tracks

    def moved(self, x: float, z: float, yaw: float) -> Tracks:
        """The same motion started at another place and heading."""
        cos, sin = np.cos(yaw), np.sin(yaw)

        def place(points: Array) -> Array:
            placed = points.copy()
            placed[..., 0] = x + cos * points[..., 0] + sin * points[..., 2]
            placed[..., 2] = z - sin * points[..., 0] + cos * points[..., 2]
            return placed

        turn, foot = self.turn.copy(), self.foot.copy()
        turn[:, 0] += yaw
        foot[..., 0] += yaw
        return Tracks(place(self.root), turn, self.spine, self.head, self.arms, place(self.ball), foot)


def join(parts: list[Tracks]) -> Tracks:
    """The parts one after the other, each starting where the one before it ended."""
    placed: list[Tracks] = []
    x = z = yaw = 0.0
    for part in parts:
        placed.append(part.moved(x, z, yaw))
        x, z, yaw = placed[-1].root[-1, 0], placed[-1].root[-1, 2], placed[-1].turn[-1, 0]
    return Tracks(*(np.concatenate([getattr(part, field.name) for part in placed]) for field in fields(Tracks)))


def add_sway(tracks: Tracks, fps: float, rng: np.random.Generator) -> None:
    """Add slow random sway to root, torso, head and arms, in place. Feet stay where they are."""
    time = np.arange(len(tracks)) / fps

    def wander(size: tuple[int, ...], amplitude: float) -> Array:
        """Sums of three sinusoids of 0.1 to 0.6 Hz: [T, *size]."""
        frequency = rng.uniform(0.1, 0.6, (3, *size))
        phase = rng.uniform(0, 2 * np.pi, (3, *size))
        angle = 2 * np.pi * np.multiply.outer(time, frequency) + phase
        return np.asarray(amplitude / np.sqrt(3) * np.sin(angle).sum(axis=1))

    tracks.root[:, [0, 2]] += wander((2,), 0.005)
    tracks.turn[:, 1:] += wander((2,), 0.008)
    tracks.spine += wander((3,), 0.012)
    tracks.head += wander((), 0.03)
    tracks.arms[..., :3] += wander((2, 3), 0.03)
    tracks.arms[..., 3] += np.abs(wander((2,), 0.05))


def smoothstep(value: Array | float) -> Array:
    """From 0 at 0 to 1 at 1, with zero velocity and acceleration at both ends."""
    clipped = np.clip(value, 0.0, 1.0)
    return np.asarray(clipped**3 * (10 - 15 * clipped + 6 * clipped**2))


def keyframes(time: Array, keys: list[tuple[float, float]]) -> Array:
    """A smooth curve through (time, value) keys, at rest in each key: [T]."""
    curve = np.full(len(time), keys[0][1])
    for (start, before), (end, after) in pairwise(keys):
        inside = time >= start
        curve[inside] = before + (after - before) * smoothstep((time[inside] - start) / (end - start))
    return curve


def pulse(time: Array, start: float, rise: float, hold: float, fall: float) -> Array:
    """0, smoothly up to 1 for `hold` seconds, and down again: [T]."""
    top, leave = start + rise, start + rise + hold
    return keyframes(time, [(start, 0.0), (top, 1.0), (leave, 1.0), (leave + fall, 0.0)])
