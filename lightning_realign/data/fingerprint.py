"""Fingerprints of data sets: a quick one of the state of the files, and a sure one of the content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_realign.data.clips import Clip
from lightning_realign.data.formats import MOTION_FOLDER, SPLITS, TEXT_FOLDER, Metadata, read_quarantine, read_split


def dataset_fingerprint(root: Path, metadata: Metadata, statistics: Iterable[NDArray[np.float64]]) -> str:
    """A short hash of a data set.

    It covers split lists, quarantine, skeleton, length limits, Mean and Std, and name, size and time of every motion
    and caption file of the training split. Results that are derived from those motions, such as the index of x^c, are
    thus never used for others. A copy of a data set with other file times counts as another data set.

    Args:
        root: the data set's folder.
        metadata: its metadata, with the length limits that apply.
        statistics: Mean and Std.
    """
    digest = hashlib.sha256(f"{metadata.skeleton} {metadata.min_length} {metadata.max_length}".encode())
    if (own := root / "skeleton.yaml").is_file():
        digest.update(own.read_bytes())
    lists = {name: read_split(path) if (path := root / f"{name}.txt").is_file() else [] for name in SPLITS}
    for name, ids in lists.items():
        digest.update("\n".join([f"\n{name}", *ids]).encode())
    if quarantine := read_quarantine(root):
        digest.update("\n".join(["\nquarantine", *sorted(quarantine)]).encode())
    for values in statistics:
        digest.update(np.ascontiguousarray(values).tobytes())
    training = set(lists["train"])
    for folder, suffix in ((MOTION_FOLDER, ".npy"), (TEXT_FOLDER, ".txt")):
        digest.update("\n".join([f"\n{folder}", *sorted(_stamps(root / folder, suffix, training))]).encode())
    return digest.hexdigest()[:16]


def content_fingerprint(samples: Iterable[tuple[Clip, str | None, Mapping[str, Any] | None]]) -> str:
    """A short hash of the motions of a split with all their captions. It is the same wherever the data set lies.

    Args:
        samples: motions and captions as they are used, each with its label and its true attributes.
    """
    digest = hashlib.sha256()
    for clip, label, attributes in samples:
        captions = [(caption.text, caption.tokens) for caption in clip.captions]
        digest.update(json.dumps([clip.id, clip.motion.shape, captions, label, attributes], sort_keys=True).encode())
        digest.update(np.ascontiguousarray(clip.motion).data)
    return digest.hexdigest()[:16]


def _stamps(folder: Path, suffix: str, ids: set[str]) -> Iterator[str]:
    """Name, size in bytes and time of change in nanoseconds of the files of `ids`. Missing files are left out."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name.removesuffix(suffix)
            if name in ids and name != entry.name:
                status = entry.stat()
                yield f"{name} {status.st_size} {status.st_mtime_ns}"
