"""Files whose payload creates a marker when they are unpickled, in every form that a reader of ours might meet."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch


class Payload:
    """Runs a command when it is unpickled by a reader that runs what it reads."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


class CodePayload(Payload):
    """The same by way of Python code."""

    def __reduce__(self):
        return exec, (f"import pathlib; pathlib.Path({str(self.marker)!r}).touch()",)


def _torch(content: object, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _objects(payload: Payload) -> np.ndarray:
    array = np.empty(1, dtype=object)
    array[0] = payload
    return array


def _npy(payload: Payload) -> bytes:
    file = io.BytesIO()
    np.save(file, _objects(payload), allow_pickle=True)
    return file.getvalue()


def _npz(payload: Payload) -> bytes:
    file = io.BytesIO()
    # Under the names that predictions, exported embeddings and retrieval databases have.
    names = ("ids", "text", "motion", "joints", "skeleton", "fps", "text_features", "m_lengths", "motions")
    np.savez(file, allow_pickle=True, **{name: _objects(payload) for name in names})
    return file.getvalue()


def _checkpoint(payload: object) -> dict[str, object]:
    """A checkpoint's usual entries, with the payload beside the weights and among them."""
    return {"state_dict": {"weight": torch.ones(2), "bomb": payload}, "hyper_parameters": payload}


TORCH: dict[str, Callable[[Path], bytes]] = {
    "zip": lambda marker: _torch(_checkpoint(Payload(marker))),
    "zip code": lambda marker: _torch({"model": CodePayload(marker), "encoder": {"a": torch.ones(1)}}),
    "legacy": lambda marker: _torch(_checkpoint(Payload(marker)), zipped=False),
    "numpy objects": lambda marker: _torch(_checkpoint(_objects(Payload(marker)))),
}
PICKLES: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda marker: pickle.dumps(Payload(marker)),
    "old pickle": lambda marker: pickle.dumps([CodePayload(marker)], protocol=0),
    "pickled numpy objects": lambda marker: pickle.dumps({"a": _objects(Payload(marker))}),
}
ARRAYS: dict[str, Callable[[Path], bytes]] = {
    "object array": lambda marker: _npy(Payload(marker)),
    "archive of object arrays": lambda marker: _npz(CodePayload(marker)),
}
YAML: dict[str, Callable[[Path], bytes]] = {
    "call": lambda marker: f"name: !!python/object/apply:os.system ['touch {marker}']\n".encode(),
    "new": lambda marker: f"!!python/object/new:os.system ['touch {marker}']\n".encode(),
    "name": lambda marker: b"!!python/name:os.system\n",
}


def armed(form: Callable[[Path], bytes], marker: Path) -> bool:
    """Whether the payload of a form runs in a reader that runs what it reads."""
    content = form(marker)
    if content[:1] == b"!" or b"!!python" in content:
        return True
    try:
        torch.load(io.BytesIO(content), weights_only=False)
    except (RuntimeError, pickle.UnpicklingError, AttributeError, TypeError, ValueError):
        loaded = np.load(io.BytesIO(content), allow_pickle=True)
        _ = [loaded[name] for name in getattr(loaded, "files", ())]
    ran = marker.exists()
    marker.unlink(missing_ok=True)
    return ran
