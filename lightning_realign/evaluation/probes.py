"""Figures of one's own for every measured motion: a small class, named in the configuration of a test run."""

from __future__ import annotations

import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.motion import Skeleton


@dataclass(frozen=True)
class Task:
    """What a motion was made for. label: the data set's, see `data.labels`; None where it has none."""

    id: str
    caption: str
    label: str | None


class Probe(ABC):
    """Measures single motions; its figures stand beside foot skating in tables, receipts and records.

    In a configuration: `probes: [{class_path: my_figures.Symmetry, init_args: {...}}]`. Arguments that it keeps as
    attributes of the same names are told in the receipt.

    Attributes:
        figures: names of its figures, of lower-case letters, digits and _.
    """

    figures: tuple[str, ...]

    def prepare(self, data: MotionTextDataModule, split: Literal["val", "test"]) -> None:  # noqa: B027 - may do nothing
        """Get ready to measure motions for the tasks of a split; called once before them."""

    @abstractmethod
    def look(self, joints: Tensor, skeleton: Skeleton, task: Task) -> dict[str, float]:
        """The figures of one motion.

        Args:
            joints: [T, J, 3] in metres, on the CPU; not finite where strong guidance has blown the motion up.
            skeleton: of the joints.
            task: what the motion was made for.

        Returns:
            Finite values by name; a figure that does not apply to the motion is left out.
        """


def described(probe: Probe) -> str:
    """Its class, and the plain ones of its arguments, as text."""
    kept = {name: getattr(probe, name, None) for name in inspect.signature(type(probe)).parameters}
    told = [f"{name}={value!r}" for name, value in kept.items() if isinstance(value, str | int | float)]
    name = f"{type(probe).__module__}.{type(probe).__qualname__}"
    return f"{name}({', '.join(told)})" if told else name


def look_at(probe: Probe, joints: Tensor, skeleton: Skeleton, task: Task) -> dict[str, float]:
    """What `Probe.look` returns, checked.

    Raises:
        ConfigError: a figure that the probe does not name, or a value that is not finite.
    """
    found = probe.look(joints, skeleton, task)
    for name, value in found.items():
        if name not in probe.figures or not math.isfinite(value):
            raise ConfigError(
                f"probes: {type(probe).__name__} gives {name}={value} for {task.id}; give finite values of its figures "
                f"({', '.join(probe.figures)}), and leave out what does not apply"
            )
    return found


def probe_figures(probes: Sequence[Probe], taken: Sequence[str]) -> tuple[str, ...]:
    """The names of all figures of `probes`.

    Raises:
        ConfigError: a name that cannot stand in a table, or comes twice, or is among those `taken`.
    """
    names: list[str] = []
    for probe in probes:
        for name in probe.figures:
            if not re.fullmatch(r"[a-z0-9_]+", name):
                raise ConfigError(
                    f"probes: {type(probe).__name__} has the figure {name!r}; use lower-case letters, digits and _"
                )
            if name in taken or name in names:
                raise ConfigError(f"probes: {type(probe).__name__} has the figure {name!r}, which is taken; rename it")
            names.append(name)
    return tuple(names)
