"""What the readers of other projects' files share: where files lie, and what weights and options tell of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.files.reading import read_text
from lightning_realign.files.weights import read_weights
from lightning_realign.motion import Skeleton, load_skeleton

# Skeletons of the data sets that models have been published for.
_SKELETONS = ("humanml3d", "kit")


def published_weights(path: Path, *entries: str) -> tuple[Path, dict[str, Tensor]]:
    """The file that was read, and its weights: a published file, or the .safetensors that `convert` made beside it.

    Args:
        path: the published file.
        entries: see `read_weights`, which raises the errors.
    """
    converted = path.with_suffix(".safetensors")
    chosen = converted if converted.is_file() else path
    return chosen, read_weights(chosen, *entries)


def read_options(path: Path) -> dict[str, str]:
    """The options of a public training: the lines `name: value` of its opt.txt. Empty if there is no such file."""
    if not path.exists():
        return {}
    lines = (line.partition(": ") for line in read_text(path, "training options").splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def numbered(weights: Mapping[str, Tensor], start: str, end: str) -> int:
    """How many weights have names that consist of `start`, a number and `end`."""
    found = (key for key in weights if key.startswith(start) and key.endswith(end))
    return sum(key.removeprefix(start).removesuffix(end).isdecimal() for key in found)


def channels_read(weights: Mapping[str, Any], name: str) -> int | None:
    """How many channels a linear or convolutional layer reads; None if there is no such layer."""
    weight = weights.get(f"{name}.weight")
    return int(weight.shape[1]) if isinstance(weight, Tensor) and weight.dim() in (2, 3) else None


def _num_features(skeleton: Skeleton) -> int:
    return skeleton.num_features


def skeleton_of_size(
    size: int | None, where: Path | str, remedy: str, size_of: Callable[[Skeleton], int] = _num_features
) -> Skeleton:
    """The skeleton whose motions a published network reads.

    Args:
        size: how many channels of a frame it reads; None if there is no such network.
        where: the file, for the message.
        remedy: what to do about another size, for the message.
        size_of: how many channels that is for a skeleton; by default its features.

    Raises:
        CheckpointError: there is no size, or it is neither that of HumanML3D's motions nor that of KIT-ML's.
    """
    if size is None:
        raise CheckpointError(f"{where}: holds no network that reads motions: {remedy}")
    known = {size_of(skeleton): skeleton for skeleton in map(load_skeleton, _SKELETONS)}
    if size not in known:
        named = " or ".join(f"{channels} ({skeleton.name})" for channels, skeleton in known.items())
        raise CheckpointError(f"{where}: its motions have {size} features, the published models' {named}: {remedy}")
    return known[size]


@contextmanager
def sizes_of_weights(where: Path | str) -> Iterator[None]:
    """The context in which a network is built from the sizes of a file's weights.

    Raises:
        CheckpointError: no network has those sizes.
    """
    try:
        yield
    except ConfigError as error:
        raise CheckpointError(f"{where}: no network has the sizes of its weights: {error}: copy it again") from None
