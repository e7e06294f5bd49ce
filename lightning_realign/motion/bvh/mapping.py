"""From the joints of a BVH file to those of a skeleton: name mappings, units, the up axis, and the frame rate.

A mapping is a YAML file with the fields `skeleton`, `joints` (for each joint of the skeleton a name, or several names
whose mean is taken), and optionally `unit` (metres per unit), one more unit to try. `motion/bvh/mappings/` holds the
shipped ones.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import yaml
from numpy.typing import NDArray

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion.bvh.read import BvhMotion
from lightning_realign.motion.skeleton.joint_names import joint_side
from lightning_realign.motion.skeleton.skeleton import Skeleton
from lightning_realign.motion.skeleton.spec import load_skeleton

UpAxis = Literal["x", "y", "z", "-x", "-y", "-z"]
UNITS = {"metre": 1.0, "centimetre": 0.01, "millimetre": 0.001, "inch": 0.0254}
# Hip to ankle of an adult in metres (Winter's proportions at 1.70 m), and the factor by which a body may differ. It is
# less than half the step from centimetres to inches, so that no two units fit.
_LEG = 0.83
_LEG_FACTOR = 1.58
# Cosine to an axis above which a direction counts as that axis.
_ALIGNED = 0.8
_PREFIXES = ("mixamorig", "mavg", "favg")


@dataclass(frozen=True)
class JointMapping:
    """Where the J joints of a skeleton come from.

    name: of the mapping. skeleton: the target. sources: for each joint, the names whose mean it is. unit: metres per
    unit; None if unknown.
    """

    name: str
    skeleton: Skeleton
    sources: tuple[tuple[str, ...], ...]
    unit: float | None = None

    def indices(self, joints: Sequence[str]) -> list[list[int]] | None:
        """For each joint of the skeleton the indices of its sources; None if a source is missing."""
        places = _places(joints)
        found = [[_find(places, name) for name in names] for names in self.sources]
        if any(index is None for row in found for index in row):
            return None
        return cast("list[list[int]]", found)

    def missing(self, joints: Sequence[str]) -> list[tuple[str, str]]:
        """The pairs (joint of the skeleton, name) that `joints` lacks."""
        places = _places(joints)
        pairs = zip(self.skeleton.joints, self.sources, strict=True)
        return [(target, name) for target, names in pairs for name in names if _find(places, name) is None]


def _key(name: str) -> str:
    """A name without name space, case and separators: `mixamorig:Left_Arm` gives `leftarm`."""
    key = re.sub(r"[\W_]+", "", name.rsplit(":", 1)[-1].casefold())
    return next((key.removeprefix(prefix) for prefix in _PREFIXES if key.startswith(prefix)), key)


def _places(joints: Sequence[str]) -> dict[str, int]:
    """The index of each joint by its key, and by its exact name with `=` before it, which is looked up first."""
    keys = {_key(name): index for index, name in reversed(list(enumerate(joints)))}
    return keys | {f"={name}": index for index, name in enumerate(joints)}


def _find(places: Mapping[str, int], name: str) -> int | None:
    return places.get(f"={name}", places.get(_key(name)))


def mapping_names() -> tuple[str, ...]:
    """The names of the shipped mappings."""
    folder = resources.files(__package__) / "mappings"
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")))


def named_alike(skeleton: Skeleton) -> JointMapping:
    """The mapping to a skeleton from files whose joints have the skeleton's own names."""
    return JointMapping(f"by the names of {skeleton.name}", skeleton, tuple((joint,) for joint in skeleton.joints))


def load_mapping(name: str | Path, skeleton: Skeleton | None = None) -> JointMapping:
    """A shipped mapping by its name, or a user's own from a YAML file.

    Args:
        name: name or file.
        skeleton: the target skeleton, if the file does not name one or gives only this one's name.

    Raises:
        ConfigError: there is no such mapping, or it is not a complete mapping of a skeleton's joints.
    """
    shipped = str(name) in mapping_names()
    file = resources.files(__package__) / "mappings" / f"{name}.yaml" if shipped else Path(name)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError:
        names = ", ".join(mapping_names())
        raise ConfigError(f"mapping is {str(name)!r}, no such file; name a YAML file or one of {names}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{name}: the mapping is no YAML; write `joints:` with one `joint: name` a line") from None
    return _parse(str(name) if shipped else Path(name).stem, content, str(name), skeleton)


