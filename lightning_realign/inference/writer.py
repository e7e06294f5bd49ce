"""The Lightning callback that writes predictions to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from lightning_realign.inference.blown_up import warn_of_blown_up
from lightning_realign.motion.predictions import Prediction, write_predictions


class PredictionWriter(BasePredictionWriter):
    """Writes every prediction to `folder` as soon as its batch is done.

    Each rank writes the samples it generated, and a file is named by its sample's id, so ranks share a file only where
    they made the same motion, which then replaces itself atomically. Motions that came out NaN or infinite are written
    too, and counted in a warning at the end. What a module predicts besides motions is not written. Use with
    `return_predictions: false`.

    Args:
        folder: where the files go; made when missing.
        write_interval: when to write; only "batch" keeps memory constant, so it is the only choice.
    """

    def __init__(self, folder: str = "runs/predictions", write_interval: Literal["batch"] = "batch") -> None:
        super().__init__(write_interval)
        self.folder = Path(folder)
        self._blown_up = self._total = 0

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        self._blown_up = self._total = 0

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the replications of one batch."""
        for replication in prediction if isinstance(prediction, Sequence) else ():
            if not isinstance(replication, Prediction):
                continue
            write_predictions(replication, self.folder)
            self._blown_up += replication.blown_up
            self._total += len(replication.ids)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn of the motions of all ranks that came out NaN or infinite."""
        counts = torch.tensor([self._blown_up, self._total], device=trainer.strategy.root_device)
        blown_up, total = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        if trainer.is_global_zero:
            warn_of_blown_up(blown_up, total)
