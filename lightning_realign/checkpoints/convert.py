"""Turn checkpoints that hold Python objects into safetensors: weights are kept, objects dropped, and nothing runs."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from lightning_realign.errors import CheckpointError
from lightning_realign.files.hashing import file_sha256
from lightning_realign.files.inert_pickle import (
    DAMAGED,
    Content,
    StorageRecord,
    Stub,
    TensorRecord,
    read_legacy,
    read_zip,
)
from lightning_realign.files.weights import write_safetensors


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion kept and dropped."""

    out: Path
    kept: int
    dropped: Mapping[str, int]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.dropped.items()) or "nothing"
        return f"{self.out}: {self.kept} tensors; dropped {kinds}"


def convert(file: Path, out: Path) -> ConversionReport:
    """Write a torch file's tensors as safetensors. Nothing in the file is run, whatever it holds.

    The tensors in the dictionary `state_dict` are kept. Where there is no such dictionary, those of all nested
    dictionaries are kept, with names joined by dots. Everything else is dropped and counted by kind; the report and the
    header of `out` hold the counts, and the header the source's checksum.

    Args:
        file: the torch file.
        out: the .safetensors file to write.

    Raises:
        CheckpointError: if the file is missing, not of torch's formats, damaged, or holds no tensors in dictionaries.
    """
    if out.suffix != ".safetensors":
        raise CheckpointError(f"{out}: the output is no .safetensors file: choose such a name")
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file: check the path")
    try:
        with file.open("rb") as source:
            tensors, dropped = _extract(source, file)
        checksum = file_sha256(file)
    except CheckpointError:
        raise
    except DAMAGED as error:
        raise CheckpointError(
            f"{file}: is no torch file, or a damaged one ({type(error).__name__}: {' '.join(str(error).split())[:80]})"
        ) from None
    if not tensors:
        raise CheckpointError(f"{file}: has no tensors in dictionaries, only {', '.join(dropped) or 'nothing'}")
    header = {
        "format": "pt",
        "source": file.name,
        "source_sha256": checksum,
        "kept": str(len(tensors)),
        "dropped": json.dumps(dropped),
    }
    write_safetensors(out, tensors, header)
    return ConversionReport(out, len(tensors), dropped)


def _extract(source: IO[bytes], file: Path) -> tuple[dict[str, Tensor], dict[str, int]]:
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            return _tensors(read_zip(archive, file), file)
    return _tensors(read_legacy(source, file), file)


def _tensors(content: Content, file: Path) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The tensors by dotted name, and how many values of which kind are dropped."""
    value, dropped = content.value, Counter[str]()
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        for name, other in value.items():
            if name != "state_dict":
                dropped[_kind(other)] += 1
        value = value["state_dict"]
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        prefix, item = waiting.pop(0)
        if isinstance(item, TensorRecord):
            name = prefix or "tensor"
            if name in tensors:
                raise CheckpointError(f"{file}: two tensors are named {name!r} once dots join their names")
            tensors[name] = _materialise(item, content, name, file)
        elif isinstance(item, dict) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend((f"{prefix}.{key}" if prefix else str(key), part) for key, part in item.items())
        else:
            dropped[_kind(item)] += 1
    return tensors, dict(sorted(dropped.items()))


def _kind(value: object) -> str:
    if isinstance(value, TensorRecord):
        return "tensor"
    if isinstance(value, Stub):
        return value.kind
    if isinstance(value, type) and issubclass(value, Stub):
        return value.kind
    return "dict" if isinstance(value, dict) else type(value).__name__


def _materialise(record: TensorRecord, content: Content, name: str, file: Path) -> Tensor:
    """A tensor of its own memory. Its record is first checked to lie within its storage."""
    storage, damaged = record.storage, f"{file}: tensor {name!r} does not fit its storage: the file is damaged"
    if not isinstance(storage, StorageRecord):
        raise CheckpointError(damaged)
    shape, stride = tuple(record.shape), tuple(record.stride)
    numbers = (storage.offset, storage.size, record.offset, *shape, *stride)
    if len(shape) != len(stride) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise CheckpointError(damaged)
    first = storage.offset + record.offset
    last = first + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    data = content.read(storage.key)
    available = min(storage.offset + storage.size, len(data) // storage.dtype.itemsize)
    if 0 in shape:
        return torch.empty(shape, dtype=storage.dtype)
    # A few bytes may claim to be an endless tensor by strides of 0.
    if last >= available or torch.Size(shape).numel() > available:
        raise CheckpointError(damaged)
    whole = torch.frombuffer(bytearray(data), dtype=storage.dtype, count=available)
    return whole.as_strided(shape, stride, first).clone(memory_format=torch.contiguous_format)
