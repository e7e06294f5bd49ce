"""The record of a run: the configuration it really used, and the metrics it ended with."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn

from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.run_folder import run_folder

METRICS_FILE = "metrics.json"
Primitive = str | int | float | bool | None


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Primitive]:
    """A nested configuration as flat dotted names; list entries are named by their index, other objects by `str`.

    >>> flatten({"model": {"mu": 2.5, "stages": [1, None]}, "empty": {}})
    {'model.mu': 2.5, 'model.stages.0': 1, 'model.stages.1': None, 'empty': '{}'}
    """
    flat: dict[str, Primitive] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        nested = dict(enumerate(value)) if isinstance(value, list | tuple) else value
        if isinstance(nested, Mapping) and nested:
            flat.update(flatten({str(inner): entry for inner, entry in nested.items()}, f"{name}."))
        else:
            flat[name] = value if isinstance(value, str | int | float | bool | None) else str(value)
    return flat


def _as_float(value: Any) -> float | None:
    """A metric as JSON can hold it; NaN and infinities become null."""
    number = float(value)
    return number if math.isfinite(number) else None


class RunRecord(SaveConfigCallback):
    """Writes `config-STAGE-TIME-PID.yaml` when a run starts and `metrics.json` when it ends, and tells every logger.

    Unlike Lightning's own callback it never fails because an earlier run left a file (several W&B runs share a folder).
    `metrics.json` holds {"stage": ..., "metrics": {name: value}}; an interrupted or failed run writes none. Files are
    written by rank 0 only, atomically, into `run_folder`.

    Args:
        parser: the parser of the subcommand.
        config: its configuration.
        save_to_log_dir: must stay false: Lightning's fixed file name is what this class replaces.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, save_to_log_dir: bool = False) -> None:
        super().__init__(parser, config, save_to_log_dir=save_to_log_dir)
        self._folder: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the folder on all ranks together, then save on rank 0."""
        self._folder = run_folder(trainer)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the resolved configuration and log it as hyper-parameters. Lightning calls this on rank 0 only."""
        text = self.parser.dump(self.config, skip_none=False)
        folder = self._folder or Path(trainer.default_root_dir)
        moment = time.strftime("%Y%m%d-%H%M%S")
        write_text_atomic(folder / f"config-{TrainerFn(stage).value}-{moment}-{os.getpid()}.yaml", text)
        flat = flatten(yaml.safe_load(text))
        for logger in trainer.loggers:
            logger.log_hyperparams(flat)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the final metrics; Lightning calls this only where the run did not fail."""
        # Reading the metrics may synchronise ranks, so it comes before the test for rank 0.
        metrics = trainer.callback_metrics
        if stage == TrainerFn.PREDICTING or not trainer.is_global_zero or self._folder is None:
            return
        numbers = {name: _as_float(value) for name, value in sorted(metrics.items()) if _is_scalar(value)}
        record = {"stage": TrainerFn(stage).value, "metrics": numbers}
        write_text_atomic(self._folder / METRICS_FILE, json.dumps(record, indent=2, allow_nan=False) + "\n")


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
