"""A folder of BVH files with captions as a source of motions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_realign.data.build.captions import CaptionFolder, CaptionSource, CaptionTable
from lightning_realign.data.formats import SPLITS, TEXT_FOLDER, Metadata
from lightning_realign.data.build.sources import read_splits
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import load_skeleton, skeleton_names
from lightning_realign.motion.bvh.read import BvhMotion, read_bvh
from lightning_realign.motion.bvh.mapping import (
    JointMapping,
    UpAxis,
    choose_mapping,
    convert,
    detect_unit,
    detect_up,
    leg_length,
    load_mapping,
    map_joints,
    mapping_names,
    named_alike,
    parse_unit,
    rest_upward,
    upward,
)

# How many files, spread over the folder, unit and up axis are detected from.
_SAMPLE = 40
# Shares of validation and test if splits are drawn, as in HumanML3D.
_SHARES = {"val": 0.05, "test": 0.15}


class BvhFolder:
    """All BVH files below a folder. A file's name without `.bvh` is the motion's id.

    Args:
        root: the folder.
        captions: a CSV file (name, caption, and maybe split) or a folder of HumanML3D text files; by default
            `captions.csv` or `texts/` in `root`.
        mapping: name of a shipped mapping, or a YAML file; by default, the shipped mapping that fits each file.
        unit: name of the unit, or metres per unit; detected by default.
        up: the up axis; detected by default.
        splits: folder with train.txt, val.txt and test.txt. By default `root`, if it has them, else the CSV's column,
            else drawn splits.
        seed: seed of drawn splits.
        skeleton: the mapping's target, see `load_skeleton`; by default the mapping's own. For a user's own skeleton
            without a mapping, joints are found by their names.
        min_length: shortest motion, in frames at the skeleton's rate; by default the skeleton's.

    Raises:
        DataError: there is no BVH file, no caption or no split, or no mapping, unit or up axis fits.
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        root: Path,
        *,
        captions: Path | None = None,
        mapping: str | Path | None = None,
        unit: str | None = None,
        up: str | None = None,
        splits: Path | None = None,
        seed: int = 1234,
        skeleton: str | None = None,
        min_length: int | None = None,
    ) -> None:
        self.where = root
        self.labels: Path | None = None
        self._files = _bvh_files(root)
        self._mappings = _mappings(mapping, skeleton)
        self.skeleton = self._mappings[0].skeleton
        if min_length is not None and min_length < 2:
            raise ConfigError(f"min_length is {min_length}; give at least 2 frames")
        if up is not None and up not in get_args(UpAxis):
            raise ConfigError(f"up is {up!r}; choose one of {', '.join(get_args(UpAxis))}")
        self._texts = _captions(root, captions)
        self.lines = self._texts.lines
        self._own = [Path(mapping)] if mapping is not None and str(mapping) not in mapping_names() else []
        given = None if unit is None else parse_unit(unit)
        self._unit, self._up, used = self._examine(given, up)
        self.splits, how = self._split(splits, seed)
        self.metadata = replace(
            Metadata(root.resolve().name, self.skeleton.fps, self.skeleton.name, self.skeleton.min_length),
            min_length=min_length or self.skeleton.min_length,
            extra={
                "source": {"format": "BVH", "mapping": used, "metres_per_unit": self._unit, "up": self._up},
                "splits": how,
            },
        )

    @property
    def summary(self) -> str:
        """One line: what was found or assumed."""
        source = self.metadata.extra["source"]
        return (
            f"{self.where}: {len(self._files)} BVH files, mapping {source['mapping']}, {self._unit:g} m per unit, "
            f"{self._up} up; splits {self.metadata.extra['splits']}"
        )

    @property
    def pos_tagger(self) -> str:
        """Where the tokens of the captions read so far come from."""
        return self.lines.pos_tagger

    def captions(self, motion_id: str) -> bytes:
        """The motion's captions in HumanML3D's format."""
        return self._texts.captions(motion_id)

    def joints(self, motion_id: str) -> tuple[Path, NDArray[Any]]:
        """The motion's file, and the motion, mapped, scaled, turned and resampled."""
        if motion_id not in self._files:
            raise DataError(f"{self.where / motion_id}.bvh: the BVH file is missing; check the captions' names")
        path = self._files[motion_id]
        motion = read_bvh(path)
        mapping = choose_mapping(path, motion.joints, self._mappings)
        try:
            return path, convert(motion, mapping, self._unit, self._up)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    def surplus(self) -> Mapping[str, str]:
        """Files that no split lists."""
        listed = {motion_id for ids in self.splits.values() for motion_id in ids}
        surplus = {}
        for motion_id in self._files:
            if motion_id not in listed:
                known = motion_id in self._texts.names
                surplus[motion_id] = "listed in no split" if known else "no caption; add one to the captions"
        return surplus

    def files(self) -> Iterable[Path]:
        """The recordings, the captions, and the mapping if it is a user's own."""
        return (*self._files.values(), *self._texts.files(), *self._own)

    def _examine(self, unit: float | None, up: Any) -> tuple[float, UpAxis, str]:
        """Unit in metres, up axis and the mappings' names, from a sample of the files."""
        motions, failures = self._sample()
        if not motions:
            raise failures[0]
        legs, moving, resting = [], [], []
        for motion, mapping in motions:
            indices = mapping.indices(motion.joints) or []
            joints = map_joints(motion.positions, indices)
            legs.append(leg_length(joints, self.skeleton))
            moving.append(upward(joints, self.skeleton))
            resting.append(rest_upward(map_joints(motion.rest, indices), self.skeleton))
        known = sorted({mapping.unit for _, mapping in motions if mapping.unit is not None})
        try:
            unit = detect_unit(float(np.median(legs)), known) if unit is None else unit
            up = detect_up(moving, resting) if up is None else up
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from None
        return unit, up, ", ".join(sorted({mapping.name for _, mapping in motions}))

    def _sample(self) -> tuple[list[tuple[BvhMotion, JointMapping]], list[DataError]]:
        """Files spread over the folder with their mappings, and the errors of files that cannot be used."""
        files = list(self._files.values())
        chosen = np.unique(np.linspace(0, len(files) - 1, min(_SAMPLE, len(files))).round().astype(int))
        motions, failures = [], []
        for index in chosen.tolist():
            try:
                motion = read_bvh(files[index])
                motions.append((motion, choose_mapping(files[index], motion.joints, self._mappings)))
            except DataError as error:
                failures.append(error)
        return motions, failures

    def _split(self, folder: Path | None, seed: int) -> tuple[Mapping[str, Sequence[str]], str]:
        """Ids per split, and where the splits come from."""
        if folder is not None or (self.where / "train.txt").is_file():
            folder = folder or self.where
            return read_splits(folder), "given as lists"
        if self._texts.splits:
            return self._texts.splits, "given with the captions"
        return _draw(sorted(self._files.keys() & self._texts.names), seed, self.where), f"drawn with seed {seed}"


