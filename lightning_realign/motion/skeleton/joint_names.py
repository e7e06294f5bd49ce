"""Left and right in the names of joints: `left_hip`, `LeftHip`, `L_Hip`, `hip.l`."""

from __future__ import annotations

import re
from typing import Literal

Side = Literal["left", "right", "middle"]

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def name_parts(joint: str) -> tuple[str, ...]:
    """The words of a joint's name in lower case.

    >>> name_parts("LeftHip"), name_parts("hip.l")
    (('left', 'hip'), ('hip', 'l'))
    """
    return tuple(part.lower() for part in _PART.findall(joint))


def swap_sides(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a joint's name with left and right swapped."""
    return tuple(_SIDES.get(part, part) for part in parts)


def joint_side(joint: str) -> Side:
    """The side of the body that a joint is on, by its name.

    >>> joint_side("left_hip"), joint_side("RightHip"), joint_side("head")
    ('left', 'right', 'middle')
    """
    found = {part[0] for part in name_parts(joint) if part in _SIDES}
    if len(found) != 1:
        return "middle"
    return "left" if found == {"l"} else "right"
