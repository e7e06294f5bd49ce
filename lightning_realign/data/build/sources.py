"""The sources that a data set is built from: motions with captions and splits. One source is a folder of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from lightning_realign.data.build.caption_lines import GIVEN, CaptionLines
from lightning_realign.data.formats import SPLITS, TEXT_FOLDER, Metadata, read_metadata, read_split
from lightning_realign.files.reading import load_array
from lightning_realign.data.labels import LABEL_FILE, read_labels
from lightning_realign.data.skeletons import SKELETON_FILE, named_skeleton
from lightning_realign.errors import DataError, FeatureSpecError
from lightning_realign.motion import Skeleton, load_skeleton

SOURCE_FOLDER = "joints"
UP_AXIS = "y"


class MotionSource(Protocol):
    """Motions by id. A DataError while one is read leaves that motion out of the data set.

    where: what error messages call the source. metadata: name, rate, lengths (in positions). skeleton: of the joints.
    splits: ids per split. labels: a table that is copied into the data set, or None. lines: completes the captions, and
    knows where the tokens of the captions read so far come from.
    """

    where: Path
    metadata: Metadata
    skeleton: Skeleton
    splits: Mapping[str, Sequence[str]]
    labels: Path | None
    lines: CaptionLines

    @property
    def pos_tagger(self) -> str:
        """Where the tokens of the captions read so far come from."""
        ...

    def captions(self, motion_id: str) -> bytes:
        """The motion's caption file, checked."""
        ...

    def joints(self, motion_id: str) -> tuple[Path, NDArray[Any]]:
        """The motion's file and positions, which should be [T, J, 3], y up, in the skeleton's unit."""
        ...

    def surplus(self) -> Mapping[str, str]:
        """The ids of motions in no split, with the reasons."""
        ...

    def files(self) -> Iterable[Path]:
        """All files that the data set's content depends on, in a fixed order. Some may be missing."""
        ...


class JointFolder:
    """A folder with `joints/ID.npy`, `texts/ID.txt`, split lists, and maybe `metadata.json` and `labels.csv`.

    Args:
        root: the folder.
        skeleton: see `load_skeleton`; by default what metadata.json or skeleton.yaml says, else "humanml3d".

    Raises:
        DataError: a folder or split list is missing, or a list, metadata or labels cannot be used.
        FeatureSpecError: the source is for another skeleton, unit or up axis.
        ConfigError: there is no skeleton of that name.
    """

    def __init__(self, root: Path, skeleton: str | None = None) -> None:
        self.where = root
        self.lines = CaptionLines()
        for folder in (SOURCE_FOLDER, TEXT_FOLDER):
            if not (root / folder).is_dir():
                raise DataError(f"{root / folder}: folder is missing; a source has {SOURCE_FOLDER}/ and {TEXT_FOLDER}/")
        self.metadata, self.skeleton = _source_metadata(root, skeleton)
        self.splits: Mapping[str, Sequence[str]] = read_splits(root)
        self.labels = root / LABEL_FILE if (root / LABEL_FILE).is_file() else None
        if self.labels is not None:
            read_labels(self.labels)

    @property
    def pos_tagger(self) -> str:
        """Where the tokens of the captions read so far come from; for given ones, what metadata.json says."""
        made = self.lines.pos_tagger
        return str(self.metadata.extra.get("pos_tagger", made)) if made == GIVEN else made

    def captions(self, motion_id: str) -> bytes:
        """The motion's caption file, checked. Bare captions get tokens."""
        return self.lines.read(self.where / TEXT_FOLDER / f"{motion_id}.txt")

    def joints(self, motion_id: str) -> tuple[Path, NDArray[Any]]:
        """The motion's array and its file."""
        path = self.where / SOURCE_FOLDER / f"{motion_id}.npy"
        return path, load_array(path, "joint positions")

    def surplus(self) -> Mapping[str, str]:
        """Arrays that no split lists."""
        listed = {motion_id for ids in self.splits.values() for motion_id in ids}
        found = {path.stem for path in (self.where / SOURCE_FOLDER).glob("*.npy")}
        reason = "listed in no split; add it to train.txt, val.txt or test.txt"
        return dict.fromkeys(sorted(found - listed), reason)

    def files(self) -> Iterator[Path]:
        """Arrays, captions and labels. Lists and metadata have been read already."""
        for ids in self.splits.values():
            for motion_id in ids:
                yield self.where / SOURCE_FOLDER / f"{motion_id}.npy"
                yield self.where / TEXT_FOLDER / f"{motion_id}.txt"
        if self.labels is not None:
            yield self.labels


def read_splits(root: Path) -> dict[str, list[str]]:
    """The ids of train.txt, val.txt and test.txt.

    Raises:
        DataError: a list is missing or empty, an id is no mere file name, or an id is in two lists.
    """
    splits = {split: read_split(root / f"{split}.txt") for split in SPLITS}
    seen: dict[str, str] = {}
    for split, ids in splits.items():
        for motion_id in ids:
            path = root / f"{split}.txt"
            if Path(motion_id).name != motion_id or motion_id == ".." or not motion_id.isprintable():
                raise DataError(f"{path}: id {motion_id!r} is not a plain file name; rename the motion")
            if motion_id in seen:
                raise DataError(f"{path}: id {motion_id!r} is also in {seen[motion_id]}.txt; keep it in one of them")
            seen[motion_id] = split
    return splits


def _source_metadata(root: Path, name: str | None) -> tuple[Metadata, Skeleton]:
    if name is None and (root / SKELETON_FILE).is_file():
        wanted = named_skeleton(root, "")
    else:
        wanted = load_skeleton(name or "humanml3d")
    default = Metadata(root.resolve().name, wanted.fps, wanted.name, wanted.min_length)
    metadata = read_metadata(root, default)
    path = root / "metadata.json"
    if metadata.min_length >= metadata.max_length:
        raise DataError(
            f"{path}: min_length is {metadata.min_length}, not below max_length {metadata.max_length}; correct them"
        )
    if name is not None and metadata.skeleton != wanted.name:
        raise FeatureSpecError(f"{path}: skeleton is {metadata.skeleton!r}, not {wanted.name!r}; leave --skeleton out")
    spec = wanted if metadata.skeleton == wanted.name else named_skeleton(root, metadata.skeleton)
    for field, expected in (("unit", spec.unit), ("up", UP_AXIS)):
        if metadata.extra.get(field, expected) != expected:
            raise FeatureSpecError(
                f"{path}: {field} is {metadata.extra[field]!r}; convert the joints, as skeleton {spec.name!r} needs "
                f"{expected!r}"
            )
    return metadata, spec
