"""Self-contained checkpoints: what the LightningModules write beside their weights, and how it is read back.

A checkpoint is a Lightning `.ckpt` file whose extra entry `checkpoint["lightning_realign"]`, a dictionary of primitive
values, says what the weights are: kind, skeleton, sizes, architecture, text encoder, noise schedule, and the
fingerprint of the training data. Together with the weights and the normaliser's statistics it is all that generating
needs. Files are only ever read with `weights_only=True`, and weights are loaded strictly.

Names in a state dict, by kind:

- "reward": `network.*`, `normaliser.*`, and `latents.*` where the reward's noise lives on a VAE's latents
- "vae": `network.*`, `normaliser.*`
- "diffusion": `latents.*` (VAE and statistics of its latents), `denoiser.*`, `normaliser.*`

Averaged weights need no special care: Lightning's `EMAWeightAveraging` stores them under `state_dict` itself and
keeps the raw ones elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import Self, Unpack

from lightning_realign.checkpoints.diffusion_entry import Names, diffusion_entry, read_diffusion_entry
from lightning_realign.checkpoints.entry import SPEC_KEY, CheckpointFile, read_resumable
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.schedule import Prediction
from lightning_realign.models import (
    DenoiserArchitecture,
    LatentDenoiser,
    LatentSpace,
    MotionVAE,
    RewardArchitecture,
    RewardSpace,
    SpaceName,
    StepAwareRewardModel,
    VAEArchitecture,
)
from lightning_realign.models.tmr import TMR
from lightning_realign.motion.normaliser import Normaliser

__all__ = [
    "SPEC_KEY",
    "DiffusionBundle",
    "RewardBundle",
    "RewardNetwork",
    "VAEBundle",
    "diffusion_spec",
    "load_diffusion",
    "load_reward",
    "load_vae",
    "read_resumable",
    "reward_spec",
    "vae_spec",
]


RewardNetwork: TypeAlias = StepAwareRewardModel | TMR
"""What embeds motions and texts in a reward model's space."""


@dataclass(frozen=True)
class RewardBundle:
    """A trained reward model, in eval mode and frozen, with all that using it needs.

    space: what the network reads, and where the noise on it lives. omega, t_min, t_max: the noise levels it was trained
    at, see `trained_at`. index_tokens: whether its step token counts from 0 at the first noisy level, see `tokens`.
    """

    network: RewardNetwork
    space: RewardSpace
    schedule: NoiseSchedule
    skeleton: str
    text_encoder: str
    fingerprint: str
    omega: float
    t_min: int
    t_max: int
    index_tokens: bool = False

    @property
    def normaliser(self) -> Normaliser:
        """Statistics of the motions that the reward was trained on."""
        return self.space.normaliser

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights or statistics, by the name it has in a checkpoint."""
        return _present(network=self.network, normaliser=self.space.normaliser, latents=self.space.latents)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move weights and statistics, in place, to a device and a precision."""
        for module in self.modules.values():
            module.to(device=device, dtype=dtype)
        return self

    def trained_at(self, step: int) -> bool:
        """Whether motions of this timestep, 0 for clean, occurred in training."""
        return self.omega > 0 if step == 0 else self.omega < 1 and self.t_min <= step <= self.t_max

    def tokens(self, t: Tensor) -> Tensor:
        """The step tokens of timesteps t [B], 0 for clean.

        Here they are the timesteps. The public rewards of ReAlign were trained with the index of the noise level among
        the noisy ones, max(t - 1, 0): index 0 stands for the clean motion and for the lowest level alike.
        """
        return (t - 1).clamp_min(0) if self.index_tokens else t

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """m_phi(x, 0) [B, W] of clean motions [B, T, D] in the data set's own units."""
        seen = self.space.view(self.space.clean(features, lengths), lengths)
        clean = self.tokens(torch.zeros_like(lengths))
        return self.network.encode_motion(seen, self.space.read_lengths(lengths), clean).mean


