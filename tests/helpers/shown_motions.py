"""Prediction files for the viewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightning_realign.data.synthetic.dataset import make_motion
from lightning_realign.motion import load_skeleton


def synthetic_joints(index: int, skeleton: str = "humanml3d") -> np.ndarray:
    """The joints of a motion of the embedded data set, in the skeleton's unit."""
    return make_motion(load_skeleton(skeleton), seed=0, split="test", index=index).joints


def write_shown(path: Path, joints: np.ndarray, text: str = "a person walks", /, **fields: np.ndarray) -> Path:
    """Write a prediction of HumanML3D's skeleton; `fields` are further ones, or others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {"joints": joints, "skeleton": np.array("humanml3d"), "fps": np.array(20.0), "text": np.array(text)}
    np.savez(path, **{**given, **fields})
    return path
