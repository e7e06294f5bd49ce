"""What the checkpoint entries of all diffusion generators share, of latents and of motions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypedDict

from lightning_realign.checkpoints.entry import CheckpointFile
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.models import LatentDenoiser
from lightning_realign.models.published.mdm import MotionDenoiser


class Names(TypedDict):
    """Names of skeleton and text encoder, and fingerprint of the training data."""

    skeleton: str
    text_encoder: str
    fingerprint: str


def diffusion_entry(
    denoiser: LatentDenoiser | MotionDenoiser, schedule: NoiseSchedule, prediction: Prediction, names: Names
) -> dict[str, Any]:
    """The fields of an entry."""
    return {
        "text_size": denoiser.text_size,
        "denoiser": asdict(denoiser.architecture),
        "schedule": schedule.to_dict(),
        "prediction": prediction,
        **names,
    }


def read_diffusion_entry(file: CheckpointFile) -> tuple[NoiseSchedule, Prediction, str, str, str]:
    """Schedule, prediction, skeleton, text encoder and fingerprint of an entry: the last fields of both bundles."""
    return (
        file.part("schedule", NoiseSchedule),
        file.choice("prediction", Prediction),
        file.field("skeleton", str),
        file.field("text_encoder", str),
        file.field("fingerprint", str),
    )
