"""Optimiser and learning-rate schedule shared by all trainings."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from lightning_realign.errors import ConfigError
from lightning_realign.settings.training import OptimiserConfig


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Factor of the learning rate at a step: linear warm-up, then half a cosine down to 0 at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


def adamw_with_schedule(
    parameters: Iterable[nn.Parameter], settings: OptimiserConfig, total: float
) -> OptimizerLRScheduler:
    """AdamW with the warm-up and cosine schedule, stepped once per optimiser step, as Lightning wants it.

    Args:
        parameters: what to train.
        settings: learning rate, warm-up and weight decay. The warm-up takes at most a tenth of the run, so that a
            short run reaches its peak too.
        total: optimiser steps of the whole run.

    Raises:
        ConfigError: the run has no end, so that the schedule has no length.
    """
    if not math.isfinite(total):
        raise ConfigError(
            "the cosine schedule needs a run with an end: set trainer.max_steps, or trainer.max_epochs other than -1"
        )
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    warmup = min(settings.warmup_steps, int(total) // 10)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, int(total)))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
