"""Motions as BVH files, which Blender, Unreal Engine and MotionBuilder read."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_realign.data.formats import load_array, read_json, write_text_atomic
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import rotations
from lightning_realign.motion.bvh_pose import Pose, solve_pose
from lightning_realign.motion.features import recover_joints
from lightning_realign.motion.skeleton import Skeleton, load_skeleton, skeleton_names

# Rotations are written in this order: the first turns about an axis of the parent's.
_ORDER = ("Zrotation", "Xrotation", "Yrotation")
_CENTIMETRES = {"metre": 100.0, "millimetre": 0.1}
# Length of the last bone of a limb, which has no joint at its end, in lengths of the bone before it.
_END = 0.5


def write_bvh(path: Path, joints: NDArray[Any], skeleton: Skeleton, fps: float) -> None:
    """Write a motion as BVH: centimetres, y up, rotations in degrees without jumps, the motion's own bone lengths.

    Args:
        path: the file; replaced when it exists.
        joints: positions [T, J, 3] in the skeleton's unit.
        skeleton: the joints' names and tree.
        fps: frames per second.

    Raises:
        DataError: `joints` is misshapen or not finite.
    """
    if joints.ndim != 3 or joints.shape[1:] != (skeleton.num_joints, 3) or len(joints) == 0:
        raise DataError(
            f"{path}: joints have shape {joints.shape}; skeleton {skeleton.name!r} needs (T, {skeleton.num_joints}, 3)"
        )
    if not np.isfinite(joints).all():
        raise DataError(f"{path}: joints have NaN or infinite entries; repair the motion")
    centimetres = torch.from_numpy(joints.astype(np.float64)) * _CENTIMETRES[skeleton.unit]
    pose = solve_pose(centimetres, skeleton, fps)
    order = _depth_first(skeleton)
    angles = _euler(rotations.to_matrix(pose.local).numpy())[:, order]
    rows = np.concatenate((pose.root.numpy(), angles.reshape(len(angles), -1)), axis=1)
    lines = [
        "HIERARCHY",
        *_hierarchy(0, 0, skeleton, pose),
        "MOTION",
        f"Frames: {len(rows)}",
        f"Frame Time: {1 / fps:.9g}",
        *(" ".join(f"{value:.6f}" for value in row) for row in rows),
    ]
    write_text_atomic(path, "\n".join(lines) + "\n")


def _depth_first(skeleton: Skeleton, joint: int = 0) -> list[int]:
    """The joints in the order in which BVH lists them."""
    below = [child for child, parent in enumerate(skeleton.parents) if parent == joint]
    return [joint, *(index for child in below for index in _depth_first(skeleton, child))]


def _hierarchy(joint: int, depth: int, skeleton: Skeleton, pose: Pose) -> list[str]:
    """The lines of a joint and all below it."""
    channels = _ORDER if depth else ("Xposition", "Yposition", "Zposition", *_ORDER)
    offset = pose.offsets[joint].tolist()
    lines = [
        f"{'JOINT' if depth else 'ROOT'} {skeleton.joints[joint]}",
        "{",
        f"\tOFFSET {_numbers(offset)}",
        f"\tCHANNELS {len(channels)} {' '.join(channels)}",
    ]
    below = [child for child, parent in enumerate(skeleton.parents) if parent == joint]
    for child in below:
        lines += [f"\t{line}" for line in _hierarchy(child, depth + 1, skeleton, pose)]
    if not below:
        end = _numbers([_END * value for value in offset])
        lines += ["\tEnd Site", "\t{", f"\t\tOFFSET {end}", "\t}"]
    return [*lines, "}"]


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def _euler(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles in degrees [T, J, 3] about z, x and y of R = Rz Rx Ry [T, J, 3, 3], each near that of the frame before."""
    angles = np.zeros(matrices.shape[:-1])
    before = np.zeros(matrices.shape[1:-1])
    for frame, matrix in enumerate(matrices):
        x = np.arcsin(matrix[..., 2, 1].clip(-1.0, 1.0))
        # Where x is a right angle, only the sum or difference of the others is fixed: z stays, y is what is left.
        locked = np.hypot(matrix[..., 0, 1], matrix[..., 1, 1]) < 1e-9
        z = np.where(locked, before[..., 0], np.arctan2(-matrix[..., 0, 1], matrix[..., 1, 1]))
        cosine, sine = np.cos(z), np.sin(z)
        # The first row of Ry, of Rx Ry = Rz^-1 R: stable also near the lock.
        y = np.arctan2(
            cosine * matrix[..., 0, 2] + sine * matrix[..., 1, 2], cosine * matrix[..., 0, 0] + sine * matrix[..., 1, 0]
        )
        first = np.stack((z, x, y), axis=-1)
        second = np.stack((z + math.pi, math.pi - x, y + math.pi), axis=-1)
        # Equal rotations, both written with the turns that bring them nearest to the frame before.
        choices = [angle + 2 * math.pi * np.round((before - angle) / (2 * math.pi)) for angle in (first, second)]
        distances = [np.abs(choice - before).sum(axis=-1, keepdims=True) for choice in choices]
        before = np.where(distances[0] <= distances[1], *choices)
        angles[frame] = before
    return np.degrees(angles)


