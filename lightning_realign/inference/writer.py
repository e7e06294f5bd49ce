"""Prediction files: one `.npz` for each generated motion."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_warn

from lightning_realign.errors import DataError
from lightning_realign.files.atomic import save_bytes_atomic
from lightning_realign.motion import Skeleton, recover_joints, skeleton_reference
from lightning_realign.types import GeneratedMotions


@dataclass(frozen=True)
class Prediction:
    """What one replication of `predict_step` returns: B generated motions and how they were made.

    motions: the B motions, their timesteps and rewards. ids, captions: B strings. skeleton: of the features.
    replication: index of this draw, of `replications` in all. mu, eta, seed: settings of the run.
    references, reference_rewards: B ids of the retrieved training motions x^c and their clean rewards R_phi(x^c, c);
    empty without eta.
    """

    motions: GeneratedMotions
    ids: tuple[str, ...]
    captions: tuple[str, ...]
    skeleton: Skeleton
    mu: float
    eta: float
    seed: int
    replication: int = 0
    replications: int = 1
    references: tuple[str, ...] = ()
    reference_rewards: tuple[float, ...] = ()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Prediction:
        """Move the motions to a device (Lightning calls this where it keeps predictions)."""
        moved = GeneratedMotions(
            self.motions.features.to(device, non_blocking=non_blocking),
            self.motions.lengths.to(device, non_blocking=non_blocking),
            self.motions.timesteps.to(device, non_blocking=non_blocking),
            self.motions.rewards.to(device, non_blocking=non_blocking),
        )
        return replace(self, motions=moved)


def file_stem(sample: str, replication: int, replications: int) -> str:
    """The file name of a sample without its suffix: `<id>`, or `<id>_r<k>` where several replications are drawn.

    Raises:
        DataError: the id is empty or would leave the folder.
    """
    if not sample or sample in {".", ".."} or Path(sample).name != sample or "\\" in sample:
        raise DataError(f"sample id {sample!r} cannot name a file; rename it in the split list (no slashes)")
    return sample if replications == 1 else f"{sample}_r{replication}"


def write_predictions(prediction: Prediction, folder: Path) -> list[Path]:
    """Write B motions, each atomically to a file of its own; loads with `numpy.load(..., allow_pickle=False)`.

    Fields: joints [T, J, 3] in the skeleton's unit, features [T, D] in the data set's own units, text, fps, skeleton,
    timesteps [S], rewards [S] (NaN at a step without guidance), mu, eta, seed, replication, reference (the id of x^c),
    reference_reward (R_phi(x^c, c) at t = 0); without eta those two are empty and NaN.

    Returns:
        The files, in the order of the batch.
    """
    motions, skeleton = prediction.motions, prediction.skeleton
    paths = []
    for row, (sample, caption) in enumerate(zip(prediction.ids, prediction.captions, strict=True)):
        features = motions.features[row, : int(motions.lengths[row])].detach().cpu()
        fields: dict[str, Any] = {
            "joints": recover_joints(features, skeleton).numpy(),
            "features": features.numpy(),
            "text": np.array(caption),
            "fps": np.array(skeleton.fps, dtype=np.float64),
            "skeleton": np.array(skeleton_reference(skeleton)),
            "unit": np.array(skeleton.unit),
            "timesteps": motions.timesteps.cpu().numpy(),
            "rewards": motions.rewards[row].detach().cpu().numpy(),
            "mu": np.array(prediction.mu, dtype=np.float64),
            "eta": np.array(prediction.eta, dtype=np.float64),
            "seed": np.array(prediction.seed, dtype=np.int64),
            "replication": np.array(prediction.replication, dtype=np.int64),
            "reference": np.array(prediction.references[row] if prediction.references else ""),
            "reference_reward": np.array(prediction.reference_rewards[row] if prediction.references else np.nan),
        }
        stem = file_stem(sample, prediction.replication, prediction.replications)
        buffer = io.BytesIO()
        np.savez(buffer, **fields)
        paths.append(folder / f"{stem}.npz")
        save_bytes_atomic(paths[-1], buffer.getvalue())
    return paths


def count_blown_up(prediction: Prediction) -> int:
    """How many of the motions have joints that are NaN or infinite, as too strong a guidance makes them."""
    motions = prediction.motions
    kept = (row[: int(length)] for row, length in zip(motions.features, motions.lengths, strict=True))
    return sum(not bool(recover_joints(features, prediction.skeleton).isfinite().all()) for features in kept)


def warn_of_blown_up(count: int, total: int) -> None:
    """Say once, on rank 0, that `count` of `total` motions cannot be used; nothing where there is none."""
    if count:
        rank_zero_warn(
            f"{count} of {total} motions have joints that are NaN or infinite: the guidance is too strong; lower mu or "
            "eta, or set max_norm",
            category=RuntimeWarning,
        )


class PredictionWriter(BasePredictionWriter):
    """Writes every prediction to `folder` as soon as its batch is done.

    Each rank writes the samples it generated, and a file is named by its sample's id, so ranks share a file only where
    they made the same motion, which then replaces itself atomically. Motions that came out NaN or infinite are written
    too, and counted in a warning at the end. Use with `return_predictions: false`.

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
        prediction: Sequence[Prediction],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the replications of one batch."""
        for replication in prediction:
            write_predictions(replication, self.folder)
            self._blown_up += count_blown_up(replication)
            self._total += len(replication.ids)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn of the motions of all ranks that came out NaN or infinite."""
        counts = torch.tensor([self._blown_up, self._total], device=trainer.strategy.root_device)
        blown_up, total = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        warn_of_blown_up(blown_up, total)
