"""Reading a checkpoint file safely: plain values and tensors only, strict weights, one-line errors naming the file."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn

from lightning_realign.errors import CheckpointError, RealignError

SPEC_KEY = "lightning_realign"
_T = TypeVar("_T")
# What torch.load raises for files that are cut off, overwritten, or no checkpoints at all.
_DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint read from disk: the named entry and the weights, with one-line errors that name the file."""

    path: Path
    spec: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path, kind: str) -> CheckpointFile:
        """Read a file and make sure that it is a checkpoint of this kind."""
        content = read_plain(path)
        spec = content.get(SPEC_KEY) if isinstance(content, dict) else None
        if not isinstance(spec, dict):
            raise CheckpointError(
                f"{path}: has no {SPEC_KEY!r} entry, so it is no checkpoint of this project: "
                "give one written by its 'fit' command"
            )
        if spec.get("kind") != kind:
            raise CheckpointError(f"{path}: is a {spec.get('kind')!r} checkpoint, but a {kind!r} checkpoint is needed")
        weights = content.get("state_dict")
        if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
            raise CheckpointError(f"{path}: 'state_dict' is missing or holds more than tensors: train it again")
        return cls(path, spec, weights)

    def field(self, name: str, kind: type[_T]) -> _T:
        """A field of the entry, of the given type."""
        value = self.spec.get(name)
        if not isinstance(value, kind):
            raise CheckpointError(
                f"{self.path}: field {name!r} is {_shortened(value)}, expected {kind.__name__}: train it again"
            )
        return value

    def part(self, name: str, kind: type[_T]) -> _T:
        """A dataclass built from a nested dictionary of the entry."""
        values = self.field(name, dict)
        try:
            return kind(**values)
        except (TypeError, RealignError) as error:
            raise CheckpointError(f"{self.path}: field {name!r} does not fit {kind.__name__}: {error}") from error

    def choice(self, name: str, allowed: Any) -> Any:
        """A field of the entry that is one of a Literal's values."""
        value = self.field(name, str)
        if value not in get_args(allowed):
            raise CheckpointError(f"{self.path}: field {name!r} is {value!r}, expected {get_args(allowed)}")
        return value

    def build(self, kind: Callable[..., _T], sizes: Mapping[str, int], architecture: Any) -> _T:
        """A network from the data's sizes and its architecture."""
        try:
            return kind(**sizes, **asdict(architecture))
        except (TypeError, RuntimeError, RealignError) as error:
            raise CheckpointError(f"{self.path}: its architecture cannot be built: {error}") from error

    def load(self, modules: Mapping[str, nn.Module]) -> None:
        """Load every module strictly from the keys under its name, then freeze it in eval mode."""
        expected = {
            f"{prefix}.{key}": value for prefix, module in modules.items() for key, value in module.state_dict().items()
        }
        self._compare(expected)
        for prefix, module in modules.items():
            module.load_state_dict({key: self.weights[f"{prefix}.{key}"] for key in module.state_dict()})
            module.requires_grad_(False).eval()

    def _compare(self, expected: Mapping[str, Tensor]) -> None:
        missing = sorted(expected.keys() - self.weights.keys())
        surplus = sorted(self.weights.keys() - expected.keys())
        for problem, keys in (("lack", missing), ("have surplus", surplus)):
            if keys:
                raise CheckpointError(
                    f"{self.path}: its weights {problem} {_shortened(keys[0])}{_more(keys)}: "
                    "it does not fit the architecture it names, train it again"
                )
        for key, value in expected.items():
            if self.weights[key].shape != value.shape:
                raise CheckpointError(
                    f"{self.path}: {key!r} has shape {tuple(self.weights[key].shape)}, its architecture "
                    f"needs {tuple(value.shape)}: train it again"
                )


def check_resumable(path: str | Path) -> None:
    """Make sure that a file is what `--ckpt_path` takes: a safe, whole checkpoint that a `fit` of this project wrote.

    Raises:
        CheckpointError: it is not.
    """
    content = read_plain(Path(path))
    if not isinstance(content, dict) or not {SPEC_KEY, "state_dict", "pytorch-lightning_version"} <= content.keys():
        raise CheckpointError(f"{path}: is no checkpoint of a training: give one written by 'train.py fit'")


def read_plain(path: Path, remedy: str = "give a checkpoint written by this project") -> Any:
    """Read a file of plain values and tensors; nothing in it is ever executed.

    Args:
        path: the file.
        remedy: what to do about a file that holds more than that.

    Raises:
        CheckpointError: it is missing, damaged, or holds more.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file: check the path, or train one with 'train.py fit'")
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
            f"{path}: is damaged or no checkpoint ({type(error).__name__}): copy or train it again"
        ) from error


def _shortened(value: object, size: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= size else f"{text[: size - 3]}..."


def _more(keys: Sequence[str]) -> str:
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""
