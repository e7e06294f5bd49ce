"""Every option of the guidance against the law it should sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import get_args

import torch
from torch import Tensor

from experiments.plane.distances import Grid, sliced_wasserstein
from experiments.plane.generator import PlaneGenerator, PlaneReward, RewardKind, sample_clouds
from experiments.plane.mixture import Captioned, Mixture
from lightning_realign.guidance.locations import LOCATIONS
from lightning_realign.guidance.scales import SCALES
from lightning_realign.settings.guidance import GuidanceConfig

_FLOOR_DRAWS = 20
# Every option has one cloud of this id, and so the same noise.
CLOUD = ("toy",)


@dataclass(frozen=True)
class Option:
    """One way of guiding.

    reward: None for none. printed: the step as the paper prints it. mu: the strength; 1 is exact for the exact reward.
    """

    reward: RewardKind | None = None
    scale: str = "score"
    location: str = "x_t"
    printed: bool = False
    mu: float = 1.0

    @property
    def config(self) -> GuidanceConfig:
        """The guidance."""
        return GuidanceConfig(0.0 if self.reward is None else self.mu, 0.0, self.scale, self.location)

    def sample(self, problem: Captioned, points: int, steps: int, seed: int) -> Tensor:
        """Points [points, 2] by DDPM."""
        reward = None if self.reward is None else PlaneReward(problem, self.reward)
        generator = PlaneGenerator(problem)
        return sample_clouds(generator, CLOUD, points, steps, self.config, reward, printed=self.printed, seed=seed)[0]


@dataclass(frozen=True)
class Floor:
    """What independent draws of the law itself measure: mean and largest of several."""

    sliced: float
    sliced_most: float
    divergence: float
    divergence_most: float


class Yardstick:
    """Distances to a law, from one large-as-the-samples reference draw of it and from its probabilities on a grid.

    Args:
        law: the law.
        log_density: its log-density up to a constant.
        count: number of points of every cloud that is measured.
        seed: of the reference draw and of the floor's.

    Attributes:
        floor: see `Floor`.
        reference: [count, 2] draws of the law.
    """

    def __init__(self, law: Mixture, log_density: Callable[[Tensor], Tensor], count: int, seed: int) -> None:
        self._grid = Grid()
        self._cells = self._grid.probabilities(log_density)
        random = torch.Generator().manual_seed(seed)
        self.reference = law.sample(count, random)
        draws = [self.measure(law.sample(count, random)) for _ in range(_FLOOR_DRAWS)]
        sliced, divergence = zip(*draws, strict=True)
        self.floor = Floor(sum(sliced) / len(sliced), max(sliced), sum(divergence) / len(divergence), max(divergence))

    def measure(self, points: Tensor) -> tuple[float, float]:
        """Sliced W_1 to the reference and KL to the law, of a cloud [count, 2]."""
        return sliced_wasserstein(points, self.reference), self._grid.divergence(points, self._cells)


def target_yardstick(problem: Captioned, count: int, seed: int) -> Yardstick:
    """Distances to p exp(R_0) / Z."""

    def log_density(x: Tensor) -> Tensor:
        return problem.law.log_density(x) + problem.clean_reward(x)

    return Yardstick(problem.target, log_density, count, seed)


@dataclass(frozen=True)
class Measured:
    """The points [N, 2] of an option, and their distances to the guided law."""

    option: Option
    points: Tensor
    sliced: float
    divergence: float


def all_options() -> list[Option]:
    """No guidance; reward x scale x location; the printed step. At x0 the three rewards are one, listed once.

    The scale `moment` exists at x0 alone.
    The location x0_through has no option of its own: it is the reward `predicted` at x_t.
    """
    options: list[Option] = [Option()]
    for kind, scale, location in product(get_args(RewardKind), tuple(SCALES), tuple(LOCATIONS)):
        noisy = location in ("x_t", "x_prev") and scale != "moment"
        if noisy or (location == "x0" and kind == "clean"):
            options.append(Option(kind, scale, location))
    options.append(Option(None, "constant", printed=True))
    options += [Option(kind, "constant", printed=True) for kind in get_args(RewardKind)]
    return options


def measure_options(
    problem: Captioned, options: Sequence[Option], yardstick: Yardstick, points: int, steps: int, seed: int
) -> list[Measured]:
    """Sample and measure every option, with the same noise."""
    found = []
    for option in options:
        cloud = option.sample(problem, points, steps, seed)
        found.append(Measured(option, cloud, *yardstick.measure(cloud)))
    return found


# One of each kind, to be measured over strengths and numbers of steps. The first two have the theory's strength.
COMPARED: tuple[Option, ...] = (
    Option("exact"),
    Option("exact", "posterior"),
    Option("predicted"),
    Option("clean"),
    Option("exact", "constant"),
    Option("exact", "constant", printed=True),
)
EXACT = COMPARED[:2]
STRENGTHS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
STEP_COUNTS = (10, 25, 50, 100, 250, 500)
TUNING_STEPS = 50


def measure_strengths(problem: Captioned, yardstick: Yardstick, points: int, seed: int) -> dict[Option, list[float]]:
    """The sliced distance of `COMPARED` at each of `STRENGTHS`, with `TUNING_STEPS` steps."""
    return {
        option: [
            yardstick.measure(replace(option, mu=mu).sample(problem, points, TUNING_STEPS, seed))[0] for mu in STRENGTHS
        ]
        for option in COMPARED
    }


def tuned(option: Option, distances: Sequence[float]) -> Option:
    """The option at the best of `STRENGTHS`; the exact ones keep mu = 1."""
    if option in EXACT:
        return option
    return replace(option, mu=STRENGTHS[min(range(len(STRENGTHS)), key=lambda index: distances[index])])


def measure_steps(
    problem: Captioned, options: Sequence[Option], yardstick: Yardstick, points: int, seed: int
) -> dict[Option, list[float]]:
    """The sliced distance of each option at each of `STEP_COUNTS`."""
    return {
        option: [yardstick.measure(option.sample(problem, points, steps, seed))[0] for steps in STEP_COUNTS]
        for option in options
    }


def strength_paths(problem: Captioned, points: int, strengths: Sequence[float], seed: int) -> Tensor:
    """Where the same noise ends under growing mu, by DDIM with 50 steps: [len(strengths), points, 2]."""
    reward, generator = PlaneReward(problem, "exact"), PlaneGenerator(problem)
    config = Option("exact").config
    return torch.stack(
        [
            sample_clouds(generator, CLOUD, points, 50, replace(config, mu=mu), reward, scheduler="ddim", seed=seed)[0]
            for mu in strengths
        ]
    )


def record_run(problem: Captioned, guided: bool, points: int, steps: int, seed: int) -> list[tuple[float, Tensor]]:
    """All states of one DDPM run as (alpha_bar, [points, 2]), noisiest first, ending with the clean ones."""
    generator = PlaneGenerator(problem, record=True)
    reward = PlaneReward(problem, "exact") if guided else None
    config = Option("exact" if guided else None).config
    final = sample_clouds(generator, CLOUD, points, steps, config, reward, seed=seed)[0]
    return [*((level, state[0]) for level, state in generator.seen), (1.0, final)]