@dataclass(frozen=True)
class VAEBundle:
    """A trained motion VAE, in eval mode and frozen, with all that using it needs."""

    network: MotionVAE
    normaliser: Normaliser
    skeleton: str
    fingerprint: str

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights or statistics, by the name it has in a checkpoint."""
        return {"network": self.network, "normaliser": self.normaliser}


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
        return _present(latents=self.latents, denoiser=self.denoiser, normaliser=self.normaliser)


def reward_spec(
    network: StepAwareRewardModel,
    space: RewardSpace,
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
        "num_features": len(space.normaliser.mean),
        "text_encoder": text_encoder,
        "token_size": network.token_size,
        "architecture": asdict(network.architecture),
        "space": space.name,
        "vae": None if space.latents is None else asdict(space.latents.vae.architecture),
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
    latents: LatentSpace,
    denoiser: LatentDenoiser,
    schedule: NoiseSchedule,
    *,
    prediction: Prediction = "epsilon",
    **names: Unpack[Names],
) -> dict[str, Any]:
    """The entry that a diffusion generator's LightningModule stores as `checkpoint[SPEC_KEY]`."""
    sizes = {"num_features": latents.vae.num_features, "vae": asdict(latents.vae.architecture)}
    return {"kind": "diffusion", **sizes, **diffusion_entry(denoiser, schedule, prediction, names)}


def load_reward(path: str | Path) -> RewardBundle:
    """Load a reward model.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(Path(path), "reward")
    name = file.choice("space", SpaceName)
    normaliser = Normaliser(file.field("num_features", int))
    space = RewardSpace(name, normaliser, None if name == "motion" else LatentSpace(_vae(file, "vae")))
    network = file.build(
        StepAwareRewardModel,
        {"num_features": space.num_features, "token_size": file.field("token_size", int)},
        file.part("architecture", RewardArchitecture),
    )
    bundle = RewardBundle(
        network,
        space,
        file.part("schedule", NoiseSchedule),
        file.field("skeleton", str),
        file.field("text_encoder", str),
        file.field("fingerprint", str),
        file.field("omega", float),
        file.field("t_min", int),
        file.field("t_max", int),
    )
    file.load(bundle.modules)
    if space.latents is not None:
        space.latents.fingerprint()
    return bundle


def load_vae(path: str | Path) -> VAEBundle:
    """Load a motion VAE.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(Path(path), "vae")
    network = _vae(file, "architecture")
    names = file.field("skeleton", str), file.field("fingerprint", str)
    bundle = VAEBundle(network, Normaliser(network.num_features), *names)
    file.load(bundle.modules)
    return bundle


def load_diffusion(path: str | Path) -> DiffusionBundle:
    """Load a latent diffusion generator, its VAE included.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    return diffusion_bundle(CheckpointFile.read(Path(path), "diffusion"))


def diffusion_bundle(file: CheckpointFile) -> DiffusionBundle:
    """The latent diffusion generator of a file of that kind. Raises what `load_diffusion` raises."""
    latents = LatentSpace(_vae(file, "vae"))
    tokens, channels = latents.shape
    sizes = {"latent_tokens": tokens, "latent_size": channels, "text_size": file.field("text_size", int)}
    bundle = DiffusionBundle(
        latents,
        file.build(LatentDenoiser, sizes, file.part("denoiser", DenoiserArchitecture)),
        Normaliser(latents.vae.num_features),
        *read_diffusion_entry(file),
    )
    file.load(bundle.modules)
    latents.fingerprint()
    return bundle


def _vae(file: CheckpointFile, architecture: str) -> MotionVAE:
    """The VAE whose architecture is the named entry, with random weights."""
    sizes = {"num_features": file.field("num_features", int)}
    return file.build(MotionVAE, sizes, file.part(architecture, VAEArchitecture))


def _present(**modules: nn.Module | None) -> dict[str, nn.Module]:
    return {name: module for name, module in modules.items() if module is not None}
