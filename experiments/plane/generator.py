"""The mixture as a `Generator` and its rewards as a `Reward`, so that the project's own sampler does the guiding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from experiments.plane.mixture import Captioned
from lightning_realign.diffusion import NoiseSchedule, make_scheduler
from lightning_realign.diffusion.noise import SampleNoise
from lightning_realign.diffusion.steps import SchedulerSteps, Step
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import Recipe
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.rewards.reward import BatchReward
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig, SchedulerName

RewardKind = Literal["clean", "exact", "predicted"]
SKELETON = "plane"


class PlaneGenerator:
    """The exact denoiser of a mixture. A "motion" of T frames is T independent points: its state is [B, T, 2].

    Args:
        problem: the law.
        schedule: the noise schedule; None for the project's default.
        record: keep every state that `denoise` sees, with its signal level.

    Attributes:
        seen: pairs (alpha_bar, state [B, T, 2]), where recording.
    """

    skeleton = SKELETON
    device = torch.device("cpu")
    latents = None
    recipe = Recipe()
    evaluations = 1
    normaliser = Normaliser(2)

    def __init__(self, problem: Captioned, schedule: NoiseSchedule | None = None, record: bool = False) -> None:
        self.problem = problem
        self.dtype = problem.law.means.dtype
        self.schedule = schedule if schedule is not None else NoiseSchedule()
        self.seen: list[tuple[float, Tensor]] = []
        self._record = record

    def evaluations_at(self, t: int) -> int:
        """One, at all timesteps."""
        return self.evaluations

    @property
    def scheduler(self) -> Any:
        """A fresh DDIM scheduler."""
        return make_scheduler("ddim", self.schedule)

    def noise_shape(self, length: int) -> tuple[int, ...]:
        """Of `length` points."""
        return (length, 2)

    def condition(self, texts: Sequence[str]) -> None:
        """Nothing: the law before guidance does not know the caption."""

    def denoise(self, x: Tensor, t: int, cond: None, lengths: Tensor) -> Tensor:
        """E[eps | x_t]."""
        alpha_bar = float(self.schedule.alpha_bar[t + 1])
        if self._record:
            self.seen.append((alpha_bar, x.clone()))
        return -math.sqrt(1 - alpha_bar) * self.problem.law.score(x, alpha_bar)

    def to_motion(self, x: Tensor, alpha_bar: float, lengths: Tensor, target: Normaliser) -> Tensor:
        """The state itself; the plane has no normalisation."""
        return x

    def features(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The state itself."""
        return x

    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The points themselves."""
        return features


class PlaneReward:
    """One of three rewards of noisy points; that of a "motion" is the sum over its points, which are independent.

    Args:
        problem: law and caption.
        kind: `clean`: R_0(x_t), a reward that does not know the noise level. `exact`: log E[exp R_0(x_0) | x_t].
            `predicted`: R_0(E[x_0 | x_t]), differentiated through the denoiser (as in arXiv 2209.14687).

    Raises:
        ConfigError: an unknown kind.
    """

    skeleton = SKELETON
    latents = None

    def __init__(self, problem: Captioned, kind: RewardKind) -> None:
        if kind not in get_args(RewardKind):
            raise ConfigError(f"toy reward={kind!r} is unknown; use one of {', '.join(get_args(RewardKind))}")
        self.problem = problem
        self.kind = kind
        self.normaliser = Normaliser(2)

    def of_points(self, x: Tensor, alpha_bar: float) -> Tensor:
        """The rewards [...] of single points [..., 2] of signal level `alpha_bar`."""
        if self.kind == "exact":
            return self.problem.log_expectation(x, alpha_bar)
        at = self.problem.law.posterior_mean(x, alpha_bar) if self.kind == "predicted" else x
        return self.problem.clean_reward(at)

    def prepare(self, captions: Sequence[str], references: Tensor | None, *, mu: float, eta: float) -> BatchReward:
        """The reward times mu; there is no x^c, so eta is not read."""

        def evaluate(motion: Tensor, lengths: Tensor, alpha_bar: float) -> Tensor:
            return mu * self.of_points(motion, alpha_bar).sum(dim=1)

        return evaluate


class PrintedSteps(SchedulerSteps):
    """The step of arXiv 2511.19217, Algorithm 2, taken literally.

    Line 7 leaves x-bar undefined, and is read here as x_t - beta_t / sqrt(1 - alpha_bar_t) eps, of which

        x_{t-1} = (x-bar + sqrt(beta_t) z) / sqrt(alpha_t)    (+ the gradient of R, which the sampler adds)

    is made: the noise inside 1 / sqrt(alpha_t), so with variance beta_t / alpha_t in place of the scheduler's. alpha_t
    is the per-step one, here alpha_bar_t over the level that the step leads to. The last step adds no noise.
    """

    def step(self, index: int, output: Tensor, x: Tensor, noise: Tensor | None) -> Step:
        """Step `index` from x with the network's output."""
        alpha_bar = self.alpha_bar[index]
        alpha = alpha_bar / self.alpha_bar_next[index]
        beta = 1 - alpha
        inside = x - beta / math.sqrt(1 - alpha_bar) * output
        if noise is not None:
            inside = inside + math.sqrt(beta) * noise
        return Step(inside / math.sqrt(alpha), (x - math.sqrt(1 - alpha_bar) * output) / math.sqrt(alpha_bar))


