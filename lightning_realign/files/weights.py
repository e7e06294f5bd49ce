"""Weights from any source: read without running anything, and loaded strictly, with a report of what differs."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_realign.errors import CheckpointError
from lightning_realign.files.atomic import atomic_path

# What torch.load raises for files that are cut off, overwritten, or no checkpoints at all.
_DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
_CONVERT = "convert it with `python -m lightning_realign convert {path} --out {out}`, and give that file"
_OWN, _PUBLISHED = "check the path, or train one with 'train.py fit'", "docs/backbones.md says where it comes from"
# Names that a report spells out; the rest is counted.
_NAMED = 3


def read_plain(
    path: Path, remedy: str = "give a checkpoint written by this project", missing: str = _OWN, again: str = "train"
) -> Any:
    """Read a file of plain values and tensors. Nothing in it is ever executed.

    Args:
        path: the file.
        remedy: what to do about a file that holds more than that, for the message.
        missing: what to do if there is no file, for the message.
        again: the verb for getting another copy, for the message.

    Raises:
        CheckpointError: it is missing, damaged, or holds more.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, and a checkpoint file is needed: give the file in it")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file: {missing}")
    if _is_web_page(path):
        raise CheckpointError(f"{path}: is a web page saved under this name, no checkpoint: {again} it again")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message runs over many lines and advises to read the file unsafely; only the culprit is kept.
        culprit = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds the Python object {culprit[1]!r}" if culprit else "is damaged or holds Python objects"
        raise CheckpointError(
            f"{path}: {what}, which is refused unread, since only tensors and plain values are safe: {remedy}"
        ) from error
    except _DAMAGED as error:
        raise CheckpointError(
            f"{path}: is damaged or no checkpoint ({type(error).__name__}): copy or {again} it again"
        ) from error


def _is_web_page(path: Path) -> bool:
    """Whether a file begins like HTML. File hosts send such a page in place of a large file."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    return start.startswith((b"<!doctype", b"<html"))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:80]
        raise CheckpointError(f"{path}: cannot be read ({reason}): copy or convert it again") from None


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write tensors as a .safetensors file, atomically. No two of them may share memory."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, dict(header))


def read_content(path: Path) -> Any:
    """The content of a published checkpoint: a torch file of plain values and tensors, or what `convert` made of one.

    Raises:
        CheckpointError: it is missing, damaged, or holds Python objects.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return read_plain(path, _CONVERT.format(path=path, out=path.with_suffix(".safetensors")), _PUBLISHED, "download")


def read_weights(path: Path, *entries: str) -> dict[str, Tensor]:
    """The weights of a published checkpoint, by name.

    Args:
        path: the file, see `read_content`.
        entries: the dictionaries in the file that may hold the weights; the first one that is there is read. A file
            without any of them is taken for the weights themselves. `convert` puts a dictionary's name before the names
            of its tensors, except for `state_dict`, which it leaves out.

    Raises:
        CheckpointError: the file is missing, damaged, holds Python objects, or no such weights.
    """
    content = read_content(path)
    state = _entry(content, entries, flat=path.suffix == ".safetensors")
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        keys = [repr(key) for key in content] if isinstance(content, Mapping) else [type(content).__name__]
        held = _some(keys) or "nothing"
        wanted = " or ".join(map(repr, entries)) or "at its top"
        raise CheckpointError(f"{path}: has no weights {wanted}, but {held}: give the published checkpoint")
    return {str(key): value for key, value in state.items()}


def _entry(content: Any, entries: Sequence[str], *, flat: bool) -> Any:
    """The first of the entries that is there, else everything. With `flat`, an entry is the beginning of names."""
    if flat:
        return next(filter(None, (state_under(content, entry) for entry in entries)), content)
    if isinstance(content, Mapping):
        return next((content[entry] for entry in entries if entry in content), content)
    return content


def state_under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix` and a dot, without that beginning."""
    start = f"{prefix}."
    return {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}


def load_strictly(
    module: nn.Module,
    weights: Mapping[str, Any],
    where: str,
    *,
    ignored: Sequence[str] = (),
    remedy: str = "give the checkpoint of this architecture",
) -> None:
    """Load weights that fit a module exactly, then freeze it in eval mode.

    Args:
        module: the network.
        weights: its state dict, and nothing else.
        where: the file, and the part of it, for the message.
        ignored: names, or beginnings of names that end in a dot, of weights that may be there and are left out.
        remedy: what to do if they do not fit, for the message.

    Raises:
        CheckpointError: names or shapes differ, or a weight is not finite; the module is then unchanged.
    """
    kept = {key: value for key, value in weights.items() if not _is_ignored(key, ignored)}
    expected = module.state_dict()
    report = difference(expected, kept)
    if report:
        raise CheckpointError(f"{where}: its weights do not fit: {report}: {remedy}")
    for key, value in expected.items():
        # In the module's own precision: a number beyond its range would become infinite there.
        if not bool(kept[key].to(value.dtype).isfinite().all()):
            raise CheckpointError(f"{where}: {key!r} has NaN or infinite entries, no network's: copy or train it again")
    module.load_state_dict(kept)
    module.requires_grad_(False).eval()


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Any]) -> str:
    """How `found` differs from `expected`, in words; empty if it does not.

    >>> one, other = {"a": torch.ones(2), "b": torch.ones(1)}, {"a": torch.ones(3), "c": torch.ones(1)}
    >>> difference(one, other)
    "1 missing ('b'), 1 surplus ('c'), 1 of another shape ('a': (3,), needs (2,))"
    """
    shapes = [
        f"{key!r}: {_shape(found[key])}, needs {_shape(value)}"
        for key, value in expected.items()
        if key in found and _shape(found[key]) != _shape(value)
    ]
    parts = (
        ("missing", [repr(key) for key in expected if key not in found]),
        ("surplus", [repr(key) for key in found if key not in expected]),
        ("of another shape", shapes),
    )
    return ", ".join(f"{len(keys)} {problem} ({_some(keys)})" for problem, keys in parts if keys)


def _shape(value: object) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _some(names: Sequence[str]) -> str:
    named = ", ".join(names[:_NAMED])
    return named if len(names) <= _NAMED else f"{named}, ..."


def _is_ignored(key: str, ignored: Sequence[str]) -> bool:
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in ignored)
