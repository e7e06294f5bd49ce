"""Prediction files, one `.npz` for each generated motion: their only writer and their only reader.

Fields of a file:

    joints [T, J, 3] in the skeleton's unit      features [T, D] in the data set's own units
    skeleton, unit, fps                          text: the caption
    timesteps [S], rewards [S]                   NaN at a step without guidance
    mu, eta, seed, replication                   settings of the run
    trace [S, T, J, 3]                           the clean motion predicted at each step, where it was kept
    reference, reference_reward                  the id of x^c and R_phi(x^c, c) at t = 0; empty and NaN without eta

Joints, features and rewards keep the precision in which they were made: float32, as generators are loaded. Files load
with `numpy.load(..., allow_pickle=False)`.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.files.atomic import save_bytes_atomic
from lightning_realign.files.reading import UNREADABLE_ARRAY
from lightning_realign.motion.features import recover_joints
from lightning_realign.motion.kinematics import is_finite_motion
from lightning_realign.motion.skeleton.skeleton import Skeleton
from lightning_realign.motion.skeleton.spec import skeleton_of_reference, skeleton_reference
from lightning_realign.types import GeneratedMotions

_REQUIRED = ("joints", "skeleton", "fps")
_AGAIN = "give a file written by predict or generate"


@dataclass(frozen=True)
class Prediction:
    """B generated motions of one replication, and how they were made.

    motions: the B motions, their timesteps and rewards. ids, captions: B strings. skeleton: of the features.
    mu, eta, seed: settings of the run. replication: the number of this replication, of `replications` in all.
    references, reference_rewards: B ids of the retrieved training motions x^c and their clean rewards R_phi(x^c, c);
    empty without eta.
    """

    motions: GeneratedMotions
    ids: tuple[str, ...]
    captions: tuple[str, ...]
    skeleton: Skeleton
    mu: float
    eta: float
    seed: int
    replication: int = 0
    replications: int = 1
    references: tuple[str, ...] = ()
    reference_rewards: tuple[float, ...] = ()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Prediction:
        """Move the motions to a device (Lightning calls this where it keeps predictions)."""
        moved = GeneratedMotions(
            self.motions.features.to(device, non_blocking=non_blocking),
            self.motions.lengths.to(device, non_blocking=non_blocking),
            self.motions.timesteps.to(device, non_blocking=non_blocking),
            self.motions.rewards.to(device, non_blocking=non_blocking),
        )
        return replace(self, motions=moved)

    @cached_property
    def features(self) -> tuple[Tensor, ...]:
        """The features [T, D] of each motion without its padding, on the CPU."""
        motions = self.motions
        rows = zip(motions.features.detach().cpu(), motions.lengths.tolist(), strict=True)
        return tuple(motion[:length] for motion, length in rows)

    @cached_property
    def joints(self) -> tuple[Tensor, ...]:
        """The joints [T, J, 3] of each motion, in the skeleton's unit, on the CPU."""
        return tuple(recover_joints(features, self.skeleton) for features in self.features)

    @property
    def blown_up(self) -> int:
        """How many of the motions have joints that are NaN or infinite; too strong a guidance makes such motions."""
        return sum(not is_finite_motion(joints) for joints in self.joints)


def file_stem(sample: str, replication: int, replications: int) -> str:
    """The file name of a sample without its suffix: `<id>`, or `<id>_r<k>` where there are several replications.

    Raises:
        DataError: the id is empty or would leave the folder.
    """
    if not sample or sample in {".", ".."} or Path(sample).name != sample or "\\" in sample:
        raise DataError(f"sample id {sample!r} cannot name a file; rename it in the split list (no slashes)")
    return sample if replications == 1 else f"{sample}_r{replication}"


