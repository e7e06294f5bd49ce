"""What can be wrong with one motion or one caption file: the checks behind `data doctor`.

Lengths and speeds are measured in legs (the two bones that set a skeleton's scale), so that they hold in any unit. The
limits are far outside the extremes of 4,263 checked motions (captured and procedural), which stand in brackets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_realign.data.formats import Caption, parse_caption_line
from lightning_realign.errors import DataError
from lightning_realign.files.reading import load_array
from lightning_realign.motion import Skeleton, recover_joints

Severity = Literal["error", "warning", "note"]

# Root speed between two frames, in legs per second (the fastest: 6.5).
JUMP_SPEED = 12.0
# How far, in legs, a clip's lowest point may be above or below the floor (the farthest: 0.004).
FLOOR_TOLERANCE = 0.1
# A clip is a still if no joint gets farther than this many legs from its start (the stillest: 0.027).
FROZEN_DISTANCE = 0.005
# How far, in legs, the toes must be before the ankles on average (the least: -0.016; swapped sides give about -0.14).
TOES_BEHIND = -0.05
# By how many seconds the part that a caption describes may exceed its clip.
TAG_SLACK = 1.0


@dataclass(frozen=True)
class Problem:
    """One finding about one motion. The report groups findings by kind, and shows the first one's detail."""

    severity: Severity
    kind: str
    detail: str


def check_file(path: Path, skeleton: Skeleton) -> tuple[NDArray[np.float32] | None, Problem | None]:
    """A motion's features (None if they cannot be used) and what is wrong with the file."""
    try:
        array = load_array(path, "motion")
    except DataError as error:
        return None, Problem("error", "unreadable motion", str(error))
    if array.ndim != 2 or array.shape[1] != skeleton.num_features or len(array) == 0:
        return None, Problem("error", "wrong shape", f"{array.shape}, not (frames, {skeleton.num_features})")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        motion = array.astype(np.float32)
    bad = np.asarray(~np.isfinite(motion).all(axis=1))
    if bad.any():
        detail = f"in {bad.sum()} of {len(bad)} frames, first in frame {np.argmax(bad)}"
        return None, Problem("error", "NaN or infinite features", detail)
    if array.dtype not in (np.float32, np.float64):
        return motion, Problem("warning", "wrong type", f"{array.dtype}, not float32")
    return motion, None


def check_motion(motion: NDArray[np.float32], skeleton: Skeleton, fps: float) -> Iterator[Problem]:
    """What looks wrong in readable features [T, D]."""
    leg = sum(skeleton.target_lengths[joint] for joint in skeleton.l_idx)
    joints = recover_joints(torch.from_numpy(motion).double(), skeleton).numpy() / leg
    steps = np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=-1) * fps
    if len(steps) and steps.max() > JUMP_SPEED:
        yield Problem(
            "warning", "root jumps", f"{steps.max() / fps:.2g} leg lengths from frame {steps.argmax()} to the next"
        )
    lowest = float(joints[..., 1].min())
    if lowest > FLOOR_TOLERANCE:
        yield Problem("warning", "floating", f"never nearer to the floor than {lowest:.2g} leg lengths")
    elif lowest < -FLOOR_TOLERANCE:
        yield Problem("warning", "sunken", f"{-lowest:.2g} leg lengths below the floor")
    if len(joints) > 1 and np.abs(joints - joints[:1]).max() < FROZEN_DISTANCE:
        yield Problem("warning", "frozen", f"nothing moves in {len(joints)} frames")
    yield from _check_sides(motion, skeleton, leg)


def _check_sides(motion: NDArray[np.float32], skeleton: Skeleton, leg: float) -> Iterator[Problem]:
    """Check that left is +x, seen from the root, which faces +z, and that the toes are before the ankles.

    If sides were swapped in the features, joints are on the wrong sides. If they were swapped before the features were
    extracted, the facing direction is turned round: the sides look right, but the toes point backwards.
    """
    places = motion[:, dict(skeleton.blocks)["positions"]].reshape(len(motion), -1, 3).mean(axis=0) / leg
    right_hip, left_hip, right_shoulder, left_shoulder = (places[joint - 1] for joint in skeleton.face)
    hips, shoulders = left_hip[0] - right_hip[0], left_shoulder[0] - right_shoulder[0]
    toes = np.mean([places[toe - 1] - places[ankle - 1] for ankle, toe in (skeleton.feet_left, skeleton.feet_right)], 0)
    if hips < 0 and shoulders < 0:
        yield Problem("warning", "left and right swapped", "hips and shoulders lie on the wrong sides")
    elif hips < 0 or shoulders < 0:
        yield Problem("warning", "left and right swapped", f"{'hips' if hips < 0 else 'shoulders'} on the wrong sides")
    elif toes[2] < TOES_BEHIND:
        yield Problem("warning", "left and right swapped", "toes point backwards, so joints were swapped on extraction")


def check_length(frames: int, least: int, limit: int) -> Problem | None:
    """The note that a motion is outside the lengths that the loaders use; None if it is not."""
    if frames < least:
        return Problem("note", "too short", f"{frames} frames, the minimum is {least}; loaders leave it out")
    if frames >= limit:
        return Problem("note", "too long", f"{frames} frames, the limit is below {limit}; loaders leave it out")
    return None


def check_tags(captions: Sequence[Caption], frames: int, fps: float) -> Problem | None:
    """The warning that a caption's start or end is outside its clip, as frames would be; None if all are inside."""
    seconds = frames / fps
    for caption in captions:
        if caption.is_whole:
            continue
        where = f"{caption.start:g} to {caption.end:g} s of a clip of {seconds:.1f} s: {caption.text[:60]!r}"
        if caption.end > seconds + TAG_SLACK or caption.start >= min(caption.end, seconds):
            return Problem("warning", "tags beyond the clip", where)
    return None


def check_captions(path: Path) -> tuple[list[Caption], list[Problem]]:
    """The usable captions of a file, and what is wrong with the file (each kind once)."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem("error", "unreadable captions", f"{path}: {error}")]
    captions: list[Caption] = []
    problems: dict[str, Problem] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            captions.append(parse_caption_line(line, path, number))
        except DataError as error:
            fields = line.strip().rsplit("#", 3)
            untagged = len(fields) == 4 and bool(fields[0].strip()) and not fields[1].split()
            kind = "captions without tokens" if untagged else "malformed captions"
            problems.setdefault(kind, Problem("error", kind, str(error)))
    if not captions and not problems:
        problems["empty"] = Problem("error", "no captions", f"{path} is empty")
    texts = [(caption.text, caption.start, caption.end) for caption in captions]
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)[0]
        problems["twice"] = Problem("note", "duplicate captions", f"{twice[:60]!r} is there twice")
    return captions, list(problems.values())
