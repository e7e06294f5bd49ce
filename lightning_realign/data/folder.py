"""The folder of a data set: what it says of itself, and its splits in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import torch

from lightning_realign.data.clips import LeftOut
from lightning_realign.data.dataset import CROP_UNIT, Split, load_split
from lightning_realign.data.fingerprint import content_fingerprint, dataset_fingerprint
from lightning_realign.data.formats import Metadata, load_statistics, read_metadata
from lightning_realign.data.labels import LABEL_FILE, attribute_labels, read_labels
from lightning_realign.errors import DataError, FeatureSpecError
from lightning_realign.files.reading import read_json
from lightning_realign.motion import Skeleton
from lightning_realign.motion.normaliser import Normaliser


class DataFolder:
    """Base of the data modules. Everything is read on first use, and errors name class, argument and file.

    Attributes:
        root: the folder.
        skeleton: the `Skeleton` of the motions.
        min_length: frames a motion needs; None for the data set's own limit.
        max_length: a motion has fewer frames than this.
        left_out: per split read so far, the listed motions that are not used, and why.
    """

    root: Path
    skeleton: Skeleton
    min_length: int | None
    max_length: int
    left_out: dict[str, tuple[LeftOut, ...]]
    _splits: dict[str, Split]

    @cached_property
    def metadata(self) -> Metadata:
        """The data set's metadata, with the length limits that apply.

        Raises:
            DataError: the folder is missing, or holds a data set of another skeleton.
            FeatureSpecError: its frame rate is not the skeleton's.
        """
        if not self.root.is_dir():
            self._fail(f"{self.root} is not a folder; give the folder that holds new_joint_vecs/, texts/ and Mean.npy")
        skeleton = self.skeleton
        default = Metadata(self.root.name, skeleton.fps, skeleton.name, skeleton.min_length, self.max_length)
        with self._named():
            metadata = read_metadata(self.root, default)
        if metadata.skeleton != skeleton.name:
            self._fail(
                f"{self.root / 'metadata.json'} says skeleton {metadata.skeleton!r}, this data module reads "
                f"{skeleton.name!r}; use the data module of that skeleton"
            )
        if metadata.fps != skeleton.fps:
            raise FeatureSpecError(
                f"{type(self).__name__}.root: {self.root / 'metadata.json'} says {metadata.fps:g} fps, skeleton "
                f"{skeleton.name!r} has {skeleton.fps:g}; resample the motions to it and build the data set again"
            )
        least = max(metadata.min_length, CROP_UNIT) if self.min_length is None else self.min_length
        most = min(metadata.max_length, self.max_length)
        if least >= most:
            self._fail(f"{self.root}: min_length {least} is not below max_length {most}; correct one", "min_length")
        return replace(metadata, min_length=least, max_length=most)

    @cached_property
    def normaliser(self) -> Normaliser:
        """The data set's Mean/Std as a `Normaliser`.

        Raises:
            DataError: Mean.npy or Std.npy is missing, has another feature size, or cannot be used.
        """
        mean, std = (torch.from_numpy(self._statistics(name)) for name in ("Mean", "Std"))
        normaliser = Normaliser(self.skeleton.num_features)
        with self._named(f"{self.root}: "):
            normaliser.set(mean.float(), std.float())
        return normaliser

    @cached_property
    def fingerprint(self) -> str:
        """A short hash that only the same data set has, see `dataset_fingerprint`."""
        metadata, statistics = self.metadata, [self._statistics(name) for name in ("Mean", "Std")]
        with self._named():
            return dataset_fingerprint(self.root, metadata, statistics)

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Labels by id, from labels.csv or the true attributes; empty where the data set has neither."""
        path = self.root / LABEL_FILE
        with self._named():
            return read_labels(path) if path.is_file() else attribute_labels(self._attributes)

    def content(self, split: Literal["train", "val", "test"]) -> str:
        """A short hash of the usable motions of a split, their captions and labels; see `content_fingerprint`."""
        entries, labels, attributes = self._split(split).entries, self.labels, self._attributes
        return content_fingerprint((entry, labels.get(entry.id), attributes.get(entry.id)) for entry in entries)

    def _check_labels(self, splits: Iterable[str]) -> None:
        """Refuse a table of labels that has none of the motions: its ids must be wrong."""
        ids = {entry.id for name in splits for entry in self._split(name).entries}
        if self.labels and not ids & self.labels.keys():
            self._fail(f"{self.root / LABEL_FILE}: labels none of the motions; its first column must hold their ids")

    def _split(self, name: str) -> Split:
        if name not in self._splits:
            metadata = self.metadata
            with self._named():
                self._splits[name] = load_split(self.root, name, metadata, self.skeleton.num_features)
            self.left_out[name] = self._splits[name].left_out
        return self._splits[name]

    @cached_property
    def _attributes(self) -> Mapping[str, Mapping[str, Any]]:
        path = self.root / "attributes.json"
        with self._named():
            return read_json(path, "attributes file") if path.is_file() else {}

    def _statistics(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        _ = self.metadata  # a missing folder is the better message
        with self._named():
            return load_statistics(self.root / f"{name}.npy", self.skeleton.num_features)

    @contextmanager
    def _named(self, prefix: str = "") -> Iterator[None]:
        """Add to a file's error which data module and which argument led to the file."""
        try:
            yield
        except DataError as error:
            self._fail(f"{prefix}{error}")

    def _fail(self, message: str, field: str = "root") -> NoReturn:
        raise DataError(f"{type(self).__name__}.{field}: {message}") from None