def write_prediction(prediction: Prediction, place: int, path: Path) -> None:
    """Write one of B motions atomically to a `.npz` file.

    Args:
        prediction: the motions.
        place: which of them, from 0.
        path: the file.
    """
    motions, skeleton = prediction.motions, prediction.skeleton
    fields: dict[str, Any] = {
        "joints": prediction.joints[place].numpy(),
        "features": prediction.features[place].numpy(),
        "text": np.array(prediction.captions[place]),
        "fps": np.array(skeleton.fps, dtype=np.float64),
        "skeleton": np.array(skeleton_reference(skeleton)),
        "unit": np.array(skeleton.unit),
        "timesteps": motions.timesteps.cpu().numpy(),
        "rewards": motions.rewards[place].detach().cpu().numpy(),
        "mu": np.array(prediction.mu, dtype=np.float64),
        "eta": np.array(prediction.eta, dtype=np.float64),
        "seed": np.array(prediction.seed, dtype=np.int64),
        "replication": np.array(prediction.replication, dtype=np.int64),
        "reference": np.array(prediction.references[place] if prediction.references else ""),
        "reference_reward": np.array(prediction.reference_rewards[place] if prediction.references else np.nan),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **fields)
    save_bytes_atomic(path, buffer.getvalue())


def write_predictions(prediction: Prediction, folder: Path) -> list[Path]:
    """Write B motions, each atomically to a file of its own.

    Returns:
        The files, in the order of the batch.

    Raises:
        DataError: an id cannot name a file.
    """
    paths = []
    for place, sample in enumerate(prediction.ids):
        stem = file_stem(sample, prediction.replication, prediction.replications)
        paths.append(folder / f"{stem}.npz")
        write_prediction(prediction, place, paths[-1])
    return paths


@dataclass(frozen=True)
class PredictedMotion:
    """What a prediction file holds.

    joints: [T, J, 3] in the skeleton's unit, numbers that may be NaN or infinite. skeleton: of the joints. fps: frames
    per second. text: the caption; None if the file has none. rewards: [S], NaN at a step without guidance; empty if the
    file has none. trace: [S, T, J, 3], the clean motion predicted at each step; None if the file has none.
    """

    joints: NDArray[Any]
    skeleton: Skeleton
    fps: float
    text: str | None
    rewards: NDArray[Any]
    trace: NDArray[Any] | None = None


def read_prediction(path: Path) -> PredictedMotion:
    """Read a prediction file; nothing in it is unpickled.

    Raises:
        DataError: the file is missing, is no .npz archive, lacks a field, or a field cannot be used.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            wanted = (*_REQUIRED, "text", "rewards", "trace")
            fields = {name: np.asarray(archive[name]) for name in wanted if name in archive.files}
    except FileNotFoundError:
        raise DataError(f"{path}: the prediction file is missing; check the path") from None
    except (*UNREADABLE_ARRAY, AttributeError):  # numpy reads a single array as no archive
        raise DataError(f"{path}: not a readable .npz archive; {_AGAIN}") from None
    for name in _REQUIRED:
        if name not in fields:
            raise DataError(f"{path}: field {name!r} is missing; {_AGAIN}")
    for name in ("joints", "rewards", "trace"):
        if name in fields and fields[name].dtype.kind not in "fiu":
            raise DataError(f"{path}: field {name!r} holds {fields[name].dtype}, not numbers; {_AGAIN}")
    try:
        skeleton = skeleton_of_reference(str(fields["skeleton"]))
    except ConfigError as error:
        raise DataError(f"{path}: field 'skeleton': {error}") from None
    fps = fields["fps"]
    if fps.size != 1 or fps.dtype.kind not in "fiu" or not 0 < float(fps) < math.inf:
        raise DataError(f"{path}: field 'fps' is {fps}, not one positive number; generate the file again")
    text = str(fields["text"]) if "text" in fields else None
    rewards, trace = fields.get("rewards", np.empty(0)), fields.get("trace")
    if trace is not None and trace.shape[1:] != fields["joints"].shape:
        shapes = f"shape {trace.shape}, not [S, T, J, 3] of joints of shape {fields['joints'].shape}"
        raise DataError(f"{path}: field 'trace' has {shapes}; {_AGAIN}")
    return PredictedMotion(fields["joints"], skeleton, float(fps), text, rewards, trace)
