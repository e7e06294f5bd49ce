"""The checkpoint of a reward model: kind "reward", with the weights `network.*` and `normaliser.*`.

Where the reward's noise lives on a VAE's latents, the weights `latents.*` of that VAE are there, too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import Self

from lightning_realign.checkpoints.entry import CheckpointFile
from lightning_realign.checkpoints.guidance import FIELD, SuitedGuidance, read_guidance
from lightning_realign.checkpoints.vae import build_vae
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import CheckpointError
from lightning_realign.models import (
    LatentSpace,
    RewardArchitecture,
    RewardSpace,
    SpaceName,
    StepAwareRewardModel,
)
from lightning_realign.models.tmr import TMR
from lightning_realign.motion.normaliser import Normaliser

RewardNetwork: TypeAlias = StepAwareRewardModel | TMR
"""What embeds motions and texts in a reward model's space."""


@dataclass(frozen=True)
class RewardBundle:
    """A trained reward model, in eval mode and frozen, with all that using it needs.

    space: what the network reads, and where the noise on it lives. omega, t_min, t_max: the noise levels it was trained
    at, see `trained_at`. index_tokens: whether its step token counts from 0 at the first noisy level, see `tokens`.
    temperature: tau of its contrastive loss; None where that is not known. suited: the guidance measured to suit it.
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
    temperature: float | None = None
    suited: SuitedGuidance = field(default_factory=SuitedGuidance)

    @property
    def normaliser(self) -> Normaliser:
        """Statistics of the motions that the reward was trained on."""
        return self.space.normaliser

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights or statistics, by the name it has in a checkpoint."""
        return {
            "network": self.network,
            "normaliser": self.space.normaliser,
            **({} if self.space.latents is None else {"latents": self.space.latents}),
        }

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
    temperature: float | None = None,
    suited: SuitedGuidance = SuitedGuidance(),  # noqa: B008 - frozen
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
        **({} if temperature is None else {"temperature": temperature}),
        **({FIELD: suited.values} if suited.values else {}),
    }


def load_reward(path: str | Path) -> RewardBundle:
    """Load a reward model.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(Path(path), "reward")
    name = file.choice("space", SpaceName)
    normaliser = Normaliser(file.field("num_features", int))
    space = RewardSpace(name, normaliser, None if name == "motion" else LatentSpace(build_vae(file, "vae")))
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
        temperature=_temperature(file),
        suited=read_guidance(file.spec, file.where),
    )
    file.load(bundle.modules)
    if space.latents is not None:
        space.latents.fingerprint()
    return bundle


def _temperature(file: CheckpointFile) -> float | None:
    """Tau of the contrastive loss; None where an entry does not state it, or the loss has no such term."""
    if "temperature" not in file.spec:
        return None
    value = file.field("temperature", float)
    if not 0 < value < float("inf"):
        raise CheckpointError(
            f"{file.where}: field 'temperature' is {value}, expected a positive number: train it again"
        )
    return value
