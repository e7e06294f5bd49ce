"""Reading BVH files: joint names, hierarchy, joint positions in every frame, and the frame time.

bvhio reads the hierarchy. NumPy reads the rows of numbers, and positions are computed in float64. bvhio itself waits
for ever if a file is cut short, accepts rows of any width, and makes an object of every joint in every frame, which
takes about six times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bvhio
import numpy as np
import roma
import torch
from numpy.typing import NDArray

from lightning_realign.errors import DataError

_POSITIONS = ("Xposition", "Yposition", "Zposition")
_ROTATIONS = ("Xrotation", "Yrotation", "Zrotation")


@dataclass(frozen=True)
class BvhMotion:
    """A motion of T frames of J joints, in the file's own unit and axes.

    joints: J names, parents before their children. parents: J indices, -1 for the root. positions: [T, J, 3].
    rest: joint positions [J, 3] with all rotations at zero. frame_time: seconds per frame.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    positions: NDArray[np.float64]
    rest: NDArray[np.float64]
    frame_time: float

    @property
    def fps(self) -> float:
        """Frames per second: a whole number if the frame time is only a rounded one (0.0333333 gives 30)."""
        rate = 1.0 / self.frame_time
        whole = round(rate)
        return float(whole) if whole and abs(rate - whole) < 1e-4 * rate else rate


def read_bvh(path: Path) -> BvhMotion:
    """Read a BVH file. A joint's position channels replace its offset, as in bvhio and Blender.

    Raises:
        DataError: the file is missing, is no BVH file, is cut short, or has entries that are not finite numbers.
    """
    lines = _numbers_after_hierarchy(path)
    try:
        container = bvhio.readAsBvh(str(path), loadKeyFrames=False)
    except (SyntaxError, IndexError, ValueError, RecursionError) as error:
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise DataError(f"{path}: not a BVH file ({reason.splitlines()[0][:80]}); export it again") from None
    layout = [(joint, depth) for joint, _, depth in container.Root.layout()]
    names, parents, channels = _hierarchy(path, layout)
    frames = int(container.FrameCount)
    if not (np.isfinite(container.FrameTime) and container.FrameTime > 0):
        raise DataError(f"{path}: Frame Time is {container.FrameTime}; write the seconds per frame")
    values = _values(path, lines, frames, sum(map(len, channels)))
    offsets = np.array([list(joint.Offset) for joint, _ in layout], dtype=np.float64)
    rest = offsets.copy()
    for joint, parent in enumerate(parents):
        rest[joint] += rest[parent] if parent >= 0 else 0.0
    return BvhMotion(names, parents, _positions(values, parents, offsets, channels), rest, float(container.FrameTime))


def _numbers_after_hierarchy(path: Path) -> list[str]:
    """The lines of numbers. Files on which bvhio would wait for ever are refused."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: the BVH file is missing; check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the BVH file is not UTF-8 text (byte {error.start}); export it again") from None
    except OSError as error:
        raise DataError(f"{path}: the BVH file cannot be read ({error.strerror}); check the file") from None
    if text.startswith("\ufeff"):
        raise DataError(f"{path}: the BVH file starts with a byte-order mark; save it as UTF-8 without one")
    lines = [line for line in text.splitlines() if line.strip()]
    start = next((number for number, line in enumerate(lines) if line.strip() == "MOTION"), None)
    if start is None or len(lines) < start + 3:
        raise DataError(f"{path}: no MOTION section with 'Frames:' and 'Frame Time:'; the file is cut short")
    return lines[start + 3 :]


def _hierarchy(path: Path, layout: list[tuple[Any, int]]) -> tuple[tuple[str, ...], tuple[int, ...], list[list[str]]]:
    """Names, parents and channels of the joints, in the order of the file."""
    names = tuple(str(joint.Name) for joint, _ in layout)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: joint {twice!r} occurs twice; give every joint a name of its own")
    parents: list[int] = []
    for index, (_, depth) in enumerate(layout):
        parents.append(max((before for before in range(index) if layout[before][1] == depth - 1), default=-1))
    channels = [list(joint.Channels) for joint, _ in layout]
    for name, own in zip(names, channels, strict=True):
        unknown = [channel for channel in own if channel not in _POSITIONS + _ROTATIONS]
        if unknown or len(set(own)) != len(own):
            raise DataError(
                f"{path}: joint {name!r} has channels {' '.join(own)}; each may be one of "
                f"{', '.join(_POSITIONS + _ROTATIONS)}, once"
            )
    return names, tuple(parents), channels


def _values(path: Path, lines: list[str], frames: int, width: int) -> NDArray[np.float64]:
    """The channels' values [T, C]."""
    if frames < 1 or len(lines) != frames:
        remedy = "write the right number" if len(lines) > frames else "the file is cut short"
        raise DataError(f"{path}: {len(lines)} rows of numbers for 'Frames: {frames}'; {remedy}")
    rows = [line.split() for line in lines]
    for number, row in enumerate(rows):
        if len(row) != width:
            raise DataError(f"{path}: frame {number} has {len(row)} numbers for {width} channels; export it again")
    try:
        values = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path}: a frame holds what is no number ({str(error)[:60]}); export it again") from None
    if not np.isfinite(values).all():
        frame = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(f"{path}: frame {frame} has NaN or infinite numbers; repair the motion")
    return values


def _positions(
    values: NDArray[np.float64], parents: tuple[int, ...], offsets: NDArray[np.float64], channels: list[list[str]]
) -> NDArray[np.float64]:
    """Forward kinematics: joint positions [T, J, 3]."""
    local, moves = _local_poses(values, offsets, channels)
    positions = moves.copy()
    turned = local.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            turned[:, joint] = turned[:, parent] @ local[:, joint]
            positions[:, joint] = positions[:, parent] + (turned[:, parent] @ moves[:, joint, :, None])[..., 0]
    return positions


def _local_poses(
    values: NDArray[np.float64], offsets: NDArray[np.float64], channels: list[list[str]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotations [T, J, 3, 3] and translations [T, J, 3] relative to the parents, channels in the file's order."""
    moves = np.broadcast_to(offsets, (len(values), *offsets.shape)).copy()
    rotations = np.broadcast_to(np.eye(3), (*moves.shape, 3)).copy()
    # Joints of one rotation order are converted together: their matrices take most of the time.
    orders: dict[str, list[tuple[int, list[int]]]] = {}
    column = 0
    for joint, own in enumerate(channels):
        turns = []
        for channel in own:
            if channel in _POSITIONS:
                moves[:, joint, _POSITIONS.index(channel)] = values[:, column]
            else:
                turns.append(column)
            column += 1
        order = "".join(channel[0] for channel in own if channel in _ROTATIONS)
        orders.setdefault(order, []).append((joint, turns))
    for order, members in orders.items():
        if order:
            angles = torch.from_numpy(values[:, [turns for _, turns in members]])
            rotations[:, [joint for joint, _ in members]] = roma.euler_to_rotmat(order, angles, degrees=True).numpy()
    return rotations, moves