class PrintedSampler(RewardGuidedSampler):
    """The project's sampler with `PrintedSteps` in place of the scheduler's own step."""

    def __init__(
        self,
        generator: PlaneGenerator,
        sampling: SamplingConfig,
        guidance: GuidanceConfig,
        reward: PlaneReward | None,
    ) -> None:
        super().__init__(generator, sampling, guidance, reward)
        self._steps = PrintedSteps(generator.scheduler, sampling.scheduler or "ddpm", len(self.guided))


class PointSampler(RewardGuidedSampler):
    """The project's sampler for clouds of "motions" of one point each, which share one stream of noise.

    A stream for each point, as motions have, would cost more than all else here. The first id names it.
    """

    def noise(self, prompts: Prompts) -> SampleNoise:
        """The noise of the cloud; see `RewardGuidedSampler.noise`."""
        names = prompts.names
        return _CloudNoise(self.seed, names[0], prompts.replication, len(names), self.generator.dtype)


class _CloudNoise(SampleNoise):
    """Noise [N, 1, 2] of N points from one stream."""

    def __init__(self, seed: int, name: str, replication: int, count: int, dtype: torch.dtype) -> None:
        super().__init__(seed, [name], replication, [(count, 2)], device=PlaneGenerator.device, dtype=dtype)

    def draw(self) -> Tensor:
        """The next noise."""
        return super().draw().transpose(0, 1)


def sample_clouds(
    generator: PlaneGenerator,
    ids: Sequence[str],
    points: int,
    steps: int,
    config: GuidanceConfig,
    reward: PlaneReward | None,
    *,
    scheduler: SchedulerName = "ddpm",
    printed: bool = False,
    seed: int = 1234,
) -> Tensor:
    """Clouds [len(ids), points, 2] drawn with the project's sampler.

    Args:
        generator: the law.
        ids: of the clouds; a cloud's noise comes from the seed and its id alone, so that it is the same in any batch.
        points: in each cloud; at least 1.
        steps: of the sampler.
        config: the guidance.
        reward: None only where the guidance is inactive.
        scheduler: `ddpm` or `ddim`.
        printed: take the step of `PrintedSteps`.
        seed: of all noise; the same one gives the same noise to every option.
    """
    kind = PrintedSampler if printed else RewardGuidedSampler
    sampling = SamplingConfig(steps=steps, scheduler=scheduler, seed=seed)
    sampler = kind(generator, sampling, config, reward)
    return sampler.sample_states(Prompts(["caption"] * len(ids), torch.full((len(ids),), points), ids=ids)).states
