"""A split's motions and captions in memory-mapped files, which workers and ranks share, with a header.

The folder `packed/` lies beside the other files. For each split it holds `<split>.npy`, the frames of all motions one
after another as float32 [sum T, D]; `<split>.captions`, a line of JSON per motion, read when a caption is needed; and
`<split>.json`, the header: ids, lengths and places, what could not be packed and why, and what the pack was made from.
A pack is only a faster copy. If the other files have changed since, it is refused, never used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lightning_realign.data.clips import Clip, LeftOut, read_clips
from lightning_realign.data.formats import MOTION_FOLDER, SPLITS, TEXT_FOLDER, read_quarantine, read_split
from lightning_realign.data.packed.mapped import MappedCaptions, MappedClip, MappedFile, caption_line
from lightning_realign.errors import DataError
from lightning_realign.files.atomic import atomic_folder, write_text_atomic
from lightning_realign.files.hashing import file_sha256
from lightning_realign.files.reading import UNREADABLE_ARRAY, read_json

PACKED_FOLDER = "packed"
_FORMAT = 2
_ROWS, _CAPTIONS = "npy", "captions"
# The header's entry of a motion is [id, frames, bytes of its captions, their number, whether all are of the whole
# motion], or for one that was left out [id, kind, reason].
_LEFT_OUT = 3


@dataclass(frozen=True)
class PackReport:
    """What a pack holds: motions per split, and bytes of features and captions together."""

    folder: Path
    motions: dict[str, int]
    bytes: int

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.motions.items())
        return f"{self.folder}: {counts} motions, {self.bytes / 2**20:.1f} MiB"


def pack(root: Path, num_features: int) -> PackReport:
    """Pack every split that has a list. An older pack is replaced when the new one is complete.

    Args:
        root: the data set's folder.
        num_features: D.

    Raises:
        DataError: there is no split list, or a list or caption file cannot be read.
    """
    splits = [name for name in SPLITS if (root / f"{name}.txt").is_file()]
    if not splits:
        raise DataError(f"{root}: no split list to pack; give a data set's folder, with train.txt, val.txt or test.txt")
    motions, size = {}, 0
    with atomic_folder(root / PACKED_FOLDER, replace=True) as partial:
        for name in splits:
            header = _pack_split(root, name, num_features, partial)
            motions[name] = sum(len(entry) != _LEFT_OUT for entry in header["listed"])
            size += sum(header["bytes"].values())
    return PackReport(root / PACKED_FOLDER, motions, size)


def has_packed(root: Path, name: str) -> bool:
    """Whether the split has been packed (and may be stale)."""
    return (root / PACKED_FOLDER / f"{name}.json").is_file()


def read_packed(root: Path, name: str, num_features: int) -> Iterator[Clip | LeftOut]:
    """The clips of a packed split, as `read_clips` gives them. Their motions are views of the mapped file.

    Raises:
        DataError: the pack is stale, truncated or damaged, or has another feature size.
    """
    header = _read_header(root, name)
    if header["source"] != source_digest(root, name):
        raise DataError(
            f"{_packed_path(root, name, 'json')}: the data set has changed since it was packed; {_again(root)}, or "
            f"remove {PACKED_FOLDER}/"
        )
    usable = [entry for entry in header["listed"] if len(entry) != _LEFT_OUT]
    rows = _map_rows(root, name, header, sum(entry[1] for entry in usable), num_features)
    captions = MappedFile(_check_size(root, name, _CAPTIONS, header))
    remedy, row, place = _again(root), 0, 0
    for entry in header["listed"]:
        if len(entry) == _LEFT_OUT:
            yield LeftOut(*entry)
            continue
        motion_id, length, size, count, whole = entry
        lazy = MappedCaptions(captions, place, place + size, count, remedy)
        yield MappedClip.cut(motion_id, rows, row, length, lazy if whole else tuple(lazy), bool(whole))
        row, place = row + length, place + size


def verify_packed(root: Path, name: str, num_features: int) -> None:
    """Read a packed split in full and compare it with its checksums.

    Raises:
        DataError: it is stale, truncated or damaged.
    """
    for _ in read_packed(root, name, num_features):
        pass
    for suffix, digest in _read_header(root, name)["sha256"].items():
        path = _packed_path(root, name, suffix)
        if file_sha256(path) != digest:
            raise DataError(f"{path}: the content differs from its checksum; {_again(root)}")


def source_digest(root: Path, name: str) -> str:
    """A hash of what a split consists of: list, Mean, Std, quarantine, and size and time of each of its files."""
    digest = hashlib.sha256()
    for path in (root / "Mean.npy", root / "Std.npy"):
        digest.update(path.read_bytes() if path.is_file() else b"none")
    names = read_split(root / f"{name}.txt")
    digest.update(json.dumps([names, sorted(read_quarantine(root).items())]).encode())
    # There may be tens of thousands of files, at every start. Paths are strings, since pathlib takes longer than the
    # disk.
    files = ((f"{root / MOTION_FOLDER}{os.sep}", ".npy"), (f"{root / TEXT_FOLDER}{os.sep}", ".txt"))
    states: list[int] = []
    for motion_id in names:
        for folder, suffix in files:
            try:
                status = os.stat(f"{folder}{motion_id}{suffix}")  # noqa: PTH116
            except OSError:
                states += (-1, -1)
            else:
                states += (status.st_size, status.st_mtime_ns)
    digest.update(np.array(states, dtype="<i8").tobytes())
    return digest.hexdigest()


def _pack_split(root: Path, name: str, num_features: int, out: Path) -> dict[str, Any]:
    # The hash is taken first, so that a file that changes while it is read makes the pack stale.
    source = source_digest(root, name)
    listed: list[list[Any]] = []
    paths = {suffix: out / f"{name}.{suffix}" for suffix in (_ROWS, _CAPTIONS)}
    with paths[_ROWS].open("wb") as file, paths[_CAPTIONS].open("wb") as captions:
        _write_npy_header(file, 0, num_features)
        start = file.tell()
        for item in read_clips(root, name, num_features):
            if isinstance(item, LeftOut):
                listed.append([item.id, item.kind, item.reason])
                continue
            file.write(np.ascontiguousarray(item.motion, dtype="<f4").tobytes())
            size = captions.write(caption_line(item.captions))
            whole = all(caption.is_whole for caption in item.captions)
            listed.append([item.id, len(item.motion), size, len(item.captions), int(whole)])
        file.seek(0)
        # NumPy leaves room in the header for any number of rows, so the header can be written again at the end.
        _write_npy_header(file, sum(entry[1] for entry in listed if len(entry) != _LEFT_OUT), num_features)
        if file.tell() != start:
            raise DataError(f"{paths[_ROWS]}: numpy wrote headers of two sizes; pack with numpy 1.26 or newer")
    header = {
        "format": _FORMAT,
        "source": source,
        "sha256": {suffix: file_sha256(path) for suffix, path in paths.items()},
        "bytes": {suffix: path.stat().st_size for suffix, path in paths.items()},
        "num_features": num_features,
        "listed": listed,
    }
    write_text_atomic(out / f"{name}.json", json.dumps(header))
    return header


def _write_npy_header(file: IO[bytes], rows: int, num_features: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, num_features)})


def _packed_path(root: Path, name: str, suffix: str) -> Path:
    return root / PACKED_FOLDER / f"{name}.{suffix}"


def _again(root: Path) -> str:
    return f"pack it again with 'data pack {root}'"


def _read_header(root: Path, name: str) -> dict[str, Any]:
    path = _packed_path(root, name, "json")
    header = read_json(path, "packed split's header")
    kinds = {"source": str, "sha256": dict, "bytes": dict, "num_features": int, "listed": list}
    if header.get("format") != _FORMAT or not all(isinstance(header.get(key), kind) for key, kind in kinds.items()):
        raise DataError(f"{path}: is no header of a packed split of this version; {_again(root)}")
    return header


def _check_size(root: Path, name: str, suffix: str, header: dict[str, Any]) -> Path:
    path = _packed_path(root, name, suffix)
    size = path.stat().st_size if path.is_file() else 0
    if size != header["bytes"].get(suffix):
        raise DataError(f"{path}: has {size} bytes of {header['bytes'].get(suffix)}; {_again(root)}")
    return path


def _map_rows(root: Path, name: str, header: dict[str, Any], count: int, num_features: int) -> MappedFile:
    path = _packed_path(root, name, _ROWS)
    if header["num_features"] != num_features:
        raise DataError(f"{path}: has {header['num_features']} features, the skeleton {num_features}; {_again(root)}")
    _check_size(root, name, _ROWS, header)
    try:
        rows = MappedFile(path)
    except UNREADABLE_ARRAY as error:
        raise DataError(f"{path}: cannot be mapped ({str(error)[:80]}); {_again(root)}") from None
    if rows.content.dtype != np.float32 or rows.content.shape != (count, num_features):
        raise DataError(f"{path}: has shape {rows.content.shape}, not that of its header; {_again(root)}")
    return rows
