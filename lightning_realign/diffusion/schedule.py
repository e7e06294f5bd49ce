"""The noise schedule in the project's convention: t = 0 is exactly clean.

alpha_bar[0] = 1 and alpha_bar[t] = alphas_cumprod[t - 1], where `alphas_cumprod` is indexed by a diffusers timestep.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, get_args, overload

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError

ScheduleKind = Literal["scaled_linear", "linear", "cosine"]
Prediction = Literal["epsilon", "sample"]
_COSINE_MAX_BETA = 0.999


@dataclass(frozen=True)
class NoiseSchedule:
    """A variance-preserving schedule: x_t ~ N(sqrt(alpha_bar[t]) x, (1 - alpha_bar[t]) I), t in {0..steps}.

    kind: "linear": beta linear from beta_start to beta_end (Ho et al., 2020); "scaled_linear": sqrt(beta) linear
        (latent diffusion, MLD); "cosine": Nichol and Dhariwal, 2021, which does not read beta_start and beta_end.
    beta_start, beta_end: the first and the last beta, in (0, 1). steps: number of noise levels above clean.

    Raises:
        ConfigError: unknown kind, betas out of range, steps below 1.
    """

    kind: ScheduleKind = "scaled_linear"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    steps: int = 1000

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScheduleKind):
            raise ConfigError(f"schedule kind={self.kind!r}: must be one of {', '.join(get_args(ScheduleKind))}")
        if not 0.0 < self.beta_start <= self.beta_end < 1.0:
            raise ConfigError(
                f"beta_start={self.beta_start}, beta_end={self.beta_end}: need 0 < beta_start <= beta_end < 1"
            )
        if self.steps < 1:
            raise ConfigError(f"schedule steps={self.steps}: must be at least 1")

    # The tables are kept by value, outside the object: a schedule has its four settings as attributes and nothing else,
    # also where it is the default of a command line's option.
    @property
    def betas(self) -> Tensor:
        """The per-step variances, float64 [steps]; betas[t - 1] leads from level t - 1 to level t."""
        return _betas(self)

    @property
    def alpha_bar(self) -> Tensor:
        """The cumulative signal levels, float64 [steps + 1], strictly falling from exactly 1 at t = 0."""
        return _alpha_bar(self)

    def add_noise(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Bring clean x [B, ...] to levels t [B] with standard normal noise of x's shape; t = 0 returns x bit by bit.

        Raises:
            ConfigError: t outside {0..steps}.
        """
        if t.numel() and not 0 <= int(t.min()) <= int(t.max()) <= self.steps:
            raise ConfigError(f"t in [{int(t.min())}, {int(t.max())}]: must lie in [0, {self.steps}], the schedule's")
        level = self.alpha_bar.to(t.device)[t]
        shape = (-1, *[1] * (x.dim() - 1))
        noisy = level.sqrt().to(x.dtype).view(shape) * x + (1 - level).sqrt().to(x.dtype).view(shape) * noise
        return torch.where((t == 0).view(shape), x, noisy)

    @overload
    def nearest_timestep(self, alpha_bar: float) -> int: ...

    @overload
    def nearest_timestep(self, alpha_bar: Tensor) -> Tensor: ...

    def nearest_timestep(self, alpha_bar: Tensor | float) -> Tensor | int:
        """The t in {0..steps} whose alpha_bar is nearest to the given one; the smaller t where two are equally near.

        Args:
            alpha_bar: a signal level in [0, 1], of any schedule, or a tensor of them.

        Returns:
            An int for a float, an int64 tensor of the same shape for a tensor.
        """
        levels = torch.as_tensor(alpha_bar, dtype=torch.float64)
        nearest = (levels[..., None] - self.alpha_bar.to(levels.device)).abs().argmin(dim=-1)
        return nearest if isinstance(alpha_bar, Tensor) else int(nearest)

    def to_dict(self) -> dict[str, Any]:
        """The constructor's arguments, as primitive values for a checkpoint."""
        return asdict(self)


@lru_cache(maxsize=64)
def _betas(schedule: NoiseSchedule) -> Tensor:
    if schedule.kind == "linear":
        return torch.linspace(schedule.beta_start, schedule.beta_end, schedule.steps, dtype=torch.float64)
    if schedule.kind == "scaled_linear":
        ends = math.sqrt(schedule.beta_start), math.sqrt(schedule.beta_end)
        return torch.linspace(*ends, schedule.steps, dtype=torch.float64) ** 2
    levels = torch.arange(schedule.steps + 1, dtype=torch.float64) / schedule.steps
    signal = torch.cos((levels + 0.008) / 1.008 * (math.pi / 2)) ** 2
    return (1 - signal[1:] / signal[:-1]).clamp(max=_COSINE_MAX_BETA)


@lru_cache(maxsize=64)
def _alpha_bar(schedule: NoiseSchedule) -> Tensor:
    return torch.cat((torch.ones(1, dtype=torch.float64), (1 - schedule.betas).cumprod(0)))
