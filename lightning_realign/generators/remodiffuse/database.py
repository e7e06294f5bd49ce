"""The motions that ReMoDiffuse retrieves from: its public database, or one that `build` made.

A database is an `.npz` file of N captioned motions: `text_features` [N, E], CLIP's projected feature of a caption;
`clip_seq_features` [N, 77, width], its hidden states; `motions` [N, T, D], normalised and padded; `m_lengths` [N].
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from lightning_realign.errors import DataError, FeatureSpecError
from lightning_realign.files.reading import UNREADABLE_ARRAY

# How much a difference of lengths counts, in all published models: similarity times exp(-0.1 |l - l'| / max(l, l')).
LENGTH_WEIGHT = 0.1
_NAMES = ("text_features", "m_lengths", "motions", "clip_seq_features")
_LOCAL_HEADER = struct.Struct("<26xHH")


@dataclass(frozen=True)
class DatabaseForm:
    """Sizes of a model's database: E, the width of tokens, T frames, D features."""

    text_size: int
    width: int
    frames: int
    features: int


class RetrievalDatabase:
    """N captioned motions on disk. Only a few are read at a time.

    Args:
        path: the `.npz` file. The arrays of an uncompressed file stay on disk; those of a compressed one are read into
            memory.
        form: the sizes that the model needs.

    Raises:
        DataError: the file is missing or damaged, holds Python objects, or an array is missing or misshapen.
        FeatureSpecError: the database belongs to another model.
    """

    def __init__(self, path: Path, form: DatabaseForm) -> None:
        self.path = path
        arrays = _read_arrays(path)
        self._lengths = torch.from_numpy(np.array(arrays["m_lengths"])).flatten()
        self._motions, self._tokens = arrays["motions"], arrays["clip_seq_features"]
        self._check(arrays, form)
        features = np.asarray(arrays["text_features"], dtype=np.float64)
        if not np.isfinite(features).all():
            raise DataError(f"{path}: 'text_features' has NaN or infinite entries; copy or make the database again")
        self._features = normalize(torch.from_numpy(features), dim=1)

    def __len__(self) -> int:
        return len(self._lengths)

    def _check(self, arrays: Mapping[str, NDArray[Any]], form: DatabaseForm) -> None:
        count = len(self._lengths)
        wanted: dict[str, tuple[int, ...]] = {
            "text_features": (count, form.text_size),
            "motions": (count, form.frames, form.features),
            "clip_seq_features": (count, *arrays["clip_seq_features"].shape[1:2], form.width),
        }
        for name, shape in wanted.items():
            if arrays[name].shape != shape:
                raise FeatureSpecError(
                    f"{self.path}: {name!r} has shape {arrays[name].shape}, this model needs {shape}; give the "
                    "database published with it"
                )
        if not count or self._lengths.is_floating_point() or not 1 <= self._lengths.min() <= form.frames:
            raise DataError(f"{self.path}: 'm_lengths' are no {count} whole numbers from 1; copy the database again")

    def search(self, queries: Tensor, lengths: Tensor, count: int) -> Tensor:
        """The rows [B, count] of the motions whose captions and lengths are nearest, best first.

        Scores are the captions' cosine times exp(-LENGTH_WEIGHT |l - l'| / max(l, l')), rounded to float32. Of equal
        scores, the first row wins.

        Args:
            queries: [B, E] projected features of the captions.
            lengths: [B] frames of the motions to be made.
            count: motions per caption.

        Raises:
            DataError: the database has fewer motions.
        """
        if count > len(self):
            raise DataError(
                f"{self.path}: holds {len(self)} motions, but {count} are read per caption; use a larger one"
            )
        queries, own = normalize(queries.detach().to("cpu", torch.float64), dim=1), self._lengths.double()
        rows = []
        for query, length in zip(queries, lengths.tolist(), strict=True):
            gap = (own - length).abs() / own.clamp(min=length)
            # One query at a time, since a product of matrices rounds in a way that depends on the batch.
            score = (self._features @ query) * torch.exp(-LENGTH_WEIGHT * gap)
            rows.append(score.float().sort(descending=True, stable=True).indices[:count])
        return torch.stack(rows)

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The motions [B, k, T, D], their lengths [B, k] and their captions' hidden states [B, k, 77, width], float32.

        Args:
            rows: [B, k].
        """
        places = rows.numpy()
        motions, tokens = (
            torch.from_numpy(np.array(array[places], dtype=np.float32)) for array in (self._motions, self._tokens)
        )
        return motions, self._lengths[rows].long().clamp(max=motions.shape[2]), tokens


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays by name. Nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read_array(path, archive, name) for name in _NAMES}
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: the retrieval database is missing; check the path") from None
    except UNREADABLE_ARRAY as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: the retrieval database cannot be read ({reason[:80]}); copy or make it again"
        ) from None


def _read_array(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise DataError(
            f"{path}: has no array {name!r}, so it is no retrieval database; give the published one"
        ) from None
    with archive.open(info) as file:
        shape, fortran, dtype = _read_header(file)
        if dtype.hasobject:
            raise DataError(
                f"{path}: {name!r} holds Python objects, which are refused unread; make a database of the data set"
            )
        if dtype.kind not in "fiu":
            raise DataError(f"{path}: {name!r} holds {dtype}, not numbers; give the database published with the model")
        if info.compress_type != zipfile.ZIP_STORED or 0 in shape:
            data = file.read()
            return np.frombuffer(data, dtype, math.prod(shape)).reshape(shape, order="F" if fortran else "C")
        start = file.tell()
    with path.open("rb") as raw:
        raw.seek(info.header_offset)
        start += info.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size)))
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)
