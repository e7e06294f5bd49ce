"""Predictions and arrays as files that animation programs read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.files.reading import load_array, read_json
from lightning_realign.motion.bvh.write import write_bvh
from lightning_realign.motion.features import recover_joints
from lightning_realign.motion.gltf import write_glb
from lightning_realign.motion.predictions import read_prediction
from lightning_realign.motion.skeleton.skeleton import Skeleton
from lightning_realign.motion.skeleton.spec import (
    load_skeleton,
    read_skeleton,
    skeleton_names,
)

Form = Literal["bvh", "glb"]


def load_joints(path: Path, skeleton: str | None = None, fps: float | None = None) -> tuple[Any, Skeleton, float]:
    """The joints [T, J, 3] of a file, their skeleton and frame rate.

    Args:
        path: a prediction (.npz), or an array (.npy) of features [T, D] in the data set's own units, or of joints.
        skeleton: the skeleton of a .npy file, see `load_skeleton`. By default it is that of the data set the file lies
            in, or it follows from the file's shape.
        fps: the frame rate. By default it is the prediction's; for a .npy file, that of the data set it lies in, or the
            skeleton's.

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
    read = read_prediction(path)
    if skeleton is not None and load_skeleton(skeleton) != read.skeleton:
        raise ConfigError(f"skeleton is {skeleton!r}, but {path} is of {read.skeleton.name!r}; leave --skeleton out")
    return read.joints, read.skeleton, fps or read.fps


def _skeleton_of(path: Path, array: NDArray[Any], name: str | None) -> Skeleton:
    """The skeleton that fits an array of features or joints: the given one, its data set's, or a shipped one."""
    own = path.resolve().parent.parent / "skeleton.yaml"
    if name is not None:
        candidates = [load_skeleton(name)]
    else:
        candidates = [read_skeleton(own)] if own.is_file() else [load_skeleton(one) for one in skeleton_names()]
    for spec in candidates:
        if array.shape[1:] in ((spec.num_features,), (spec.num_joints, 3)) and len(array):
            return spec
    raise DataError(
        f"{path}: shape {array.shape} is neither features nor joints of {' or '.join(spec.name for spec in candidates)}"
    )


def _data_set_fps(path: Path) -> float | None:
    metadata = path.resolve().parent.parent / "metadata.json"
    if not metadata.is_file():
        return None
    rate = read_json(metadata, "metadata").get("fps")
    return float(rate) if isinstance(rate, int | float) and 0 < rate < math.inf else None


def export_motions(
    files: Sequence[Path],
    out: Path,
    skeleton: str | None = None,
    fps: float | None = None,
    form: Form | None = None,
) -> list[Path]:
    """Write motions as BVH or glTF files.

    Args:
        files: predictions (.npz), or arrays (.npy) of features or joints.
        out: a folder, or for one motion a file that ends in .bvh or .glb.
        skeleton: see `load_joints`.
        fps: see `load_joints`.
        form: `bvh` or `glb` (binary glTF); by default the ending of `out`, else BVH.

    Returns:
        The files written.

    Raises:
        DataError: a file cannot be used; those before it have been written.
        ConfigError: two motions would get the same file, or a setting is wrong.
    """
    suffix = out.suffix.lower().removeprefix(".")
    single = suffix in get_args(Form)
    if single and form not in (None, suffix):
        raise ConfigError(f"out is {out}, format is {form!r}; leave the format out, or give a folder")
    kind = suffix if single else form or "bvh"
    write = write_glb if kind == "glb" else write_bvh
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
        target = out if single else out / f"{file.stem}.{kind}"
        try:
            write(target, joints, spec, rate)
        except DataError as error:
            raise DataError(f"{file}: cannot be exported ({error})") from None
        written.append(target)
    return written
