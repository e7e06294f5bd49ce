"""Motions as geometry: skeletons, features from joint positions and back, and files of motions.

- `skeleton`: skeletons and their specs. `features`, `completion`, `normaliser`: feature vectors and their statistics.
- `kinematics`, `rotations`, `mirror`, `contacts`: the geometry.
- `predictions`: the `.npz` files of generated motions. `bvh`, `gltf`, `export`: files for animation programs.
"""

from lightning_realign.motion.features import extract_features, recover_joints, recover_joints_from_rotations
from lightning_realign.motion.normaliser import Normaliser, feature_statistics
from lightning_realign.motion.skeleton.skeleton import Skeleton
from lightning_realign.motion.skeleton.spec import (
    load_skeleton,
    require_same_skeleton,
    skeleton_label,
    skeleton_names,
    skeleton_of_reference,
    skeleton_reference,
)

__all__ = [
    "Normaliser",
    "Skeleton",
    "extract_features",
    "feature_statistics",
    "load_skeleton",
    "recover_joints",
    "recover_joints_from_rotations",
    "require_same_skeleton",
    "skeleton_label",
    "skeleton_names",
    "skeleton_of_reference",
    "skeleton_reference",
]
