"""The metrics of single motions: reward, oracle, physical quality, costs and the user's own.

A new metric of ours is one entry of `MOTION_METRICS`; a new physical one is one entry of `PHYSICAL` in
`metrics.functional.physical`; a new cost is one entry of `Meter.costs`. A user's is a `Probe`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_realign.data.synthetic import is_right
from lightning_realign.evaluation.cost import COSTS, Meter
from lightning_realign.evaluation.method import Method
from lightning_realign.evaluation.probes import Probe, Task, measured_by, probe_metrics
from lightning_realign.evaluation.rank_gathering import MetricBoard
from lightning_realign.metrics.functional.physical import PHYSICAL, SHORTEST
from lightning_realign.motion import Skeleton, recover_joints
from lightning_realign.motion.kinematics import is_finite_motion
from lightning_realign.settings.measuring import SystemName
from lightning_realign.types import MotionTextBatch

# What a cosine cannot fall below: the reward of a motion that strong guidance has blown up.
WORST_REWARD = -1.0


@dataclass(frozen=True)
class MadeMotion:
    """One motion that a system made for a task.

    joints: [T, J, 3] in the skeleton's unit, on the CPU. skeleton: of the joints. task: what the motion was made for.
    attributes: the true ones of a synthetic task, else None. score: its clean reward, None without a reward model.
    """

    joints: Tensor
    skeleton: Skeleton
    task: Task
    attributes: Mapping[str, Any] | None = None
    score: float | None = None

    @cached_property
    def blown_up(self) -> bool:
        """Whether joints or their movements are NaN or infinite, as too strong a guidance makes them."""
        return not is_finite_motion(self.joints)


MotionMetric = Callable[[MadeMotion], float | None]
"""The value of a metric for one motion; None where it does not apply."""


def _oracle_accuracy(motion: MadeMotion) -> float | None:
    if motion.attributes is None:
        return None
    return float(not motion.blown_up and is_right(motion.joints, motion.skeleton, motion.attributes))


def _reward(motion: MadeMotion) -> float | None:
    if motion.score is None:
        return None
    return motion.score if math.isfinite(motion.score) else WORST_REWARD


def _blown_up(motion: MadeMotion) -> float:
    return float(motion.blown_up)


def _physical(metric: Callable[[Tensor, Skeleton], Tensor]) -> MotionMetric:
    def value(motion: MadeMotion) -> float | None:
        if motion.blown_up or len(motion.joints) < SHORTEST:
            return None
        return metric(motion.joints, motion.skeleton).item()

    return value


MOTION_METRICS: Mapping[str, MotionMetric] = {
    "oracle_accuracy": _oracle_accuracy,
    "reward": _reward,
    **{name: _physical(metric) for name, metric in PHYSICAL.items()},
    "blown_up": _blown_up,
}
"""Our metrics of single motions, in the table's order. A blown-up motion has no physical quality and fails the rest."""

METRICS = (*MOTION_METRICS, *COSTS)
"""The names of all our metrics of single motions."""


def metric_board(systems: Sequence[str], probes: Sequence[Probe]) -> MetricBoard:
    """A board for our metrics and those of probes.

    Raises:
        ConfigError: a probe's metric has a name that cannot stand in a table, or that is taken.
    """
    return MetricBoard(systems, METRICS + probe_metrics(probes, METRICS))


class MotionMeter:
    """Lets a method make batches of motions, and measures each motion.

    Args:
        method: makes the motions.
        board: takes the values.
        probes: further metrics.
        labels: the data set's, by sample id, for the probes.
    """

    def __init__(
        self, method: Method, board: MetricBoard, probes: Sequence[Probe] = (), labels: Mapping[str, str] | None = None
    ) -> None:
        self._method, self._board, self._probes, self._labels = method, board, probes, labels or {}

    def measure(self, system: SystemName, batch: MotionTextBatch, replication: int) -> Tensor:
        """Make a batch's motions by a system, measure them, and return them, [B, T, D] in the data set's own units."""
        with Meter(batch.motion.device) as meter:
            made = self._method.make(system, batch, replication)
        for name, cost in meter.costs(made.evaluations, len(batch)).items():
            self._keep(system, name, dict.fromkeys(batch.ids, cost), replication)
        for name, values in self._values(made.features, batch).items():
            self._keep(system, name, values, replication)
        return made.features

    def _keep(self, system: SystemName, metric: str, values: Mapping[str, float], replication: int) -> None:
        held = torch.tensor(list(values.values()), dtype=torch.float64)
        self._board.update(system, metric, held, list(values), replication)

    def _values(self, features: Tensor, batch: MotionTextBatch) -> dict[str, dict[str, float]]:
        """Metric -> sample id -> value."""
        found: dict[str, dict[str, float]] = {name: {} for name in MOTION_METRICS}
        found |= {name: {} for probe in self._probes for name in probe.metrics}
        for motion in self._motions(features, batch):
            for name, metric in MOTION_METRICS.items():
                if (value := metric(motion)) is not None:
                    found[name][motion.task.id] = value
            metres = motion.joints * motion.skeleton.metres_per_unit if self._probes else motion.joints
            for probe in self._probes:
                for name, value in measured_by(probe, metres, motion.skeleton, motion.task).items():
                    found[name][motion.task.id] = value
        return found

    def _motions(self, features: Tensor, batch: MotionTextBatch) -> list[MadeMotion]:
        """The motions of a batch one by one; their joints are recovered here, once."""
        skeleton, rewards = self._method.skeleton, self._method.reward(features, batch)
        scores = [None] * len(batch) if rewards is None else rewards.tolist()
        return [
            MadeMotion(
                recover_joints(features[place, :length].cpu(), skeleton),
                skeleton,
                Task(sample, batch.captions[place], self._labels.get(sample)),
                batch.attributes[place],
                scores[place],
            )
            for place, (sample, length) in enumerate(zip(batch.ids, batch.lengths.tolist(), strict=True))
        ]
