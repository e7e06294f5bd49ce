"""The skeleton of a data set: a shipped one, which metadata.json names, or `skeleton.yaml` in the folder."""

from __future__ import annotations

from pathlib import Path

from lightning_realign.data.formats import Metadata, read_metadata
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.reading import load_array
from lightning_realign.motion import Skeleton, load_skeleton, skeleton_names, skeleton_reference
from lightning_realign.motion.skeleton.spec import read_skeleton, skeleton_yaml

SKELETON_FILE = "skeleton.yaml"


def find_skeleton(root: Path) -> Skeleton:
    """The skeleton that metadata.json names or skeleton.yaml holds, else the one whose feature size Mean.npy has.

    Raises:
        DataError: none of them says it, or skeleton.yaml has a mistake.
        ConfigError: there is no skeleton of that name.
    """
    name = read_metadata(root, Metadata(root.resolve().name, 0.0, "", 0)).skeleton
    if name or (root / SKELETON_FILE).is_file():
        return named_skeleton(root, name)
    size = load_array(root / "Mean.npy", "statistics file").size
    known = {load_skeleton(shipped).num_features: shipped for shipped in skeleton_names()}
    if size not in known:
        raise DataError(f"{root / 'Mean.npy'}: {size} features are of no known skeleton; name it in metadata.json")
    return load_skeleton(known[size])


def named_skeleton(root: Path, name: str) -> Skeleton:
    """The skeleton that a data set's metadata.json calls `name`. If `name` is empty, it is that of skeleton.yaml.

    Raises:
        DataError: skeleton.yaml has a mistake, or holds another skeleton.
        ConfigError: there is no skeleton of that name.
    """
    path = root / SKELETON_FILE
    if name in skeleton_names():
        return load_skeleton(name)
    if not path.is_file():
        names = ", ".join(skeleton_names())
        raise ConfigError(
            f"{root / 'metadata.json'}: skeleton is {name!r}; choose one of {names}, or put its spec into {path}"
        )
    try:
        own = read_skeleton(path)
    except ConfigError as error:
        raise DataError(str(error)) from None
    if name not in ("", own.name):
        raise DataError(f"{path}: name is {own.name!r}, metadata.json says {name!r}; put the right spec there")
    return own


def write_skeleton(root: Path, skeleton: Skeleton) -> None:
    """Write the spec of a user's own skeleton into a data set's folder, so that reading it needs nothing else."""
    if skeleton_reference(skeleton) != skeleton.name:
        write_text_atomic(root / SKELETON_FILE, skeleton_yaml(skeleton))
