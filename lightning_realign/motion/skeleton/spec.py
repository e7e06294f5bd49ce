"""Skeletons as data: the shipped YAML specs in `builtin/`, users' own specs, and references to skeletons in files.

A spec has the fields of `Skeleton`. Joints may be named or numbered, `parents` follow from `chains` or the other way
round, and rest directions are axes (`+x`, `-y`, ...) or vectors [x, y, z].

Checkpoints and predictions hold a *reference* to their skeleton. For a shipped skeleton, it is the name. For a user's
own, it is the whole spec as a line of JSON, so that nobody needs the file that it came from.
"""

from __future__ import annotations

import functools
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.motion.skeleton.parse import AXES, parse_spec
from lightning_realign.motion.skeleton.skeleton import Skeleton


@functools.cache
def skeleton_names() -> tuple[str, ...]:
    """The names of the shipped skeletons."""
    folder = resources.files(__package__) / "builtin"
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")))


def load_skeleton(name: str) -> Skeleton:
    """The skeleton of a feature format.

    Args:
        name: "humanml3d" (22 joints, 263-d) or "kit" (21 joints, 251-d), the path of a user's own spec in YAML, or a
            reference.

    Raises:
        ConfigError: there is no such skeleton, or its spec has a mistake: file, field, value, remedy.

    >>> load_skeleton("humanml3d").num_features, load_skeleton("kit").num_features
    (263, 251)
    """
    if name in skeleton_names() or _is_inline(name):
        return skeleton_of_reference(name)
    path = Path(name)
    if path.suffix.lower() not in (".yaml", ".yml"):
        names = ", ".join(skeleton_names())
        raise ConfigError(f"skeleton is {name!r}; choose one of {names}, or give the path of a YAML file")
    return read_skeleton(path)


def read_skeleton(path: Path) -> Skeleton:
    """A user's own skeleton from its YAML file. Without a field `name`, it has the file's name.

    Raises:
        ConfigError: the file is missing or has a mistake: file, field, value, remedy.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the skeleton spec is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: the skeleton spec cannot be read ({error.strerror}); check the path") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise ConfigError(f"{path}: the skeleton spec is no YAML{line}; write one `field: value` a line") from None
    return _own(content, str(path), path.stem)


def skeleton_reference(skeleton: Skeleton) -> str:
    """The reference to a skeleton that files store: its name if it is shipped, else its whole spec."""
    if skeleton.name in skeleton_names() and skeleton == skeleton_of_reference(skeleton.name):
        return skeleton.name
    return json.dumps(_fields(skeleton), separators=(",", ":"))


@functools.cache
def skeleton_of_reference(reference: str) -> Skeleton:
    """The skeleton of a reference. No file of the user's is read.

    Raises:
        ConfigError: no skeleton of that name is shipped, or the spec has a mistake.
    """
    if reference in skeleton_names():
        text = (resources.files(__package__) / "builtin" / f"{reference}.yaml").read_text(encoding="utf-8")
        return parse_spec(yaml.safe_load(text), f"{reference}.yaml", reference)
    if not _is_inline(reference):
        raise ConfigError(f"skeleton is {reference!r}, which is not known; choose one of {', '.join(skeleton_names())}")
    try:
        content = json.loads(reference)
    except (json.JSONDecodeError, RecursionError):
        raise ConfigError(f"skeleton {reference[:40]!r}... is no valid spec; write the file again") from None
    return _own(content, "skeleton", "")


def skeleton_label(reference: str) -> str:
    """What messages call the skeleton of a reference: its name, and for a user's own also a digest of its spec.

    >>> skeleton_label("humanml3d")
    'humanml3d'
    """
    if not _is_inline(reference):
        return reference
    return f"{skeleton_of_reference(reference).name}#{hashlib.sha256(reference.encode()).hexdigest()[:8]}"


def require_same_skeleton(
    who: str, found: Skeleton | str, whose: str, expected: Skeleton | str, remedy: str = "use those of one skeleton"
) -> None:
    """Refuse a checkpoint, reward, judge or data set of another skeleton than the one expected.

    Args:
        who: what has the skeleton `found`, as the message calls it, with its file.
        found: its skeleton, or a reference.
        whose: what has the skeleton `expected`, as the message calls it.
        expected: its skeleton, or a reference.
        remedy: what to do.

    Raises:
        FeatureSpecError: the skeletons differ.

    >>> require_same_skeleton("last.ckpt", "kit", "the data set", "kit")
    """
    has, needs = (one if isinstance(one, str) else skeleton_reference(one) for one in (found, expected))
    if has != needs:
        raise FeatureSpecError(
            f"{who} is for skeleton {skeleton_label(has)!r}, {whose} has {skeleton_label(needs)!r}: {remedy}"
        )


def skeleton_yaml(skeleton: Skeleton) -> str:
    """A skeleton's spec as YAML text, which `read_skeleton` reads."""
    return yaml.safe_dump(_fields(skeleton), sort_keys=False, width=120, default_flow_style=None)


def _is_inline(name: str) -> bool:
    return name.startswith("{")


def _own(content: Any, where: str, name: str) -> Skeleton:
    skeleton = parse_spec(content, where, name)
    if skeleton.name in skeleton_names():
        raise ConfigError(f"{where}: name is {skeleton.name!r}, that of a skeleton shipped; choose another name")
    return skeleton


def _fields(skeleton: Skeleton) -> dict[str, Any]:
    """A spec of primitive values. Two skeletons have the same spec only if they are equal."""
    axes = {direction: axis for axis, direction in AXES.items()}
    return {
        "name": skeleton.name,
        "unit": skeleton.unit,
        "fps": skeleton.fps,
        "min_length": skeleton.min_length,
        "joints": list(skeleton.joints),
        "chains": [list(chain) for chain in skeleton.chains],
        "raw_offsets": [axes.get(direction, list(direction)) for direction in skeleton.raw_offsets],
        "face": list(skeleton.face),
        "l_idx": list(skeleton.l_idx),
        "feet_right": list(skeleton.feet_right),
        "feet_left": list(skeleton.feet_left),
        "contact_threshold": skeleton.contact_threshold,
        "target_lengths": list(skeleton.target_lengths),
        "published_facing": skeleton.published_facing,
    }
