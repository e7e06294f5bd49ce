"""What a test run measures of every motion: its cost, its reward, and what its joints show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import torch
from torch import Tensor

from lightning_realign.data.synthetic import is_right as oracle
from lightning_realign.errors import ConfigError
from lightning_realign.evaluation.cost import Meter
from lightning_realign.evaluation.probes import Probe, Task, look_at
from lightning_realign.evaluation.stores import FigureBoard
from lightning_realign.metrics.functional.physical import PHYSICAL, SHORTEST
from lightning_realign.motion import Skeleton, recover_joints
from lightning_realign.settings.measuring import Protocol, SystemName
from lightning_realign.types import MotionTextBatch

# Rows that are no method's own motions: the same in every replication of the same captions and crops.
GIVEN = ("real", "reconstruction")
MEBIBYTE = 2**20
# What a cosine cannot fall below: the reward of a motion that strong guidance has blown up.
WORST_REWARD = -1.0
COSTS = ("denoiser_calls", "seconds", "peak_memory")
FIGURES = ("oracle_accuracy", "reward", *PHYSICAL, "blown_up", *COSTS)


def chosen_systems(systems: Sequence[SystemName] | None, guided: bool) -> tuple[SystemName, ...]:
    """The systems to measure of a generator, in the table's order.

    Args:
        systems: those that the user names; None for all, `guided` only where something guides or searches.
        guided: whether something guides or searches.

    Raises:
        ConfigError: an unknown system, none at all, or `guided` without anything that guides or searches.
    """
    allowed: tuple[SystemName, ...] = tuple(name for name in get_args(SystemName) if name != "samples")
    if systems is None:
        return allowed if guided else allowed[:-1]
    unknown = [name for name in systems if name not in allowed]
    if not systems or unknown:
        raise ConfigError(f"measuring systems is {systems}; list one or more of {', '.join(allowed)}")
    if "guided" in systems and not guided:
        raise ConfigError(
            f"measuring systems is {systems}, but mu and eta are 0; set guidance.mu, guidance.eta, guidance.physical "
            "or search.travel.times, or search.candidates or search.particles.count above 1, or drop 'guided'"
        )
    return tuple(name for name in allowed if name in systems)


def draws_of(row: SystemName, protocol: Protocol, replications: int) -> int:
    """How many times a row is measured: given motions only once where captions and crops are fixed."""
    return 1 if row in GIVEN and protocol == "fixed" else replications


def measured(
    figures: FigureBoard,
    row: SystemName,
    draw: int,
    batch: MotionTextBatch,
    skeleton: Skeleton,
    make: Callable[[], tuple[Tensor, int | None]],
    reward: Callable[[Tensor], Tensor | None],
    probes: Sequence[Probe] = (),
    labels: Mapping[str, str] | None = None,
) -> Tensor:
    """Make a batch's motions and add their figures.

    Args:
        figures: takes the figures.
        row: of the table.
        draw: of the row.
        batch: captions and lengths.
        skeleton: of the motions.
        make: makes the motions, and tells how often it evaluated the network per motion; None where they were there
            already, and so cost nothing that could be told.
        reward: the rewards [B] of motions; None without a reward model.
        probes: figures besides.
        labels: by sample id, for the probes.

    Returns:
        The motions [B, T, D], in the data set's own units.
    """
    with Meter(batch.motion.device) as meter:
        features, calls = make()
    costs: dict[str, float] = {}
    if calls is not None:
        costs = dict(zip(COSTS, (float(calls), meter.seconds / len(batch), meter.peak_bytes / MEBIBYTE), strict=True))
    for figure, cost in costs.items():
        figures.update(row, figure, torch.full((len(batch),), cost, dtype=torch.float64), batch.ids, draw)
    rewards = reward(features)
    if rewards is not None:
        figures.update(row, "reward", rewards.nan_to_num(WORST_REWARD), batch.ids, draw)
    for figure, values in _looks(skeleton, features, batch, probes, labels or {}).items():
        figures.update(row, figure, torch.tensor(list(values.values()), dtype=torch.float64), list(values), draw)
    return features


def _looks(
    skeleton: Skeleton, features: Tensor, batch: MotionTextBatch, probes: Sequence[Probe], labels: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """What the joints of every sample show, figure -> id -> value: the oracle's verdict, physical quality, probes.

    Strong guidance can blow a motion up, until its joints or their speeds are no numbers. It is then counted, does
    nothing that was asked for, and has no physical quality: those figures are of the others.
    """
    found: dict[str, dict[str, float]] = {"oracle_accuracy": {}, "blown_up": {}, **{name: {} for name in PHYSICAL}}
    found |= {name: {} for probe in probes for name in probe.figures}
    lengths, metres = batch.lengths.tolist(), skeleton.metres_per_unit
    tasks = [Task(sample, text, labels.get(sample)) for sample, text in zip(batch.ids, batch.captions, strict=True)]
    for task, attributes, motion, length in zip(tasks, batch.attributes, features, lengths, strict=True):
        sample = task.id
        joints = recover_joints(motion[:length].cpu(), skeleton)
        finite, quality = bool(joints.isfinite().all()), dict[str, float]()
        if finite and length >= SHORTEST:
            quality = {name: figure(joints, skeleton).item() for name, figure in PHYSICAL.items()}
            finite = all(map(math.isfinite, quality.values()))
        found["blown_up"][sample] = float(not finite)
        if attributes is not None:
            found["oracle_accuracy"][sample] = float(finite and oracle(joints, skeleton, attributes))
        for name, value in quality.items() if finite else ():
            found[name][sample] = value
        for probe in probes:
            for name, value in look_at(probe, joints * metres, skeleton, task).items():
                found[name][sample] = value
    return found