def _bvh_files(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"{root}: folder is missing; give a folder of BVH files")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() == ".bvh" and path.is_file())
    if not files:
        raise DataError(f"{root}: no BVH file in the folder; check the path")
    twice = [name for name, count in Counter(path.stem for path in files).items() if count > 1]
    if twice:
        raise DataError(f"{root}: {twice[0]}.bvh is in more than one folder; give every file a name of its own")
    return {path.stem: path for path in files}


def _mappings(name: str | Path | None, skeleton: str | None) -> list[JointMapping]:
    """The mappings to choose from; all have the same skeleton."""
    default = load_skeleton("humanml3d")
    wanted = None if skeleton is None else load_skeleton(skeleton)
    if name is None:
        found = [mapping for mapping in map(load_mapping, mapping_names()) if mapping.skeleton == (wanted or default)]
        if not found and wanted is not None and wanted.name in skeleton_names():
            raise ConfigError(f"skeleton is {wanted.name!r}, to which no mapping is shipped; give --mapping FILE.yaml")
        # The joints of a user's own skeleton are found by their names.
        return found or [named_alike(wanted or default)]
    mapping = load_mapping(name, wanted)
    if wanted not in (None, mapping.skeleton):
        raise ConfigError(f"skeleton is {skeleton!r}, the mapping's {mapping.skeleton.name!r}; leave --skeleton out")
    return [mapping]


def _captions(root: Path, captions: Path | None) -> CaptionSource:
    for path in (captions,) if captions else (root / "captions.csv", root / TEXT_FOLDER):
        if path.is_dir():
            return CaptionFolder(path)
        if path.is_file() or captions:
            return CaptionTable(path)
    raise DataError(f"{root}: neither captions.csv nor {TEXT_FOLDER}/ is there; give --captions FILE.csv or a folder")


def _draw(ids: Sequence[str], seed: int, where: Path) -> dict[str, list[str]]:
    """Random splits, each with at least one motion."""
    if len(ids) < len(SPLITS):
        raise DataError(f"{where}: {len(ids)} motions with captions; drawing splits needs at least {len(SPLITS)}")
    order = [ids[index] for index in np.random.default_rng(seed).permutation(len(ids))]
    splits = {}
    for split, share in _SHARES.items():
        count = max(1, round(share * len(ids)))
        splits[split], order = sorted(order[:count]), order[count:]
    return {"train": sorted(order), **splits}