def _parse(name: str, content: Any, where: str, wanted: Skeleton | None) -> JointMapping:
    joints = content.get("joints") if isinstance(content, dict) else None
    if not isinstance(joints, dict):
        raise ConfigError(f"{where}: the mapping has no `joints`; write `joints:` with one `joint: name` a line")
    own = content.get("skeleton")
    given = wanted if wanted is not None and own in (None, wanted.name) else None
    skeleton = given or load_skeleton(str(own or "humanml3d"))
    lacking = [joint for joint in skeleton.joints if joint not in joints]
    surplus = [str(joint) for joint in joints if joint not in skeleton.joints]
    if lacking or surplus:
        what = f"lacks {', '.join(lacking)}" if lacking else f"has {', '.join(surplus)}, which it should not"
        raise ConfigError(f"{where}: the mapping {what}; skeleton {skeleton.name!r} has {', '.join(skeleton.joints)}")
    sources = []
    for joint in skeleton.joints:
        names = joints[joint] if isinstance(joints[joint], list) else [joints[joint]]
        if not names or not all(isinstance(source, str) for source in names):
            raise ConfigError(f"{where}: joint {joint} is {joints[joint]!r}; write a name or a list of names")
        sources.append(tuple(names))
    unit = content.get("unit")
    if unit is not None and not (isinstance(unit, int | float) and 0 < unit < math.inf):
        raise ConfigError(f"{where}: unit is {unit!r}; write the metres per unit, or leave it out")
    return JointMapping(name, skeleton, tuple(sources), unit)


def choose_mapping(path: Path, joints: Sequence[str], mappings: Sequence[JointMapping]) -> JointMapping:
    """The mapping whose names a file has. If several fit, it is the one that reads most of the file's joints.

    Args:
        path: the file, for messages.
        joints: the file's joint names.
        mappings: the mappings to choose from.

    Raises:
        DataError: none fits; the message names the joints that the nearest mapping misses, with proposals.
    """
    fitting = [mapping for mapping in mappings if mapping.indices(joints) is not None]
    if fitting:
        return max(fitting, key=lambda mapping: len({name for names in mapping.sources for name in names}))
    nearest = min(mappings, key=lambda mapping: len(mapping.missing(joints)))
    missing = nearest.missing(joints)
    used = {_key(name) for names in nearest.sources for name in names}
    free = {_key(name): name for name in joints if _key(name) not in used}
    wanted = [f"{target} from {name}{_proposal(name, target, free)}" for target, name in missing]
    raise DataError(
        f"{path}: mapping {nearest.name!r} misses {len(missing)} joints: {', '.join(wanted)}; unused in the file: "
        f"{', '.join(free.values()) or 'none'}; write a mapping for its names and give it with --mapping FILE.yaml"
    )


def _proposal(name: str, target: str, free: Mapping[str, str]) -> str:
    """A proposal: the unused joint on the same side of the body with the most similar name; empty if there is none."""
    alike = [key for key, joint in free.items() if joint_side(joint) == joint_side(target)]
    near = difflib.get_close_matches(_key(name), alike, n=1) or difflib.get_close_matches(_key(target), alike, n=1)
    return f" (perhaps {free[near[0]]})" if near else ""


def map_joints(positions: NDArray[np.float64], indices: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """The skeleton's joints [..., J, 3] from a file's joints [..., N, 3]."""
    return np.stack([positions[..., row, :].mean(axis=-2) for row in indices], axis=-2)


def leg_length(joints: NDArray[np.float64], skeleton: Skeleton) -> float:
    """Length of the leg that sets the scale: sum of its bones' median lengths over the frames of [T, J, 3]."""
    bones = [joints[:, joint] - joints[:, skeleton.parents[joint]] for joint in skeleton.l_idx]
    return float(sum(np.median(np.linalg.norm(bone, axis=-1)) for bone in bones))


def is_human_leg(metres: float) -> bool:
    """Whether a leg from hip to ankle can be a human's."""
    return metres > 0 and abs(math.log(metres / _LEG)) <= math.log(_LEG_FACTOR)


def detect_unit(leg: float, more: Iterable[float] = ()) -> float:
    """Metres per unit, from the length of a leg.

    Args:
        leg: hip to ankle in the file's unit.
        more: further units to try, in metres; they are tried before the known ones.

    Raises:
        DataError: no unit makes it the leg of a human.
    """
    for unit in (*more, *UNITS.values()):
        if is_human_leg(leg * unit):
            return unit
    raise DataError(f"a leg is {leg:.4g} units long, a human's in none of {', '.join(UNITS)}; give --unit in metres")


def parse_unit(unit: str) -> float:
    """Metres per unit, from a unit's name or a number.

    Raises:
        ConfigError: it is neither.
    """
    try:
        metres = UNITS[unit] if unit in UNITS else float(unit)
    except ValueError:
        metres = math.nan
    if not 0 < metres < math.inf:
        raise ConfigError(f"unit is {unit!r}; write one of {', '.join(UNITS)}, or the metres per unit as a number")
    return metres


def upward(joints: NDArray[np.float64], skeleton: Skeleton) -> NDArray[np.float64]:
    """Mean over the frames of the unit vector from the ankles to the shoulders of [T, J, 3]: [3]."""
    shoulders = joints[:, list(skeleton.face[2:])].mean(axis=1)
    ankles = joints[:, [skeleton.feet_right[0], skeleton.feet_left[0]]].mean(axis=1)
    vectors = shoulders - ankles
    mean: NDArray[np.float64] = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)).mean(axis=0)
    return mean


