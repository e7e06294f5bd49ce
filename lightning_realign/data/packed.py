"""A split's motions in one memory-mapped file, which workers and ranks share, with all else about them in a header.

`packed/` lies beside the plain files: per split `<split>.npy`, the rows of all motions after one another as float32
[sum T, D], and `<split>.json`, the ids, lengths and captions, what could not be packed and why, and what the pack was
made from. A pack is only ever a faster copy: where the plain files have changed since, it is refused, never used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lightning_realign.data.clips import Clip, LeftOut, read_clips
from lightning_realign.data.formats import (
    MOTION_FOLDER,
    SPLITS,
    TEXT_FOLDER,
    UNREADABLE_ARRAY,
    Caption,
    file_sha256,
    read_json,
    read_quarantine,
    read_split,
    write_text_atomic,
)
from lightning_realign.errors import DataError

PACKED_FOLDER = "packed"
_FORMAT = 1


@dataclass(frozen=True)
class PackReport:
    """What a pack holds: motions per split and bytes of features."""

    folder: Path
    motions: dict[str, int]
    bytes: int

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.motions.items())
        return f"{self.folder}: {counts} motions, {self.bytes / 2**20:.1f} MiB"


def pack(root: Path, num_features: int) -> PackReport:
    """Pack every split that has a list; an older pack is replaced when the new one is complete.

    Args:
        root: the data set's folder.
        num_features: D.

    Raises:
        DataError: if there is no split list, or a list or caption file cannot be read.
    """
    splits = [name for name in SPLITS if (root / f"{name}.txt").is_file()]
    if not splits:
        raise DataError(f"{root}: no split list to pack; give a data set's folder, with train.txt, val.txt or test.txt")
    partial = Path(tempfile.mkdtemp(dir=root, prefix=f".{PACKED_FOLDER}.", suffix=".partial"))
    try:
        motions, size = {}, 0
        for name in splits:
            header = _pack_split(root, name, num_features, partial)
            motions[name], size = len(header["ids"]), size + header["bytes"]
        partial.chmod(0o755)
        _replace_folder(partial, root / PACKED_FOLDER)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return PackReport(root / PACKED_FOLDER, motions, size)


def has_packed(root: Path, name: str) -> bool:
    """Whether the split has been packed (and may be stale)."""
    return (root / PACKED_FOLDER / f"{name}.json").is_file()


def read_packed(root: Path, name: str, num_features: int) -> Iterator[Clip | LeftOut]:
    """The clips of a packed split, as `read_clips` gives them, their motions views of the mapped file.

    Raises:
        DataError: if the pack is stale, truncated, damaged, or of another feature size.
    """
    header = _read_header(root, name)
    if header["source"] != source_digest(root, name):
        raise DataError(
            f"{_header_path(root, name)}: the data set has changed since it was packed; pack it again with "
            f"'data pack {root}', or remove {PACKED_FOLDER}/"
        )
    rows = _map_rows(root, name, header, num_features)
    motions = dict(_cut(root, name, header, rows))
    for motion_id, entry in header["listed"]:
        if motion_id in motions:
            captions = tuple(Caption(text, tuple(tokens), start, end) for text, tokens, start, end in entry)
            yield Clip(motion_id, motions[motion_id], captions)
        else:
            yield LeftOut(motion_id, *entry)


def verify_packed(root: Path, name: str, num_features: int) -> None:
    """Read a packed split in full and compare it with its checksum.

    Raises:
        DataError: if it is stale, truncated or damaged.
    """
    for _ in read_packed(root, name, num_features):
        pass
    path = root / PACKED_FOLDER / f"{name}.npy"
    if file_sha256(path) != _read_header(root, name)["sha256"]:
        raise DataError(f"{path}: the content differs from its checksum; pack it again with 'data pack {root}'")


def source_digest(root: Path, name: str) -> str:
    """A hash of what a split is made of: its list, Mean/Std, the quarantine, and size and time of each of its files."""
    digest = hashlib.sha256()
    for path in (root / "Mean.npy", root / "Std.npy"):
        digest.update(path.read_bytes() if path.is_file() else b"none")
    digest.update(json.dumps(sorted(read_quarantine(root).items())).encode())
    for motion_id in read_split(root / f"{name}.txt"):
        for path in (root / MOTION_FOLDER / f"{motion_id}.npy", root / TEXT_FOLDER / f"{motion_id}.txt"):
            try:
                status = path.stat()
            except OSError:
                digest.update(f"{motion_id} none\n".encode())
            else:
                digest.update(f"{motion_id} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _pack_split(root: Path, name: str, num_features: int, out: Path) -> dict[str, Any]:
    # Taken first: a file that changes while it is read makes the pack stale.
    source = source_digest(root, name)
    listed: list[tuple[str, list[Any]]] = []
    ids, lengths = [], []
    path = out / f"{name}.npy"
    with path.open("wb") as file:
        _write_npy_header(file, 0, num_features)
        start = file.tell()
        for item in read_clips(root, name, num_features):
            if isinstance(item, LeftOut):
                listed.append((item.id, [item.kind, item.reason]))
                continue
            file.write(np.ascontiguousarray(item.motion, dtype="<f4").tobytes())
            ids.append(item.id)
            lengths.append(len(item.motion))
            listed.append((item.id, [[c.text, list(c.tokens), c.start, c.end] for c in item.captions]))
        size = file.tell()
        file.seek(0)
        # numpy leaves room in the header for any number of rows, so that it can be written last.
        _write_npy_header(file, sum(lengths), num_features)
        if file.tell() != start:
            raise DataError(f"{path}: numpy wrote headers of two sizes; pack with numpy 1.26 or newer")
    header = {
        "format": _FORMAT,
        "source": source,
        "sha256": file_sha256(path),
        "bytes": size,
        "num_features": num_features,
        "ids": ids,
        "lengths": lengths,
        "listed": listed,
    }
    write_text_atomic(out / f"{name}.json", json.dumps(header))
    return header


def _write_npy_header(file: IO[bytes], rows: int, num_features: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, num_features)})


def _replace_folder(new: Path, place: Path) -> None:
    """Put a folder in the place of another; between the two steps there is none, and the plain files are read."""
    old = new.with_suffix(".old")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _header_path(root: Path, name: str) -> Path:
    return root / PACKED_FOLDER / f"{name}.json"


def _read_header(root: Path, name: str) -> dict[str, Any]:
    path = _header_path(root, name)
    header = read_json(path, "packed split's header")
    kinds = {"source": str, "sha256": str, "bytes": int, "num_features": int, "ids": list, "lengths": list}
    if header.get("format") != _FORMAT or not all(isinstance(header.get(key), kind) for key, kind in kinds.items()):
        raise DataError(f"{path}: is no header of a packed split; pack it again with 'data pack {root}'")
    return header


def _map_rows(root: Path, name: str, header: dict[str, Any], num_features: int) -> NDArray[np.float32]:
    path = root / PACKED_FOLDER / f"{name}.npy"
    again = f"pack it again with 'data pack {root}'"
    if header["num_features"] != num_features:
        raise DataError(f"{path}: has {header['num_features']} features, the skeleton {num_features}; {again}")
    size = path.stat().st_size if path.is_file() else 0
    if size != header["bytes"]:
        raise DataError(f"{path}: has {size} bytes of {header['bytes']}; {again}")
    if not header["lengths"]:
        return np.zeros((0, num_features), dtype=np.float32)
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE_ARRAY as error:
        raise DataError(f"{path}: cannot be mapped ({str(error)[:80]}); {again}") from None
    if rows.dtype != np.float32 or rows.shape != (sum(header["lengths"]), num_features):
        raise DataError(f"{path}: has shape {rows.shape}, not that of its header; {again}")
    return np.asarray(rows)


def _cut(
    root: Path, name: str, header: dict[str, Any], rows: NDArray[np.float32]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if len(header["ids"]) != len(header["lengths"]):
        raise DataError(f"{_header_path(root, name)}: ids and lengths differ; pack it again with 'data pack {root}'")
    start = 0
    for motion_id, length in zip(header["ids"], header["lengths"], strict=True):
        yield motion_id, rows[start : start + length]
        start += length
