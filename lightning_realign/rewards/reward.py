"""The dual alignment reward R = mu R_phi(x_t, c) + eta R_m(x_t, x^c) and its gradient (arXiv 2511.19217, eq. 9)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_realign.errors import ConfigError
from lightning_realign.types import TextFeatures

if TYPE_CHECKING:
    from lightning_realign.checkpoints.reward import RewardBundle
    from lightning_realign.models import LatentSpace
    from lightning_realign.motion.normaliser import Normaliser

logger = logging.getLogger(__name__)

BatchReward = Callable[[Tensor, Tensor, float], Tensor]
"""(what the reward reads [B, ...], lengths [B] in frames, alpha_bar of what it reads) -> rewards [B]."""


class Reward(Protocol):
    """What the sampler needs of a reward; `DualAlignmentReward` is the learned one."""

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it reads."""

    @property
    def normaliser(self) -> Normaliser:
        """Statistics of the normalisation it reads motions in."""

    @property
    def latents(self) -> LatentSpace | None:
        """The latent space whose states it reads; None where it reads motions."""

    def prepare(self, captions: Sequence[str], references: Tensor | None, *, mu: float, eta: float) -> BatchReward:
        """The reward of a batch, everything that does not depend on the motion computed once."""


class CleanReward(Protocol):
    """What scores finished motions, such as `DualAlignmentReward`."""

    def score(self, features: Tensor, lengths: Tensor, captions: Sequence[str]) -> Tensor:
        """R_phi(x, c) [B] of clean motions [B, T, D] in the data set's own units."""


@dataclass(frozen=True)
class PreparedReward:
    """The dual reward of B fixed texts.

    text, references: [B, W] latents of the captions and of the retrieved motions x^c; None where the weight is 0.
    check_step: called with the step token of every batch.
    """

    bundle: RewardBundle
    text: Tensor | None
    references: Tensor | None
    mu: float
    eta: float
    check_step: Callable[[int], None]

    def __call__(self, seen: Tensor, lengths: Tensor, alpha_bar: float) -> Tensor:
        """R(x_t, c) [B], with one encoding of what the network reads: a motion [B, T, D], or latents [B, n, d].

        The step token is that of the reward's own timestep whose signal level is nearest to `alpha_bar`, whatever
        schedule the motion was noised with.
        """
        step = int(self.bundle.schedule.nearest_timestep(alpha_bar))
        self.check_step(step)
        timesteps = torch.full((len(seen),), step, dtype=torch.long, device=seen.device)
        network, lengths = self.bundle.network, self.bundle.space.read_lengths(lengths.to(seen.device))
        latent = network.encode_motion(seen, lengths, self.bundle.tokens(timesteps)).mean
        reward = latent.new_zeros(len(latent))
        if self.text is not None:
            reward = reward + self.mu * network.similarity(latent, self.text)
        if self.references is not None:
            reward = reward + self.eta * network.similarity(latent, self.references)
        return reward


