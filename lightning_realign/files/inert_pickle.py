"""Reading the pickle in a torch file without importing, calling or running anything that it names.

Every name becomes an inert stand-in. The names of torch's tensors become plain records that say which storage and which
shape. The formats are torch's own (`torch.save`, with and without zip), as `torch/serialization.py` and
`torch/_utils.py` define them.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from lightning_realign.errors import CheckpointError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_NUMPY = b"\x93NUMPY"
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# What the unpickler itself raises for a damaged or hostile pickle.
DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    NotImplementedError,
)


class StorageRecord(NamedTuple):
    """A stretch of a stored array: key of the storage, element type, first element, number of elements."""

    key: str
    dtype: Any
    offset: Any
    size: Any


class TensorRecord(NamedTuple):
    """A tensor as the pickle describes it, not yet checked."""

    storage: Any
    offset: Any
    shape: Any
    stride: Any


class Stub:
    """Stands for any object: takes every argument, item and state, and keeps none."""

    kind = "object"

    def __new__(cls, *args: object, **kwargs: object) -> Stub:
        """Take any arguments and keep none."""
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Ignore the arguments."""

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""

    def __setitem__(self, key: object, value: object) -> None:
        """Ignore the item."""

    def append(self, item: object) -> None:
        """Ignore the item."""

    def extend(self, items: object) -> None:
        """Ignore the items."""

    def add(self, item: object) -> None:
        """Ignore the item."""

    def __call__(self, *args: object, **kwargs: object) -> Stub:
        """Return the stub itself, whatever it is called with."""
        return self


class _Mapping(dict[Any, Any]):
    """Stands for an ordered dictionary; attributes such as a state dict's `_metadata` are dropped."""

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


class _InertUnpickler(pickle.Unpickler):
    """Reads a pickle without importing or calling anything that it names."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self._stubs: dict[str, type[Stub]] = {}
        self.item_sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for anything; never an import."""
        known: Mapping[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): _Mapping,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            ("torch._utils", "_rebuild_parameter_with_state"): self._parameter,
            ("copyreg", "_reconstructor"): self._reconstructed,
            ("copy_reg", "_reconstructor"): self._reconstructed,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        kind = f"{module}.{name}"
        if kind not in self._stubs:
            self._stubs[kind] = type("Stub", (Stub,), {"kind": kind})
        return self._stubs[kind]

    def persistent_load(self, pid: Any) -> Any:
        """A storage's record. The class of a module that was saved with its source is returned as it is: a stub."""
        if not isinstance(pid, tuple) or len(pid) < 2 or pid[0] not in ("storage", "module"):
            raise pickle.UnpicklingError("a persistent id is neither a storage nor a module")
        if pid[0] == "module":
            return pid[1]
        _, dtype, key, _, size, *view = pid
        if not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("a storage is of an unknown type")
        self.item_sizes[str(key)] = dtype.itemsize
        if view and view[0] is not None:
            _, offset, size = view[0]
            return StorageRecord(str(key), dtype, offset, size)
        return StorageRecord(str(key), dtype, 0, size)

    def _tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: object) -> TensorRecord:
        return TensorRecord(storage, offset, shape, stride)

    def _parameter(self, data: Any, *_: object) -> Any:
        return data

    def _reconstructed(self, kind: Any, *_: object) -> Stub:
        return kind() if isinstance(kind, type) and issubclass(kind, Stub) else Stub()


@dataclass(frozen=True)
class Content:
    """The content of a pickle, and a function that gives the bytes of a storage."""

    value: Any
    read: Callable[[str], bytes]


def read_zip(archive: zipfile.ZipFile, file: Path) -> Content:
    """The content of a file in torch's zip form."""
    names = {name.partition("/")[2]: name for name in archive.namelist()}
    if "data.pkl" not in names or "constants.pkl" in names:
        raise CheckpointError(f"{file}: is {_other_archive(archive)}: give a file that torch.save wrote")
    if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
        raise CheckpointError(f"{file}: is compressed, which torch.save never does: give the file it wrote")
    order = archive.read(names["byteorder"]) if "byteorder" in names else b"little"
    if order != sys.byteorder.encode():
        raise CheckpointError(f"{file}: was written on a machine of another byte order: convert it there")
    value = _InertUnpickler(io.BytesIO(archive.read(names["data.pkl"]))).load()
    return Content(value, lambda key: archive.read(names[f"data/{key}"]))


def read_legacy(source: IO[bytes], file: Path) -> Content:
    """The content of a file in the format before torch 1.6.

    Such a file holds a magic number, the version, the system, the value and the storage keys, then the storages.
    """
    source.seek(0)
    try:
        start = [_InertUnpickler(source).load() for _ in range(2)]
    except DAMAGED:
        start = []
    if start != [_MAGIC, _PROTOCOL]:
        raise CheckpointError(f"{file}: is {_other_file(source)}: give a file that torch.save wrote")
    system = _InertUnpickler(source).load()
    if not isinstance(system, dict) or system.get("little_endian") is not (sys.byteorder == "little"):
        raise CheckpointError(f"{file}: was written on a machine of another byte order: convert it there")
    unpickler = _InertUnpickler(source)
    value = unpickler.load()
    keys = _InertUnpickler(source).load()
    places = _storage_places(source, [str(key) for key in keys], unpickler.item_sizes)

    def read(key: str) -> bytes:
        start, length = places[key]
        source.seek(start)
        return source.read(length)

    return Content(value, read)


def _other_archive(archive: zipfile.ZipFile) -> str:
    """What kind of zip file it is, if `torch.save` did not write it."""
    names = archive.namelist()
    if any(name.endswith("constants.pkl") for name in names):
        return "a TorchScript program"
    return "a NumPy archive" if any(name.endswith(".npy") for name in names) else "a zip file, but none of torch's"


def _other_file(source: IO[bytes]) -> str:
    """What kind of file it is, if it is neither a zip file nor begins like torch's older format."""
    source.seek(0)
    start = source.read(6)
    if start == _NUMPY:
        return "a NumPy array"
    return "a plain pickle" if start[:1] == b"\x80" else "no torch file"


def _storage_places(
    source: IO[bytes], keys: Sequence[str], item_sizes: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Start and length of each storage. The storages follow one another, each after its number of elements."""
    start = source.tell()
    end = source.seek(0, io.SEEK_END)
    places = {}
    for key in keys:
        source.seek(start)
        (count,) = struct.unpack("<q", source.read(8))
        length = count * item_sizes[key]
        if count < 0 or start + 8 + length > end:
            raise EOFError("a storage is cut off")
        places[key] = (start + 8, length)
        start += 8 + length
    return places
