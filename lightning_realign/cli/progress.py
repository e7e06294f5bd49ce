"""Progress of a run where the output is no terminal: a line every few seconds, with an estimate of the end."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

SECONDS_BETWEEN_LINES = 10.0


def progress_bar() -> ProgressBar:
    """Lightning's bar in a terminal, else lines."""
    return TQDMProgressBar() if sys.stderr.isatty() else ProgressLines()


class ProgressLines(ProgressBar):
    """Writes how far a run is to standard error, a line every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._begun = self._shown = 0.0
        self._done = self._before = 0

    def disable(self) -> None:
        """Write nothing: Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Write again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._begin()
        self._before = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Say where the training is."""
        done, total = trainer.global_step - self._before, trainer.estimated_stepping_batches - self._before
        epochs = "" if trainer.max_epochs in (None, -1) else f" of {trainer.max_epochs}"
        self._say(f"epoch {trainer.current_epoch + 1}{epochs}", done, total)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, unless this is the validation of a training."""
        if trainer.state.fn == "validate":
            self._begin()

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Say where the validation is, unless it is that of a training."""
        if trainer.state.fn == "validate":
            self._count("validate", sum(trainer.num_val_batches))

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._begin()

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Say where the test is."""
        self._count("test", sum(trainer.num_test_batches))

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._begin()

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Say where the prediction is."""
        self._count("predict", sum(trainer.num_predict_batches))

    def _begin(self) -> None:
        self._begun = self._shown = time.monotonic()
        self._done = 0

    def _count(self, stage: str, total: float) -> None:
        self._done += 1
        self._say(stage, self._done, total)

    def _say(self, what: str, done: int, total: float) -> None:
        now = time.monotonic()
        if not self._enabled or not done or now - self._shown < SECONDS_BETWEEN_LINES:
            return
        self._shown = now
        print(f"{what}: {progress(done, total, now - self._begun)}", file=sys.stderr, flush=True)


def progress(done: int, total: float, seconds: float) -> str:
    """How far, and how long it will take from here.

    Args:
        done: steps done; at least 1.
        total: steps in all; infinite where nobody knows.
        seconds: taken so far.

    >>> progress(30, 120, 60.0), progress(119, 120, 60.0), progress(30, float("inf"), 60.0)
    ('25%, about 3 min left', '99%, about 1 s left', '30 steps')
    """
    if not 0 < total < float("inf"):
        return f"{done} steps"
    left = max(0.0, (total - done) * seconds / done)
    shown = f"{max(1, round(left))} s" if left < 90 else f"{round(left / 60)} min"
    return f"{min(99, int(100 * done / total))}%, about {shown} left"
