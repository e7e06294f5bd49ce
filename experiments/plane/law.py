"""Does guidance sample the law it should? Over many seeds, with intervals.

What is measured is a ratio: the mean sliced Wasserstein distance between samples and an independent ideal sample of as
many points, over that between two independent ideal samples. A sampler of the very law has 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from experiments.plane.distances import sliced_wasserstein
from experiments.plane.experiment import Option
from experiments.plane.generator import PlaneGenerator, PlaneReward, PointSampler, sample_clouds
from experiments.plane.mixture import Captioned, Mixture, ring
from experiments.plane.receipt import SCHEDULES, Cell, Plan, Receipt, ScheduleName, format_ratios
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.noise import sample_generator
from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.guidance import ParticleSteering
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import ParticleConfig

OPTIONS = (
    Option("exact"),
    Option("clean"),
    Option("exact", "constant"),
    Option("clean", "constant"),
    Option("predicted"),
    Option("exact", "posterior"),
    # Of the predicted clean state, like `predicted`, but not through the denoiser.
    Option("clean", "moment", "x0"),
    Option(),
)
# Particles, steps, seeds.
_STEERED = ((10, 50, 10), (100, 50, 10), (1000, 50, 3), (10, 200, 10), (100, 200, 4), (1000, 200, 2), (10, 1000, 4))
_WEIGHED = 50


def default_plan(points: int, seeds: int, schedule: ScheduleName) -> Plan:
    """Every option at 50, 200 and 1000 steps; particles with fewer points and seeds, for they cost K times as much.

    Raises:
        ConfigError: too few points or seeds.
    """
    if points < 200 or seeds < 2:
        raise ConfigError(f"law points={points}, seeds={seeds}: need at least 200 points and 2 seeds")
    cells = [Cell(option, steps, points, seeds) for steps in (1000, 50, 200) for option in OPTIONS]
    for particles, steps, most in _STEERED:
        cells.append(Cell(Option("clean"), steps, points // 5, min(most, seeds), particles))
    return Plan(tuple(cells), schedule)


def ideal_pair(law: Mixture, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two independent samples [points, 2] of a law; they share no noise with any sampler."""
    first, second = (law.sample(points, sample_generator(seed, f"ideal {side}")) for side in ("first", "second"))
    return first, second


def draw_clouds(problem: Captioned, cell: Cell, schedule: NoiseSchedule, seeds: Sequence[int]) -> Tensor:
    """Samples [len(seeds), points, 2] by DDPM, in float32: rounding is far below any distance."""
    small = problem.to(torch.float32)
    generator, option = PlaneGenerator(small, schedule), cell.option
    reward = None if option.reward is None else PlaneReward(small, option.reward)
    if cell.particles == 1 or reward is None:
        ids = [str(seed) for seed in seeds]
        return sample_clouds(generator, ids, cell.points, cell.steps, option.config, reward, seed=0).double()
    sampler = PointSampler(generator, SamplingConfig(steps=cell.steps, scheduler="ddpm", seed=0))
    weighing = ParticleConfig(cell.particles, location="x_t", every=max(1, cell.steps // _WEIGHED), select="weight")
    steering = ParticleSteering(sampler, reward, weighing)
    return torch.stack([_steered(steering, cell.points, seed) for seed in seeds]).double()


def _steered(steering: ParticleSteering, points: int, seed: int) -> Tensor:
    ids = [f"{seed}: {point}" for point in range(points)]
    result = steering.sample_states(Prompts(["caption"] * points, torch.ones(points, dtype=torch.long), ids))
    return result.states[torch.arange(points), result.chosen, 0]


def measure(receipt: Receipt, problem: Captioned, report: Callable[[str], None]) -> None:
    """Measure what the receipt lacks, in the plan's order, and write it after every batch of seeds.

    Args:
        receipt: see `Receipt`.
        problem: law and caption.
        report: takes a line for every batch that is done.
    """
    schedule, law = SCHEDULES[receipt.plan.schedule], problem.target
    most = max(cell.seeds for cell in receipt.plan.cells)
    for pairs, points in ((receipt.ideal(cell.points), cell.points) for cell in receipt.plan.cells):
        pairs.extend(sliced_wasserstein(*ideal_pair(law, points, seed)) for seed in range(len(pairs), most))
    for cell in receipt.plan.cells:
        for seeds in _missing(cell, receipt):
            started, busy = time.monotonic(), time.process_time()
            clouds = draw_clouds(problem, cell, schedule, seeds)
            found = [
                sliced_wasserstein(cloud, ideal_pair(law, cell.points, seed)[0])
                for cloud, seed in zip(clouds, seeds, strict=True)
            ]
            receipt.add(cell, found, time.monotonic() - started, time.process_time() - busy)
            receipt.write()
            report(f"{cell.name}: seeds {seeds[0]} to {seeds[-1]}, {receipt.cpu_seconds:.0f} s")


def _missing(cell: Cell, receipt: Receipt) -> Iterator[range]:
    size = receipt.plan.batch if cell.particles == 1 else 1
    for first in range(receipt.found(cell), cell.seeds, size):
        yield range(first, min(first + size, cell.seeds))


def run_law(out: Path, plan: Plan, report: Callable[[str], None]) -> str:
    """Measure a plan on the ring, or what is missing of it.

    Args:
        out: the receipt, a JSON file; one of the same plan is continued. The table stands beside it, as Markdown.
        plan: what to measure.
        report: takes a line of progress.

    Returns:
        The table.

    Raises:
        ConfigError: a receipt of another plan.
        DataError: a receipt that is not readable.
    """
    receipt = Receipt.open(out, plan)
    measure(receipt, ring(), report)
    receipt.write()
    write_text_atomic(out.with_suffix(".md"), format_ratios(receipt, "markdown"))
    return format_ratios(receipt)
