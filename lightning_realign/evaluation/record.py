"""The record of a test run: what was measured of every sample, and every embedding, so that figures can be recomputed.

Symbols: N samples, W channels of an embedding, R replications, K draws of a row: R, or 1 for motions that are the same
in every replication. A draw's index is the replication's, or 0.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_realign.errors import DataError

_FORMAT = 1


@dataclass(frozen=True)
class Embeddings:
    """What one judge made of a run's captions and motions, float32.

    text: [K, N, W] of the captions. motion: per row [K, N, W]. repeats: per row [C, S, W], S motions for each of C
    captions, for MultiModality. train: [M, W] of the training split, for the floor of FID, or None.
    """

    text: Tensor
    motion: Mapping[str, Tensor]
    repeats: Mapping[str, Tensor]
    train: Tensor | None


@dataclass(frozen=True)
class Record:
    """All that a test run measured.

    ids: N sample ids. captions: K tuples of N captions. lengths: [K, N] frames. labels: N labels, None where there is
    none. replications: R. figures: per row and figure [K, N], NaN for samples that have no value.
    judges: by name. settings: of the run, as in its receipt.
    """

    ids: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    lengths: Tensor
    labels: tuple[str | None, ...]
    replications: int
    figures: Mapping[str, Mapping[str, Tensor]]
    judges: Mapping[str, Embeddings]
    settings: Mapping[str, Any]


def at_draw(draws: Sequence[Any] | Tensor, replication: int) -> Any:
    """The draw of a replication, of K of them."""
    return draws[replication if len(draws) > 1 else 0]


def write_record(path: Path, record: Record) -> None:
    """Write a record as safetensors, atomically; `read_record` gives it back exactly."""
    tensors = {"lengths": record.lengths}
    for row, figures in record.figures.items():
        tensors |= {f"figure/{row}/{name}": values for name, values in figures.items()}
    for judge, embeddings in record.judges.items():
        tensors[f"text/{judge}"] = embeddings.text
        tensors |= {f"motion/{judge}/{row}": values for row, values in embeddings.motion.items()}
        tensors |= {f"repeats/{judge}/{row}": values for row, values in embeddings.repeats.items()}
        if embeddings.train is not None:
            tensors[f"train/{judge}"] = embeddings.train
    described = {
        "format": _FORMAT,
        "ids": record.ids,
        "captions": record.captions,
        "labels": record.labels,
        "replications": record.replications,
        "rows": {row: list(figures) for row, figures in record.figures.items()},
        "judges": list(record.judges),
        "settings": dict(record.settings),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        held = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
        save_file(held, partial, {"record": json.dumps(described)})
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def read_record(path: Path) -> Record:
    """Read what `write_record` wrote; a folder stands for the one record in it.

    Raises:
        DataError: the file is missing, damaged or no record, or a folder holds none or several.
    """
    path = _record_in(path) if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the samples-*.safetensors that a test run wrote")
    try:
        with safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {}).get("record", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: damaged or no record ({error}); run the test again") from None
    if described.get("format") != _FORMAT:
        raise DataError(f"{path}: no record of a test run in format {_FORMAT}; run the test again")
    return Record(
        tuple(described["ids"]),
        tuple(tuple(captions) for captions in described["captions"]),
        tensors["lengths"],
        tuple(described["labels"]),
        described["replications"],
        {
            row: {name: tensors[f"figure/{row}/{name}"] for name in figures}
            for row, figures in described["rows"].items()
        },
        {
            name: Embeddings(
                tensors[f"text/{name}"],
                _under(tensors, f"motion/{name}/"),
                _under(tensors, f"repeats/{name}/"),
                tensors.get(f"train/{name}"),
            )
            for name in described["judges"]
        },
        described["settings"],
    )


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}


def _record_in(folder: Path) -> Path:
    found = sorted(folder.glob("samples-*.safetensors"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{folder}: has {names} of samples-*.safetensors; give the file of one run")
    return found[0]