def load_joints(path: Path, skeleton: str | None = None, fps: float | None = None) -> tuple[Any, Skeleton, float]:
    """The joints [T, J, 3] of a file, their skeleton and frame rate.

    Args:
        path: a prediction (.npz), or an array (.npy) of features [T, D] in the data set's own units, or of joints.
        skeleton: of a .npy file; by default told from its shape.
        fps: of a .npy file; by default that of the data set it lies in, or the skeleton's.

    Raises:
        DataError: the file cannot be used.
        ConfigError: a setting that is unknown, out of range or contradicts the file.
    """
    if fps is not None and not 0 < fps < math.inf:
        raise ConfigError(f"fps is {fps:g}; give a positive number")
    if path.suffix == ".npz":
        return _prediction(path, skeleton, fps)
    array = load_array(path, "motion")
    spec = _skeleton_of(path, array, skeleton)
    joints = array
    if array.ndim == 2:
        joints = recover_joints(torch.from_numpy(array.astype(np.float64)), spec).numpy()
    return joints, spec, fps or _data_set_fps(path) or spec.fps


def _prediction(path: Path, skeleton: str | None, fps: float | None) -> tuple[Any, Skeleton, float]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            fields = {name: archive[name] for name in ("joints", "skeleton", "fps") if name in archive.files}
    except FileNotFoundError:
        raise DataError(f"{path}: the prediction file is missing; check the path") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise DataError(f"{path}: not a readable .npz archive; give a file written by predict or generate") from None
    for name in ("joints", "skeleton", "fps"):
        if name not in fields:
            raise DataError(f"{path}: field {name!r} is missing; give a file written by predict or generate")
    own = str(fields["skeleton"])
    if own not in skeleton_names():
        raise DataError(f"{path}: field 'skeleton' is {own!r}, which is not known; generate the file again")
    if skeleton not in (None, own):
        raise ConfigError(f"skeleton is {skeleton!r}, that of {path} is {own!r}; leave --skeleton out")
    rate = fields["fps"]
    if rate.size != 1 or rate.dtype.kind not in "fiu" or not 0 < float(rate) < math.inf:
        raise DataError(f"{path}: field 'fps' is {rate}, not one positive number; generate the file again")
    return fields["joints"], load_skeleton(own), fps or float(rate)


def _skeleton_of(path: Path, array: NDArray[Any], name: str | None) -> Skeleton:
    """The skeleton whose features or joints an array can be."""
    for spec in [load_skeleton(own) for own in ((name,) if name else skeleton_names())]:
        if array.shape[1:] in ((spec.num_features,), (spec.num_joints, 3)) and len(array):
            return spec
    raise DataError(
        f"{path}: shape {array.shape} is neither features nor joints of {name or ' or '.join(skeleton_names())}"
    )


def _data_set_fps(path: Path) -> float | None:
    metadata = path.resolve().parent.parent / "metadata.json"
    if not metadata.is_file():
        return None
    rate = read_json(metadata, "metadata").get("fps")
    return float(rate) if isinstance(rate, int | float) and 0 < rate < math.inf else None


def export_bvh(files: Sequence[Path], out: Path, skeleton: str | None = None, fps: float | None = None) -> list[Path]:
    """Write motions as BVH files.

    Args:
        files: predictions (.npz), or arrays (.npy) of features or joints.
        out: a folder, or for one motion a file that ends in .bvh.
        skeleton: see `load_joints`.
        fps: see `load_joints`.

    Returns:
        The files written.

    Raises:
        DataError: a file cannot be used; those before it have been written.
        ConfigError: two motions would get the same file, or a setting is wrong.
    """
    single = out.suffix.lower() == ".bvh"
    if single and len(files) > 1:
        raise ConfigError(f"out is {out} for {len(files)} motions; give a folder")
    twice = [stem for stem, count in Counter(file.stem for file in files).items() if count > 1]
    if twice:
        raise ConfigError(
            f"files: {len(files)} motions, two of them named {twice[0]}; export them to different folders"
        )
    written = []
    for file in files:
        joints, spec, rate = load_joints(file, skeleton, fps)
        target = out if single else out / f"{file.stem}.bvh"
        try:
            write_bvh(target, joints, spec, rate)
        except DataError as error:
            raise DataError(f"{file}: cannot be exported ({error})") from None
        written.append(target)
    return written
