"""Making a retrieval database for ReMoDiffuse from a data set, in the form of the public one."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_realign.data.dataset import load_split
from lightning_realign.data.formats import Metadata, read_metadata
from lightning_realign.files.atomic import atomic_path
from lightning_realign.generators.base import LoadOptions
from lightning_realign.generators.motiondiffuse import TEXT_ENCODER
from lightning_realign.generators.remodiffuse.files import DATABASES, read_denoiser, read_statistics
from lightning_realign.motion import Skeleton, require_same_skeleton
from lightning_realign.text import CachedTextEncoder

# The published data sets' motions have fewer frames than this.
_MAX_LENGTH = 200
_TEXTS_AT_ONCE = 256


def make_database(checkpoint: Path, data: Path, out: Path | None, options: LoadOptions) -> Path:
    """Make a retrieval database from a data set's training split, in the form of the public one.

    Args:
        checkpoint: the model that the database is for.
        data: a folder in HumanML3D's form.
        out: the `.npz` file; None for the public name beside the checkpoint.
        options: text encoder, folder of its cached features, and statistics are used; see `load`.

    Returns:
        The file.

    Raises:
        CheckpointError: as `load`.
        ConfigError: no statistics.
        DataError: the data set cannot be read, or the statistics do not fit.
        FeatureSpecError: the data set has another skeleton than the model.
    """
    denoiser, skeleton = read_denoiser(checkpoint)
    normaliser = read_statistics(checkpoint, skeleton, options)
    frames = denoiser.architecture.max_frames
    entries = dataset_entries(data, skeleton, frames, (normaliser.mean.numpy(), normaliser.std.numpy()))
    path = out if out is not None else checkpoint.parent / DATABASES[skeleton.name]
    encode = options.encode or CachedTextEncoder(TEXT_ENCODER, options.text_cache)

    def texts() -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, len(entries), _TEXTS_AT_ONCE):
            features = encode([entry.caption for entry in entries[first : first + _TEXTS_AT_ONCE]])
            yield from zip(denoiser.search_features(features.sentence), features.tokens, strict=True)

    write_database(path, entries, texts(), frames)
    return path


@dataclass(frozen=True)
class DatabaseEntry:
    """A normalised motion [T, D] and one of its captions."""

    motion: NDArray[np.float32]
    caption: str


def dataset_entries(
    root: Path, skeleton: Skeleton, frames: int, statistics: tuple[NDArray[Any], NDArray[Any]]
) -> list[DatabaseEntry]:
    """The training split of a data set: each motion, and each tagged part of one, with its first caption.

    Args:
        root: a folder in HumanML3D's form.
        skeleton: the model's skeleton.
        frames: how many frames of a motion are kept at most.
        statistics: mean and standard deviation [D] to normalise with.

    Raises:
        DataError: the data set cannot be read.
        FeatureSpecError: it is of another skeleton.
    """
    metadata = read_metadata(root, Metadata(root.name, skeleton.fps, skeleton.name, skeleton.min_length, _MAX_LENGTH))
    require_same_skeleton(f"{root}", metadata.skeleton, "the model", skeleton, "use the model's own data set")
    mean, std = statistics
    return [
        DatabaseEntry(((clip.motion[:frames] - mean) / std).astype(np.float32), clip.captions[0].text)
        for clip in load_split(root, "train", metadata, skeleton.num_features).entries
    ]


def write_database(
    path: Path, entries: Sequence[DatabaseEntry], texts: Iterable[tuple[Tensor, Tensor]], frames: int
) -> None:
    """Write a database atomically. It is uncompressed, so that it can be read in parts.

    Args:
        path: the `.npz` file.
        entries: N captioned motions.
        texts: for each entry, its caption's feature [E] and hidden states [77, width].
        frames: the number of frames to which motions are padded.
    """
    with atomic_path(path) as partial, tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        features, spooled = [], Path(folder) / "tokens"
        with spooled.open("wb") as tokens:
            for feature, states in texts:
                features.append(feature.float().numpy())
                tokens.write(states.float().contiguous().numpy().tobytes())
                shape = tuple(states.shape)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for name, array in (
                ("text_features", np.stack(features)),
                ("m_lengths", np.array([len(entry.motion) for entry in entries], dtype=np.int64)),
                ("captions", np.array([entry.caption for entry in entries], dtype=str)),
            ):
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
            size = entries[0].motion.shape[1]
            _write_rows(archive, "motions", (len(entries), frames, size), _padded(entries, frames))
            stored = np.memmap(spooled, np.float32, "r", 0, (len(entries), *shape))
            _write_rows(archive, "clip_seq_features", stored.shape, stored)
            del stored


def _padded(entries: Sequence[DatabaseEntry], frames: int) -> Iterator[NDArray[np.float32]]:
    for entry in entries:
        yield np.pad(entry.motion, ((0, frames - len(entry.motion)), (0, 0)))


def _write_rows(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], rows: Iterable[NDArray[np.float32]]
) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for row in rows:
            file.write(np.ascontiguousarray(row).tobytes())
