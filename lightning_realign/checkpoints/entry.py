"""What a checkpoint says of itself: the entry that our LightningModules write beside their weights, and how it is read.

A checkpoint is self-contained. It is a Lightning `.ckpt` file, and its extra entry `checkpoint["lightning_realign"]`, a
dictionary of plain values, says what the weights are: kind, skeleton, sizes, architecture, text encoder, noise
schedule, and the fingerprint of the training data. Together with the weights and the normaliser's statistics, that is
all that generating needs. The modules beside this one hold one kind of checkpoint each: `reward`, `vae`, `diffusion`,
`evaluator`.

Files are only ever read with `weights_only=True`, and weights are loaded strictly. Averaged weights need no special
care: Lightning's `EMAWeightAveraging` stores them under `state_dict` itself and keeps the raw ones elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from torch import Tensor, nn

from lightning_realign.checkpoints.folder import VERSION_FIELD, Located, is_address, located, read_model_folder
from lightning_realign.errors import CheckpointError, RealignError
from lightning_realign.files.weights import difference, load_strictly, read_plain, state_under

SPEC_KEY = "lightning_realign"
# Version 1 states no number. Version 2 states it, and the hyper-parameters beside the entry have groups.
CHECKPOINT_VERSION = 2
_T = TypeVar("_T")


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint read from disk: its entry and its weights. Every error is one line that names the file.

    where: what messages call the file. spec: the entry. weights: the state dict.
    """

    where: str
    spec: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path, *kinds: str) -> CheckpointFile:
        """Read a checkpoint file, a model's folder or a repository of the Hub.

        Args:
            path: the file, the folder, or `hf://owner/name[@revision]`.
            kinds: the kinds that it may be of.

        Raises:
            CheckpointError: it is missing, damaged, unsafe, no checkpoint of this project, or of another kind.
        """
        place = located(path)
        content = _content(place)
        where, spec = place.label, content.get(SPEC_KEY) if isinstance(content, dict) else None
        if not isinstance(spec, dict):
            raise CheckpointError(
                f"{where}: has no {SPEC_KEY!r} entry, so it is no checkpoint of this project: "
                "give one written by its 'fit' command, or name the family of a published file (family, reward_family)"
            )
        if spec.get("kind") not in kinds:
            wanted = " or ".join(map(repr, kinds))
            raise CheckpointError(f"{where}: is a {spec.get('kind')!r} checkpoint, but a {wanted} checkpoint is needed")
        version = spec.get(VERSION_FIELD, 1)
        if version not in range(1, CHECKPOINT_VERSION + 1):
            raise CheckpointError(
                f"{where}: {VERSION_FIELD} is {version!r}, this version reads 1 to {CHECKPOINT_VERSION}: use the "
                "version of lightning_realign that wrote it"
            )
        weights = content.get("state_dict")
        if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
            raise CheckpointError(f"{where}: 'state_dict' is missing or holds more than tensors: train it again")
        return cls(where, spec, weights)

    def field(self, name: str, kind: type[_T]) -> _T:
        """A field of the entry, of the given type."""
        value = self.spec.get(name)
        if not isinstance(value, kind):
            raise CheckpointError(
                f"{self.where}: field {name!r} is {_shortened(value)}, expected {kind.__name__}: train it again"
            )
        return value

    def part(self, name: str, kind: type[_T]) -> _T:
        """A dataclass built from a dictionary in the entry."""
        values = self.field(name, dict)
        try:
            return kind(**values)
        except (TypeError, RealignError) as error:
            raise CheckpointError(f"{self.where}: field {name!r} does not fit {kind.__name__}: {error}") from error

    def choice(self, name: str, allowed: Any) -> Any:
        """A field of the entry that is one of a Literal's values."""
        value = self.field(name, str)
        if value not in get_args(allowed):
            raise CheckpointError(f"{self.where}: field {name!r} is {value!r}, expected {get_args(allowed)}")
        return value

    def build(self, kind: Callable[..., _T], sizes: Mapping[str, int], architecture: Any) -> _T:
        """A network from the data's sizes and its architecture."""
        try:
            return kind(**sizes, **asdict(architecture))
        except (TypeError, RuntimeError, RealignError) as error:
            raise CheckpointError(f"{self.where}: its architecture cannot be built: {error}") from error

    def load(self, modules: Mapping[str, nn.Module]) -> None:
        """Load every module strictly from the keys under its name, then freeze it in eval mode."""
        expected = {
            f"{prefix}.{key}": value for prefix, module in modules.items() for key, value in module.state_dict().items()
        }
        report = difference(expected, self.weights)
        if report:
            raise CheckpointError(
                f"{self.where}: its weights do not fit the architecture it names: {report}: train it again"
            )
        for prefix, module in modules.items():
            load_strictly(module, state_under(self.weights, prefix), f"{self.where}: {prefix}")


def with_version(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a checkpoint with the version of its format."""
    return {**spec, VERSION_FIELD: CHECKPOINT_VERSION}


def read_resumable(path: str | Path) -> dict[str, Any]:
    """The content of the file that `--ckpt_path` names: a whole checkpoint that a `fit` of this project wrote.

    Raises:
        CheckpointError: it is something else, damaged, or unsafe to read.
    """
    if is_address(path) or Path(path).is_dir():
        raise CheckpointError(
            f"{path}: holds no training to go on from, a folder or repository has weights only: give the .ckpt file"
        )
    content = read_plain(Path(path))
    if not isinstance(content, dict) or not {SPEC_KEY, "state_dict", "pytorch-lightning_version"} <= content.keys():
        raise CheckpointError(f"{path}: is no checkpoint of a training: give one written by 'train.py fit'")
    return content


def _content(place: Located) -> Any:
    if not place.path.is_dir():
        return read_plain(place.path)
    spec, weights = read_model_folder(place.path, SPEC_KEY, place.label)
    return {SPEC_KEY: spec, "state_dict": weights}


def _shortened(value: object, size: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= size else f"{text[: size - 3]}..."