class DualAlignmentReward:
    """The step-aware reward model as a guide: means only, eval mode, frozen.

    Args:
        bundle: the reward network with its statistics and schedule.
        encode: text encoder to use in place of the bundle's own, which is otherwise made on first use.
        cache_dir: folder of the text features of the bundle's own encoder; None for the usual one.
    """

    def __init__(
        self,
        bundle: RewardBundle,
        encode: Callable[[Sequence[str]], TextFeatures] | None = None,
        cache_dir: Path | str | None = None,
    ) -> None:
        bundle.network.eval().requires_grad_(False)
        self.bundle = bundle
        self._encode = encode
        self._cache_dir = cache_dir
        self._latest: tuple[tuple[str, ...], Tensor] | None = None
        self._warned = False

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the weights and statistics, in place, to a device and a precision."""
        self.bundle.to(device, dtype)
        self._latest = None
        return self

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it reads."""
        return self.bundle.skeleton

    @property
    def normaliser(self) -> Normaliser:
        """Statistics of the normalisation it reads motions in."""
        return self.bundle.normaliser

    @property
    def latents(self) -> LatentSpace | None:
        """The latent space whose states it reads; None where it reads motions, decoded ones included."""
        return self.bundle.space.latents if self.bundle.space.name == "latent" else None

    @torch.no_grad()
    def score(self, features: Tensor, lengths: Tensor, captions: Sequence[str]) -> Tensor:
        """R_phi(x, c) [B] of clean motions [B, T, D] in the data set's own units."""
        text = self.text_latents(captions)
        return self.bundle.network.similarity(self.bundle.embed(features, lengths), text)

    @torch.no_grad()
    def text_latents(self, captions: Sequence[str]) -> Tensor:
        """Mean text latents [B, W] of B captions; also the query for the retrieval of x^c.

        Those of the last batch are kept: retrieval, guidance and scoring, and every replication, ask for the same.
        """
        if self._latest is not None and self._latest[0] == tuple(captions):
            return self._latest[1]
        weight = next(self.bundle.network.parameters())
        text = self._text_encoder()(captions).to(weight.device, weight.dtype)
        latents: Tensor = self.bundle.network.encode_text(text.tokens, text.lengths).mean
        self._latest = tuple(captions), latents
        return latents

    def prepare(
        self, captions: Sequence[str], references: Tensor | None = None, *, mu: float, eta: float
    ) -> PreparedReward:
        """Fix the texts and the retrieved motions of a batch.

        Args:
            captions: B texts; encoded only where mu is not 0.
            references: [B, W] latents m_phi(x^c, 0); needed, and read, only where eta is not 0.
            mu: weight of the text-motion cosine.
            eta: weight of the motion-motion cosine.

        Raises:
            ConfigError: eta is not 0 and there are no references, or not one for each caption.
        """
        text = self.text_latents(captions) if mu != 0 else None
        if eta == 0:
            return PreparedReward(self.bundle, text, None, mu, eta, self._check_step)
        if references is None:
            raise ConfigError(f"guidance eta={eta} needs retrieved motions x^c; give their latents, or set eta to 0")
        if references.ndim != 2 or len(references) != len(captions):
            raise ConfigError(
                f"guidance references have shape {tuple(references.shape)}; give one row for each of the "
                f"{len(captions)} captions"
            )
        weight = next(self.bundle.network.parameters())
        references = references.detach().to(weight.device, weight.dtype)
        return PreparedReward(self.bundle, text, references, mu, eta, self._check_step)

    def _check_step(self, step: int) -> None:
        """Warn once of a step token that the reward has never seen: its embedding is an extrapolation."""
        bundle = self.bundle
        if self._warned or not bundle.network.step_aware or bundle.trained_at(step):
            return
        self._warned = True
        logger.warning(
            "guidance evaluates the reward at timestep %d, but it was trained with omega %g, t_min %d and t_max %d "
            "only; guide at fewer steps, or give a reward that was trained on all of them",
            step,
            bundle.omega,
            bundle.t_min,
            bundle.t_max,
        )

    def _text_encoder(self) -> Callable[[Sequence[str]], TextFeatures]:
        if self._encode is None:
            from lightning_realign.text import CachedTextEncoder

            self._encode = CachedTextEncoder(self.bundle.text_encoder, self._cache_dir)
        return self._encode


def reward_gradient(reward: Callable[[Tensor], Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of each sample's own reward.

    Args:
        reward: state [B, ...] -> rewards [B], sample i depending on state i alone. They are summed, so a sample's
            gradient does not depend on the batch it is in.
        state: [B, ...]; not changed, and any graph behind it is cut.

    Returns:
        The gradient, of the state's shape, and the rewards [B], both detached.

    Raises:
        ConfigError: torch's inference mode is on, in which nothing can be differentiated.
    """
    require_differentiation()
    with torch.enable_grad():
        leaf = state.detach().requires_grad_(True)
        rewards = reward(leaf)
        (gradient,) = torch.autograd.grad(rewards.sum(), leaf)
    return gradient, rewards.detach()


def require_differentiation() -> None:
    """Refuse torch's inference mode.

    Raises:
        ConfigError: it is on.
    """
    if torch.is_inference_mode_enabled():
        raise ConfigError(
            "guided sampling differentiates the reward, but torch's inference mode is on; "
            "use Trainer(inference_mode=False), or torch.no_grad() in place of torch.inference_mode()"
        )


def limit_norm(gradient: Tensor, max_norm: float) -> Tensor:
    """Shorten each sample's gradient [B, ...] to an L2 norm of at most `max_norm`, where that is not 0."""
    if max_norm == 0:
        return gradient
    norm: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    factor: Tensor = (max_norm / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1.0)
    return gradient * factor.reshape(-1, *[1] * (gradient.ndim - 1))
