"""What a test run measures of every batch: the rows of its table, and the figures of each row."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_realign.data.synthetic import judge as oracle
from lightning_realign.errors import ConfigError
from lightning_realign.inference.evaluation import FigureBoard
from lightning_realign.inference.pipeline import GuidedPipeline
from lightning_realign.metrics.physical_functional import foot_height, foot_skating_ratio, ground_penetration, jerk
from lightning_realign.motion import recover_joints
from lightning_realign.types import MotionTextBatch

Row = Literal["real", "reconstruction", "unguided", "guided"]
MEASURED_ONCE = ("real", "reconstruction")
PHYSICAL = {
    "foot_skating": foot_skating_ratio,
    "foot_height": foot_height,
    "jerk": jerk,
    "penetration": ground_penetration,
}
# Jerk is a third difference.
SHORTEST = 4
FIGURES = ("oracle_accuracy", "reward", *PHYSICAL, "denoiser_calls", "seconds")


def chosen_rows(rows: Sequence[Row] | None, guided: bool) -> tuple[Row, ...]:
    """The rows to measure, in the table's order.

    Args:
        rows: those asked for; None for all, `guided` only where there is guidance.
        guided: whether there is guidance.

    Raises:
        ConfigError: an unknown row, none at all, or `guided` without guidance.
    """
    allowed: tuple[Row, ...] = get_args(Row)
    if rows is None:
        return allowed if guided else allowed[:-1]
    unknown = [row for row in rows if row not in allowed]
    if not rows or unknown:
        raise ConfigError(f"GuidedGeneration.rows is {rows}; list one or more of {', '.join(allowed)}")
    if "guided" in rows and not guided:
        raise ConfigError(f"GuidedGeneration.rows is {rows}, but mu and eta are 0; set mu or eta, or drop 'guided'")
    return tuple(row for row in allowed if row in rows)


def draws_of(row: Row, replications: int) -> int:
    """How many times a row is measured: real motions are the same in every replication."""
    return 1 if row in MEASURED_ONCE else replications


def measure(
    pipeline: GuidedPipeline,
    figures: FigureBoard,
    rows: Sequence[Row],
    replications: int,
    batch: MotionTextBatch,
    judge: Callable[[Row, int, Tensor], None],
) -> None:
    """Add a batch to the figures of every row and replication.

    Args:
        pipeline: makes and scores the motions.
        figures: takes the figures.
        rows: what to measure.
        replications: draws of the generated rows.
        batch: real motions and their captions.
        judge: shown the motions [B, T, D] of every row and replication.
    """
    for row in rows:
        for replication in range(draws_of(row, replications)):
            calls, started = pipeline.generator.calls, time.perf_counter()
            features = _motions(pipeline, row, batch, replication)
            if features.is_cuda:
                torch.cuda.synchronize(features.device)
            costs = {
                "seconds": (time.perf_counter() - started) / len(batch),
                "denoiser_calls": float(pipeline.generator.calls - calls),
            }
            for figure, cost in costs.items():
                figures.update(row, figure, torch.full((len(batch),), cost), batch.ids, replication)
            if pipeline.reward is not None:
                rewards = pipeline.clean_reward(features, batch.lengths, batch.captions)
                figures.update(row, "reward", rewards, batch.ids, replication)
            for figure, values in _looks(pipeline, features, batch).items():
                figures.update(row, figure, torch.tensor(list(values.values())), list(values), replication)
            judge(row, replication, features)


def _motions(pipeline: GuidedPipeline, row: Row, batch: MotionTextBatch, replication: int) -> Tensor:
    """Features [B, T, D] of a row, in the data set's own units."""
    if row == "real":
        return batch.motion
    if row == "reconstruction":
        return pipeline.reconstruct(batch.motion, batch.lengths)
    return pipeline.sample(batch.captions, batch.lengths, batch.ids, replication, row == "guided").features


def _looks(pipeline: GuidedPipeline, features: Tensor, batch: MotionTextBatch) -> dict[str, dict[str, float]]:
    """What the joints of every sample show, figure -> id -> value: the oracle's verdict, and physical quality.

    Strong guidance can blow a motion up. Such a motion does nothing that was asked for, and has no physical quality.
    """
    found: dict[str, dict[str, float]] = {"oracle_accuracy": {}, **{name: {} for name in PHYSICAL}}
    lengths, skeleton = batch.lengths.tolist(), pipeline.skeleton
    for sample, attributes, motion, length in zip(batch.ids, batch.attributes, features, lengths, strict=True):
        joints = recover_joints(motion[:length].cpu(), skeleton)
        finite = bool(joints.isfinite().all())
        if attributes is not None:
            found["oracle_accuracy"][sample] = float(finite and oracle(joints, skeleton, attributes))
        if finite and length >= SHORTEST:
            for name, figure in PHYSICAL.items():
                found[name][sample] = figure(joints, skeleton).item()
    return found
