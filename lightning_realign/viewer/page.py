"""One HTML file that shows motions: it holds its data, its styles and its scripts, and loads nothing."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import torch

from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.motion.contacts import toe_steps
from lightning_realign.viewer.body import body_plan
from lightning_realign.viewer.motions import ReadMotions, ViewedMotion, groups, motion_files, read_motions
from lightning_realign.viewer.packing import pack

# In the order in which the page runs them: they share one scope.
SCRIPTS = (
    "theme.js",
    "decode.js",
    "pose.js",
    "figure.js",
    "floor.js",
    "cameras.js",
    "chart.js",
    "player.js",
    "gallery.js",
    "controls.js",
    "main.js",
)


def write_page(files: Sequence[Path], out: Path, data: Path | None = None) -> Path:
    """Write a page that shows the motions of files and folders.

    Args:
        files: predictions (.npz), arrays (.npy) of features or joints, and folders of them, see `motion_files`.
        out: the page; replaced when it exists.
        data: the folder of a data set whose oracle judges the motions, see `read_motions`.

    Returns:
        out.

    Raises:
        DataError: a file or a folder that cannot be used; nothing is written.
    """
    write_text_atomic(out, page(read_motions(motion_files(files), data), out.stem))
    return out


def page(read: ReadMotions, title: str) -> str:
    """The text of a page."""
    first = {motion.skeleton: motion for motion in reversed(read.motions)}
    skeletons = list(first)
    content = {
        "bodies": [body_plan(skeleton, motion.metres) for skeleton, motion in first.items()],
        "motions": [_motion(motion, skeletons.index(motion.skeleton)) for motion in read.motions],
        "groups": groups(read.motions),
        "leftOut": [str(path) for path in read.left_out],
    }
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _static("page.css"),
        "DATA": as_json(content),
        "THREE": _static("three.min.js"),
        "SCRIPT": "\n".join(_static(name) for name in SCRIPTS),
    }
    pieces = re.split(r"@@([A-Z]+)@@", _static("page.html"))
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def as_json(content: Any) -> str:
    """JSON that can stand in a script element: no text in it ends the element or starts a comment."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _static(name: str) -> str:
    return (package_files("lightning_realign.viewer") / "static" / name).read_text(encoding="utf-8")


def _motion(motion: ViewedMotion, body: int) -> dict[str, Any]:
    verdict = motion.verdict
    return {
        "name": motion.name,
        "body": body,
        "system": motion.system,
        "caption": motion.caption,
        "verdict": None if verdict is None else {"text": verdict.text, "right": verdict.right},
        "fps": motion.fps,
        "frames": len(motion.metres),
        "joints": pack(motion.metres),
        "toes": _toes(motion),
        "rewards": [reward if math.isfinite(reward) else None for reward in motion.rewards],
        "trace": [pack(step) for step in motion.trace],
    }


def _toes(motion: ViewedMotion) -> list[str]:
    """A digit for the left and the right toe and each step from frame to frame: in the air 0, standing 1, sliding 2."""
    if len(motion.metres) < 2:
        return ["", ""]
    steps = toe_steps(torch.from_numpy(motion.metres).double(), motion.skeleton)
    states = steps.contact.int() + steps.sliding.int()
    return ["".join(str(state) for state in toe) for toe in states.tolist()]