def rest_upward(rest: NDArray[np.float64], skeleton: Skeleton) -> NDArray[np.float64]:
    """The same as `upward` for a rest pose [J, 3]; zero if its legs do not point down, so that it is not standing."""
    up = upward(rest[None], skeleton)
    for hip, ankle in zip(skeleton.face[:2], (skeleton.feet_right[0], skeleton.feet_left[0]), strict=True):
        leg = rest[hip] - rest[ankle]
        if leg @ up < _ALIGNED * np.linalg.norm(leg) * np.linalg.norm(up):
            return np.zeros(3)
    return up


def detect_up(moving: Sequence[NDArray[np.float64]], resting: Sequence[NDArray[np.float64]]) -> UpAxis:
    """The axis that points up. Bodies stand along it in most motions, or, if they lie there, in their rest poses.

    Args:
        moving: `upward` of several motions.
        resting: their `rest_upward`.

    Raises:
        DataError: neither mean is near an axis.
    """
    for vectors in (moving, resting):
        mean = np.mean(vectors, axis=0)
        axis = int(np.abs(mean).argmax())
        length = float(np.linalg.norm(mean))
        if length > 0.5 and abs(mean[axis]) > _ALIGNED * length:
            return cast("UpAxis", ("" if mean[axis] > 0 else "-") + "xyz"[axis])
    raise DataError(f"the up axis cannot be told from the motions; give --up as one of {', '.join(get_args(UpAxis))}")


def turn_up(joints: NDArray[np.float64], up: UpAxis) -> NDArray[np.float64]:
    """Turn [..., 3] so that the axis `up` becomes +y."""
    axis, sign = "xyz".index(up[-1]), -1.0 if up.startswith("-") else 1.0
    turned = joints.copy()
    if axis == 1:
        turned[..., 1:] *= sign
        return turned
    turned[..., 1] = sign * joints[..., axis]
    turned[..., axis] = -sign * joints[..., 1]
    return turned


def resample(joints: NDArray[np.float64], source_fps: float, fps: float) -> NDArray[np.float64]:
    """Positions [T, J, 3] at the times k / fps, linear between frames. From 30 to 20 fps, frame 3k becomes frame 2k."""
    last = len(joints) - 1
    count = int(last * fps / source_fps + 1e-6) + 1
    places = np.minimum(np.arange(count) * (source_fps / fps), last)
    before = np.minimum(places.astype(np.int64), max(last - 1, 0))
    weight = (places - before)[:, None, None]
    after = np.minimum(before + 1, last)
    resampled: NDArray[np.float64] = joints[before] * (1 - weight) + joints[after] * weight
    return resampled


def convert(motion: BvhMotion, mapping: JointMapping, unit: float, up: UpAxis) -> NDArray[np.float32]:
    """A file's motion as joints [T, J, 3] of the mapping's skeleton, in the skeleton's unit and frame rate, y up.

    Raises:
        DataError: the mapping does not fit, or the legs are not a human's.
    """
    skeleton = mapping.skeleton
    indices = mapping.indices(motion.joints)
    if indices is None:
        raise DataError(f"mapping {mapping.name!r} does not fit the joints; give another one with --mapping")
    joints = map_joints(motion.positions, indices) * unit
    leg = leg_length(joints, skeleton)
    if not is_human_leg(leg):
        raise DataError(f"a leg is {leg:.3g} m long with {unit:g} m per unit; build such files apart, with --unit")
    return (skeleton.units_per_metre * resample(turn_up(joints, up), motion.fps, skeleton.fps)).astype(np.float32)
