"""The record of a test run: every value of every sample and every embedding, so that metrics can be recomputed.

Symbols: N samples, W channels of an embedding, R replications, K replications of a system: R, or 1 for motions that are
the same in every replication. The place of a replication among the K is its number, or 0.

The file is safetensors. Its header has the key `record`: a JSON object with ids, captions, labels, replications,
settings, `systems` (system -> names of its metrics) and `judges` (names). Its tensors are `lengths`,
`metric/SYSTEM/METRIC`, `text/JUDGE`, `motion/JUDGE/SYSTEM`, `repeats/JUDGE/SYSTEM` and `train/JUDGE`. Format 1 calls
the systems `rows`, and a metric's tensor `figure/SYSTEM/METRIC`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_realign.errors import DataError
from lightning_realign.files.run_folder import newest_with
from lightning_realign.files.weights import write_safetensors

FORMAT = 2
# The field of the systems and the beginning of a metric's tensor, by format.
_PATTERN = "samples-*.safetensors"
_NAMES = {1: ("rows", "figure"), 2: ("systems", "metric")}


@dataclass(frozen=True)
class Embeddings:
    """What one judge made of a run's captions and motions, float32.

    text: [K, N, W] of the captions. motion: per system [K, N, W]. repeats: per system [C, S, W], S motions for each of
    C captions, for MultiModality. train: [M, W] of the training split, for the floor of FID, or None.
    """

    text: Tensor
    motion: Mapping[str, Tensor]
    repeats: Mapping[str, Tensor]
    train: Tensor | None


@dataclass(frozen=True)
class Record:
    """All that a test run measured.

    ids: N sample ids. captions: K tuples of N captions. lengths: [K, N] frames. labels: N labels, None where there is
    none. replications: R. metrics: per system and metric [K, N], NaN for samples that have no value. judges: by name.
    settings: of the run, as in its receipt.
    """

    ids: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    lengths: Tensor
    labels: tuple[str | None, ...]
    replications: int
    metrics: Mapping[str, Mapping[str, Tensor]]
    judges: Mapping[str, Embeddings]
    settings: Mapping[str, Any]


def at_replication(values: Sequence[Any] | Tensor, replication: int) -> Any:
    """The entry of a replication among K."""
    return values[replication if len(values) > 1 else 0]


def write_record(path: Path, record: Record) -> None:
    """Write a record as safetensors, atomically; `read_record` gives it back exactly."""
    tensors = {"lengths": record.lengths}
    for system, metrics in record.metrics.items():
        tensors |= {f"metric/{system}/{name}": values for name, values in metrics.items()}
    for judge, embeddings in record.judges.items():
        tensors[f"text/{judge}"] = embeddings.text
        tensors |= {f"motion/{judge}/{system}": values for system, values in embeddings.motion.items()}
        tensors |= {f"repeats/{judge}/{system}": values for system, values in embeddings.repeats.items()}
        if embeddings.train is not None:
            tensors[f"train/{judge}"] = embeddings.train
    described = {
        "format": FORMAT,
        "ids": record.ids,
        "captions": record.captions,
        "labels": record.labels,
        "replications": record.replications,
        "systems": {system: list(metrics) for system, metrics in record.metrics.items()},
        "judges": list(record.judges),
        "settings": dict(record.settings),
    }
    held = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
    write_safetensors(path, held, {"record": json.dumps(described)})


def read_record(path: Path) -> Record:
    """Read what `write_record` wrote, in format 1 or 2; a folder stands for the one record in it.

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
    if described.get("format") not in _NAMES:
        raise DataError(f"{path}: no record of a test run in format 1 or 2; run the test again")
    systems, metric = _NAMES[described["format"]]
    return Record(
        tuple(described["ids"]),
        tuple(tuple(captions) for captions in described["captions"]),
        tensors["lengths"],
        tuple(described["labels"]),
        described["replications"],
        {
            system: {name: tensors[f"{metric}/{system}/{name}"] for name in names}
            for system, names in described[systems].items()
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
    found = sorted(newest_with(folder, _PATTERN).glob(_PATTERN))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{folder}: has {names} of {_PATTERN}; give the file of one run")
    return found[0]
