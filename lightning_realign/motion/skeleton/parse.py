"""From the fields of a spec to a `Skeleton`, with all fields checked."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_realign.errors import ConfigError
from lightning_realign.motion.skeleton.fields import SpecFields, read_tree
from lightning_realign.motion.skeleton.skeleton import Skeleton

AXES = {
    "0": (0.0, 0.0, 0.0),
    "+x": (1.0, 0.0, 0.0),
    "-x": (-1.0, 0.0, 0.0),
    "+y": (0.0, 1.0, 0.0),
    "-y": (0.0, -1.0, 0.0),
    "+z": (0.0, 0.0, 1.0),
    "-z": (0.0, 0.0, -1.0),
}

_REQUIRED = (
    "unit",
    "fps",
    "min_length",
    "joints",
    "raw_offsets",
    "face",
    "l_idx",
    "feet_right",
    "feet_left",
    "contact_threshold",
    "target_lengths",
)
_OPTIONAL = ("name", "parents", "chains", "published_facing")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FACE = ("right hip", "left hip", "right shoulder", "left shoulder")
# A direction whose length differs from 1 by less is not scaled, so that a spec that is written and read stays the same.
_UNIT_LENGTH = 1e-9


def parse_spec(content: Any, where: str, name: str) -> Skeleton:
    """The skeleton of a spec.

    Args:
        content: what the spec's YAML or JSON holds.
        where: its file, for messages.
        name: the skeleton's name, if the spec has none.

    Raises:
        ConfigError: a field is unknown, missing or wrong; the message names it.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: the skeleton spec has no fields; write one `field: value` a line")
    _check_names(content, where)
    spec = SpecFields(where, content, _joints(content["joints"], where))
    chains, parents = read_tree(spec)
    skeleton = Skeleton(
        name=_name(content.get("name", name), where),
        joints=spec.joints,
        parents=parents,
        chains=chains,
        raw_offsets=_directions(spec),
        face=_four(spec.distinct("face", _FACE)),
        l_idx=_two(spec.distinct("l_idx", ("leg joint", "leg joint"))),
        feet_right=_two(spec.distinct("feet_right", ("ankle", "toe"))),
        feet_left=_two(spec.distinct("feet_left", ("ankle", "toe"))),
        contact_threshold=spec.positive("contact_threshold", "the squared displacement per frame of a planted foot"),
        fps=spec.positive("fps", "the frames per second"),
        unit=spec.unit(),
        target_lengths=_lengths(spec),
        min_length=spec.frames("min_length"),
        published_facing=spec.switch("published_facing"),
    )
    _check_sides(skeleton, spec)
    return skeleton


def _check_names(content: Mapping[Any, Any], where: str) -> None:
    """Check that every field is known, and none is missing."""
    for field in content:
        if field not in (*_REQUIRED, *_OPTIONAL):
            near = difflib.get_close_matches(str(field), (*_REQUIRED, *_OPTIONAL), n=1)
            remedy = f"perhaps {near[0]!r} is meant" if near else f"choose from {', '.join((*_OPTIONAL, *_REQUIRED))}"
            raise ConfigError(f"{where}: unknown field {str(field)!r}; {remedy}")
    for field in _REQUIRED:
        if field not in content:
            raise ConfigError(f"{where}: field {field!r} is missing; add it (docs/skeletons.md has an example)")
    if "parents" not in content and "chains" not in content:
        raise ConfigError(f"{where}: field 'parents' is missing; add it, one parent per joint, or 'chains' instead")


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(f"{where}: name is {value!r}; write letters, digits, '_', '-' and '.' alone")
    return value


def _joints(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise ConfigError(f"{where}: joints is {str(value)[:60]!r}; write a list of names, the root first")
    for name in value:
        if not isinstance(name, str) or not re.fullmatch(r"\S+", name):
            raise ConfigError(f"{where}: joints has the entry {name!r}; write a name without blanks, quoted if need be")
    twice = [name for index, name in enumerate(value) if name in value[:index]]
    if twice:
        raise ConfigError(f"{where}: joints has {twice[0]!r} twice; give every joint a name of its own")
    return tuple(value)


def _directions(spec: SpecFields) -> tuple[tuple[float, float, float], ...]:
    what = "the direction of each joint from its parent at rest, and '0' for the root"
    value = spec.sequence("raw_offsets", len(spec.joints), what)
    found = [_direction(spec, joint, entry) for joint, entry in zip(spec.joints, value, strict=True)]
    if any(found[0]):
        spec.fail("raw_offsets, of the root,", value[0], "write '0'")
    return tuple(found)


def _direction(spec: SpecFields, joint: str, entry: Any) -> tuple[float, float, float]:
    field = f"raw_offsets, of joint {joint!r},"
    axis = "0" if entry == 0 and not isinstance(entry, bool) else entry
    if isinstance(axis, str) and axis in AXES and (axis != "0" or joint == spec.joints[0]):
        return AXES[axis]
    if not isinstance(entry, list) or len(entry) != 3:
        spec.fail(field, entry, "write one of +x, -x, +y, -y, +z, -z, or a vector [x, y, z]")
    x, y, z = (spec.number(field, part) for part in entry)
    length = math.hypot(x, y, z)
    if length == 0 and joint != spec.joints[0]:
        spec.fail(field, entry, "write a vector with a length: where the bone points at rest")
    scale = 1.0 if length == 0 or abs(length - 1) < _UNIT_LENGTH else 1 / length
    # Adding 0 turns -0 into 0.
    return x * scale + 0.0, y * scale + 0.0, z * scale + 0.0


def _lengths(spec: SpecFields) -> tuple[float, ...]:
    value = spec.sequence("target_lengths", len(spec.joints), "the bone length of each joint in `unit`, 0 for the root")
    found = []
    for index, (joint, entry) in enumerate(zip(spec.joints, value, strict=True)):
        field = f"target_lengths, of joint {joint!r},"
        found.append(spec.number(field, entry))
        if index == 0 and found[0] != 0:
            spec.fail(field, entry, "write 0: the root has no bone")
        if index > 0 and found[-1] <= 0:
            spec.fail(field, entry, "write the length of its bone, above 0")
    return tuple(found)


def _four(values: Sequence[int]) -> tuple[int, int, int, int]:
    first, second, third, fourth = values
    return first, second, third, fourth


def _two(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def _check_sides(skeleton: Skeleton, spec: SpecFields) -> None:
    """Check that each foot is below the hip of its side: swapped sides would silently spoil every feature."""
    for field, feet, hip in (
        ("feet_right", skeleton.feet_right, skeleton.face[0]),
        ("feet_left", skeleton.feet_left, skeleton.face[1]),
    ):
        for foot in feet:
            above = foot
            while above > hip:
                above = skeleton.parents[above]
            if above != hip:
                remedy = f"it is not below {spec.joints[hip]!r}, the hip of that side in `face`; correct one of them"
                spec.fail(field, spec.joints[foot], remedy)
