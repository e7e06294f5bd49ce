"""Self-contained checkpoints: what the LightningModules write beside their weights, and how it is read back.

A checkpoint is a Lightning `.ckpt` file whose extra entry `checkpoint["lightning_realign"]`, a dictionary of primitive
values, says what the weights are: kind, skeleton, sizes, architecture, text encoder, noise schedule, and the
fingerprint of the training data. Together with the weights and the normaliser's statistics it is all that generating
needs. Files are only ever read with `weights_only=True`, and weights are loaded strictly.

Names in a state dict, by kind:

- "reward": `network.*`, `normaliser.*`
- "vae": `network.*`, `normaliser.*`
- "diffusion": `vae.*`, `denoiser.*`, `normaliser.*`, `latent_shift`, `latent_scale`

Averaged weights need no special care: Lightning's `EMAWeightAveraging` stores them under `state_dict` itself and
keeps the raw ones elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_realign._checkpoint_file import SPEC_KEY, CheckpointFile, check_resumable
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.models import (
    DenoiserArchitecture,
    LatentDenoiser,
    MotionVAE,
    RewardArchitecture,
    StepAwareRewardModel,
    VAEArchitecture,
)
from lightning_realign.motion.normaliser import Normaliser

__all__ = [
    "SPEC_KEY",
    "DiffusionBundle",
    "RewardBundle",
    "VAEBundle",
    "check_resumable",
    "diffusion_spec",
    "load_diffusion",
    "load_reward",
    "load_vae",
    "reward_spec",
    "vae_spec",
]


@dataclass(frozen=True)
class RewardBundle:
    """A trained reward model, in eval mode and frozen, with all that using it needs.

    omega, t_min, t_max: the noise levels it was trained at, see `trained_at`.
    """

    network: StepAwareRewardModel
    normaliser: Normaliser
    schedule: NoiseSchedule
    skeleton: str
    text_encoder: str
    fingerprint: str
    omega: float
    t_min: int
    t_max: int

    def trained_at(self, step: int) -> bool:
        """Whether motions of this timestep, 0 for clean, occurred in training."""
        return self.omega > 0 if step == 0 else self.omega < 1 and self.t_min <= step <= self.t_max


@dataclass(frozen=True)
class VAEBundle:
    """A trained motion VAE, in eval mode and frozen, with all that using it needs."""

    network: MotionVAE
    normaliser: Normaliser
    skeleton: str
    fingerprint: str


@dataclass(frozen=True)
class DiffusionBundle:
    """A trained latent diffusion generator, in eval mode and frozen, with all that using it needs.

    The denoiser sees latents z' = (z - latent_shift) / latent_scale; both are broadcastable to [n, d].
    """

    vae: MotionVAE
    denoiser: LatentDenoiser
    normaliser: Normaliser
    schedule: NoiseSchedule
    prediction: Prediction
    skeleton: str
    text_encoder: str
    latent_shift: Tensor
    latent_scale: Tensor
    fingerprint: str


def reward_spec(
    network: StepAwareRewardModel,
    schedule: NoiseSchedule,
    *,
    skeleton: str,
    text_encoder: str,
    fingerprint: str,
    omega: float,
    t_min: int,
    t_max: int,
) -> dict[str, Any]:
    """The entry that a reward model's LightningModule stores as `checkpoint[SPEC_KEY]`."""
    return {
        "kind": "reward",
        "skeleton": skeleton,
        "num_features": network.num_features,
        "text_encoder": text_encoder,
        "token_size": network.token_size,
        "architecture": asdict(network.architecture),
        "schedule": schedule.to_dict(),
        "fingerprint": fingerprint,
        "omega": float(omega),
        "t_min": t_min,
        "t_max": t_max,
    }


def vae_spec(network: MotionVAE, *, skeleton: str, fingerprint: str) -> dict[str, Any]:
    """The entry that a VAE's LightningModule stores as `checkpoint[SPEC_KEY]`."""
    return {
        "kind": "vae",
        "skeleton": skeleton,
        "num_features": network.num_features,
        "architecture": asdict(network.architecture),
        "fingerprint": fingerprint,
    }


def diffusion_spec(
    vae: MotionVAE,
    denoiser: LatentDenoiser,
    schedule: NoiseSchedule,
    *,
    skeleton: str,
    text_encoder: str,
    fingerprint: str,
    prediction: Prediction = "epsilon",
) -> dict[str, Any]:
    """The entry that a diffusion generator's LightningModule stores as `checkpoint[SPEC_KEY]`."""
    return {
        "kind": "diffusion",
        "skeleton": skeleton,
        "num_features": vae.num_features,
        "text_encoder": text_encoder,
        "text_size": denoiser.text_size,
        "vae": asdict(vae.architecture),
        "denoiser": asdict(denoiser.architecture),
        "schedule": schedule.to_dict(),
        "prediction": prediction,
        "fingerprint": fingerprint,
    }


def load_reward(path: str | Path) -> RewardBundle:
    """Load a reward model.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(Path(path), "reward")
    network = file.build(
        StepAwareRewardModel,
        {"num_features": file.field("num_features", int), "token_size": file.field("token_size", int)},
        file.part("architecture", RewardArchitecture),
    )
    normaliser = Normaliser(network.num_features)
    file.load({"network": network, "normaliser": normaliser})
    return RewardBundle(
        network,
        normaliser,
        file.part("schedule", NoiseSchedule),
        file.field("skeleton", str),
        file.field("text_encoder", str),
        file.field("fingerprint", str),
        file.field("omega", float),
        file.field("t_min", int),
        file.field("t_max", int),
    )


def load_vae(path: str | Path) -> VAEBundle:
    """Load a motion VAE.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(Path(path), "vae")
    sizes = {"num_features": file.field("num_features", int)}
    network = file.build(MotionVAE, sizes, file.part("architecture", VAEArchitecture))
    normaliser = Normaliser(network.num_features)
    file.load({"network": network, "normaliser": normaliser})
    return VAEBundle(network, normaliser, file.field("skeleton", str), file.field("fingerprint", str))


def load_diffusion(path: str | Path) -> DiffusionBundle:
    """Load a latent diffusion generator, its VAE included.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(Path(path), "diffusion")
    vae = file.build(MotionVAE, {"num_features": file.field("num_features", int)}, file.part("vae", VAEArchitecture))
    sizes = {
        "latent_tokens": vae.latent_tokens,
        "latent_size": vae.latent_size,
        "text_size": file.field("text_size", int),
    }
    denoiser = file.build(LatentDenoiser, sizes, file.part("denoiser", DenoiserArchitecture))
    normaliser = Normaliser(vae.num_features)
    shift, scale = file.latent_statistics((vae.latent_tokens, vae.latent_size))
    file.load({"vae": vae, "denoiser": denoiser, "normaliser": normaliser}, others=("latent_shift", "latent_scale"))
    return DiffusionBundle(
        vae,
        denoiser,
        normaliser,
        file.part("schedule", NoiseSchedule),
        file.prediction(),
        file.field("skeleton", str),
        file.field("text_encoder", str),
        shift,
        scale,
        file.field("fingerprint", str),
    )
