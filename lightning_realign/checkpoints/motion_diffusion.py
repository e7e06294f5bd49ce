"""The checkpoint of a motion-space generator of this project, self-contained.

The kind is "motion_diffusion"; the names in its state dict are `denoiser.*` and `normaliser.*`. See
`lightning_realign.checkpoints.bundles` for the form that all kinds share.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from typing_extensions import Unpack

from lightning_realign.checkpoints.diffusion_entry import Names, diffusion_entry, read_diffusion_entry
from lightning_realign.checkpoints.entry import CheckpointFile
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.models.published.mdm import MotionDenoiser, MotionDenoiserArchitecture
from lightning_realign.motion.normaliser import Normaliser

KIND = "motion_diffusion"


@dataclass(frozen=True)
class MotionDiffusionBundle:
    """A trained motion-space generator, in eval mode and frozen, with all that using it needs."""

    denoiser: MotionDenoiser
    normaliser: Normaliser
    schedule: NoiseSchedule
    prediction: Prediction
    skeleton: str
    text_encoder: str
    fingerprint: str

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights or statistics, by the name it has in a checkpoint."""
        return {"denoiser": self.denoiser, "normaliser": self.normaliser}


def motion_diffusion_spec(
    denoiser: MotionDenoiser,
    schedule: NoiseSchedule,
    *,
    prediction: Prediction,
    **names: Unpack[Names],
) -> dict[str, Any]:
    """The entry that the generator's LightningModule stores in its checkpoint."""
    fields = diffusion_entry(denoiser, schedule, prediction, names)
    return {"kind": KIND, "num_features": denoiser.num_features, **fields}


def load_motion_diffusion(path: str | Path) -> MotionDiffusionBundle:
    """Load a motion-space generator that this project trained.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    return motion_diffusion_bundle(CheckpointFile.read(Path(path), KIND))


def motion_diffusion_bundle(file: CheckpointFile) -> MotionDiffusionBundle:
    """The generator of a file of that kind. Raises what `load_motion_diffusion` raises."""
    features = file.field("num_features", int)
    sizes = {"num_features": features, "text_size": file.field("text_size", int)}
    bundle = MotionDiffusionBundle(
        file.build(MotionDenoiser, sizes, file.part("denoiser", MotionDenoiserArchitecture)),
        Normaliser(features),
        *read_diffusion_entry(file),
    )
    file.load(bundle.modules)
    return bundle
