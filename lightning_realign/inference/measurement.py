"""What a test run measures of every batch: the rows of its table, and the figures of each row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_realign.data.synthetic import judge
from lightning_realign.errors import ConfigError
from lightning_realign.inference.evaluation import FigureBoard
from lightning_realign.inference.pipeline import GuidedPipeline
from lightning_realign.motion import recover_joints
from lightning_realign.types import MotionTextBatch

Row = Literal["real", "reconstruction", "unguided", "guided"]
MEASURED_ONCE = ("real", "reconstruction")
FIGURES = ("oracle_accuracy", "reward", "denoiser_calls", "seconds")


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


def measure(
    pipeline: GuidedPipeline, figures: FigureBoard, rows: Sequence[Row], replications: int, batch: MotionTextBatch
) -> None:
    """Add a batch to the figures of every row and replication; real motions are the same in each."""
    for row in rows:
        for replication in range(1 if row in MEASURED_ONCE else replications):
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
            verdicts = _verdicts(pipeline, features, batch)
            figures.update(row, "oracle_accuracy", torch.tensor(list(verdicts.values())), list(verdicts), replication)


def _motions(pipeline: GuidedPipeline, row: Row, batch: MotionTextBatch, replication: int) -> Tensor:
    """Features [B, T, D] of a row, in the data set's own units."""
    if row == "real":
        return batch.motion
    if row == "reconstruction":
        return pipeline.reconstruct(batch.motion, batch.lengths)
    return pipeline.sample(batch.captions, batch.lengths, batch.ids, replication, row == "guided").features


def _verdicts(pipeline: GuidedPipeline, features: Tensor, batch: MotionTextBatch) -> dict[str, float]:
    """The oracle's verdict on every sample with true attributes, by its id."""
    verdicts: dict[str, float] = {}
    lengths = batch.lengths.tolist()
    for sample, attributes, motion, length in zip(batch.ids, batch.attributes, features, lengths, strict=True):
        if attributes is not None:
            joints = recover_joints(motion[:length].cpu(), pipeline.skeleton)
            # Strong guidance can blow a motion up; such a motion does nothing that was asked for.
            finite = bool(joints.isfinite().all())
            verdicts[sample] = float(finite and judge(joints, pipeline.skeleton, attributes))
    return verdicts
