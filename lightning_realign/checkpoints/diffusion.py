"""The checkpoints of this project's diffusion generators, on latents and on motions.

On latents, the kind is "diffusion", with the weights `latents.*` (the VAE and the statistics of its latents),
`denoiser.*` and `normaliser.*`. On motions, it is "motion_diffusion", with `denoiser.*` and `normaliser.*`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from torch import nn
from typing_extensions import Unpack

from lightning_realign.checkpoints.entry import CheckpointFile
from lightning_realign.checkpoints.vae import build_vae
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.models import DenoiserArchitecture, LatentDenoiser, LatentSpace
from lightning_realign.models.published.mdm import MotionDenoiser, MotionDenoiserArchitecture
from lightning_realign.motion.normaliser import Normaliser

LATENT_DIFFUSION, MOTION_DIFFUSION = "diffusion", "motion_diffusion"


class Names(TypedDict):
    """Names of skeleton and text encoder, and fingerprint of the training data."""

    skeleton: str
    text_encoder: str
    fingerprint: str


@dataclass(frozen=True)
class DiffusionBundle:
    """A trained latent diffusion generator, in eval mode and frozen, with all that using it needs.

    The denoiser works on the states of `latents`.
    """

    latents: LatentSpace
    denoiser: LatentDenoiser
    normaliser: Normaliser
    schedule: NoiseSchedule
    prediction: Prediction
    skeleton: str
    text_encoder: str
    fingerprint: str

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights or statistics, by the name it has in a checkpoint."""
        return {"latents": self.latents, "denoiser": self.denoiser, "normaliser": self.normaliser}


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


def diffusion_spec(
    latents: LatentSpace,
    denoiser: LatentDenoiser,
    schedule: NoiseSchedule,
    *,
    prediction: Prediction = "epsilon",
    **names: Unpack[Names],
) -> dict[str, Any]:
    """The entry that a diffusion generator's LightningModule stores as `checkpoint[SPEC_KEY]`."""
    sizes = {"num_features": latents.vae.num_features, "vae": asdict(latents.vae.architecture)}
    return {"kind": LATENT_DIFFUSION, **sizes, **_shared_fields(denoiser, schedule, prediction, names)}


def motion_diffusion_spec(
    denoiser: MotionDenoiser,
    schedule: NoiseSchedule,
    *,
    prediction: Prediction,
    **names: Unpack[Names],
) -> dict[str, Any]:
    """The entry that the generator's LightningModule stores in its checkpoint."""
    fields = _shared_fields(denoiser, schedule, prediction, names)
    return {"kind": MOTION_DIFFUSION, "num_features": denoiser.num_features, **fields}


def load_diffusion(path: str | Path) -> DiffusionBundle:
    """Load a latent diffusion generator, its VAE included.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    return diffusion_bundle(CheckpointFile.read(Path(path), LATENT_DIFFUSION))


def diffusion_bundle(file: CheckpointFile) -> DiffusionBundle:
    """The latent diffusion generator of a file of that kind. Raises what `load_diffusion` raises."""
    latents = LatentSpace(build_vae(file, "vae"))
    tokens, channels = latents.shape
    sizes = {"latent_tokens": tokens, "latent_size": channels, "text_size": file.field("text_size", int)}
    bundle = DiffusionBundle(
        latents,
        file.build(LatentDenoiser, sizes, file.part("denoiser", DenoiserArchitecture)),
        Normaliser(latents.vae.num_features),
        *_read_shared(file),
    )
    file.load(bundle.modules)
    latents.fingerprint()
    return bundle


def load_motion_diffusion(path: str | Path) -> MotionDiffusionBundle:
    """Load a motion-space generator that this project trained.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    return motion_diffusion_bundle(CheckpointFile.read(Path(path), MOTION_DIFFUSION))


def motion_diffusion_bundle(file: CheckpointFile) -> MotionDiffusionBundle:
    """The generator of a file of that kind. Raises what `load_motion_diffusion` raises."""
    features = file.field("num_features", int)
    sizes = {"num_features": features, "text_size": file.field("text_size", int)}
    bundle = MotionDiffusionBundle(
        file.build(MotionDenoiser, sizes, file.part("denoiser", MotionDenoiserArchitecture)),
        Normaliser(features),
        *_read_shared(file),
    )
    file.load(bundle.modules)
    return bundle


def _shared_fields(
    denoiser: LatentDenoiser | MotionDenoiser, schedule: NoiseSchedule, prediction: Prediction, names: Names
) -> dict[str, Any]:
    """The fields that the entries of both kinds have."""
    return {
        "text_size": denoiser.text_size,
        "denoiser": asdict(denoiser.architecture),
        "schedule": schedule.to_dict(),
        "prediction": prediction,
        **names,
    }


def _read_shared(file: CheckpointFile) -> tuple[NoiseSchedule, Prediction, str, str, str]:
    """Schedule, prediction, skeleton, text encoder and fingerprint of an entry: the last fields of both bundles."""
    return (
        file.part("schedule", NoiseSchedule),
        file.choice("prediction", Prediction),
        file.field("skeleton", str),
        file.field("text_encoder", str),
        file.field("fingerprint", str),
    )
