"""A user's own metrics of motions: a small class, named in the configuration of a test run."""

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
    """Measures single motions; its metrics stand beside foot skating in tables, receipts and records.

    In a configuration: `probes: [{class_path: my_metrics.Symmetry, init_args: {...}}]`. The receipt states the
    arguments that the class keeps as attributes of the same names.

    Attributes:
        metrics: names of its metrics, of lower-case letters, digits and _.
    """

    metrics: tuple[str, ...]

    def prepare(self, data: MotionTextDataModule, split: Literal["val", "test"]) -> None:  # noqa: B027 - may do nothing
        """Get ready to measure motions for the tasks of a split; called once before them."""

    @abstractmethod
    def measure(self, joints: Tensor, skeleton: Skeleton, task: Task) -> dict[str, float]:
        """The metrics of one motion.

        Args:
            joints: [T, J, 3] in metres, on the CPU; not finite where strong guidance has blown the motion up.
            skeleton: of the joints.
            task: what the motion was made for.

        Returns:
            Finite values by name; a metric that does not apply to the motion is left out.
        """


def described(probe: Probe) -> str:
    """Its class, and those of its arguments that are numbers or strings, as text."""
    kept = {name: getattr(probe, name, None) for name in inspect.signature(type(probe)).parameters}
    stated = [f"{name}={value!r}" for name, value in kept.items() if isinstance(value, str | int | float)]
    name = f"{type(probe).__module__}.{type(probe).__qualname__}"
    return f"{name}({', '.join(stated)})" if stated else name


def measured_by(probe: Probe, joints: Tensor, skeleton: Skeleton, task: Task) -> dict[str, float]:
    """What `Probe.measure` returns, checked.

    Raises:
        ConfigError: a metric that the probe does not name, or a value that is not finite.
    """
    found = probe.measure(joints, skeleton, task)
    for name, value in found.items():
        if name not in probe.metrics or not math.isfinite(value):
            raise ConfigError(
                f"probes: {type(probe).__name__} gives {name}={value} for {task.id}; give finite values of its metrics "
                f"({', '.join(probe.metrics)}), and leave out what does not apply"
            )
    return found


def probe_metrics(probes: Sequence[Probe], taken: Sequence[str]) -> tuple[str, ...]:
    """The names of all metrics of `probes`.

    Raises:
        ConfigError: a name that cannot stand in a table, or comes twice, or is among those `taken`.
    """
    names: list[str] = []
    for probe in probes:
        for name in probe.metrics:
            if not re.fullmatch(r"[a-z0-9_]+", name):
                raise ConfigError(
                    f"probes: {type(probe).__name__} has the metric {name!r}; use lower-case letters, digits and _"
                )
            if name in taken or name in names:
                raise ConfigError(f"probes: {type(probe).__name__} has the metric {name!r}, which is taken; rename it")
            names.append(name)
    return tuple(names)
