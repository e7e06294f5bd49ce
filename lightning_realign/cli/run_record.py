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


def fill_open(config: dict[str, Any], filled: Mapping[str, Any]) -> bool:
    """Fill what is null in a configuration, in place, from settings of the same names; whether anything was.

    >>> config = {"guidance": {"mu": None, "eta": 0.5}, "steps": None}
    >>> fill_open(config, {"guidance": {"mu": 2.0, "eta": 1.0}, "steps": None}), config
    (True, {'guidance': {'mu': 2.0, 'eta': 0.5}, 'steps': None})
    """
    changed = False
    for name, value in config.items():
        found = filled.get(name)
        if isinstance(value, dict) and isinstance(found, Mapping):
            changed |= fill_open(value, found)
        elif value is None and found is not None:
            config[name], changed = found, True
    return changed


def _as_float(value: Any) -> float | None:
    """A metric as JSON can hold it; NaN and infinities become null."""
    number = float(value)
    return number if math.isfinite(number) else None


class RunRecord(SaveConfigCallback):
    """Writes `config-STAGE-TIME-PID.yaml` when a run starts and `metrics.json` when it ends, and tells every logger.

    What a module fills in while it is set up, such as guidance from the reward's folder, is written there, too.

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
        self._file: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the folder on all ranks together, then save on rank 0."""
        self._folder = run_folder(trainer)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the resolved configuration and log it as hyper-parameters. Lightning calls this on rank 0 only."""
        text = self.parser.dump(self.config, skip_none=False)
        folder = self._folder or Path(trainer.default_root_dir)
        moment = time.strftime("%Y%m%d-%H%M%S")
        self._file = folder / f"config-{TrainerFn(stage).value}-{moment}-{os.getpid()}.yaml"
        self._write(trainer, text)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what the module has filled, see `_fill`."""
        self._fill(trainer, pl_module)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what the module has filled, see `_fill`."""
        self._fill(trainer, pl_module)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what the module has filled, see `_fill`."""
        self._fill(trainer, pl_module)

    def _fill(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the configuration again where the module has since filled settings that were null, on rank 0."""
        if self._file is None:
            return
        config = yaml.safe_load(self._file.read_text(encoding="utf-8"))
        model = config.get("model") or {}
        if fill_open(model.get("init_args", model), module.hparams):
            self._write(trainer, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        self._file = None

    def _write(self, trainer: L.Trainer, text: str) -> None:
        if self._file is not None:
            write_text_atomic(self._file, text)
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
