"""What the law in the plane is measured by, cell by cell, and the file that keeps it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from typing_extensions import Self

from experiments.compact import compact_json
from experiments.plane.experiment import Option
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.reading import read_json
from lightning_realign.report.table import Style, format_table

ScheduleName = Literal["cosine", "linear"]
# Both end in noise: alpha_bar_T is 2.4e-9 and 4.0e-5. The project's default ends at 0.005.
SCHEDULES: dict[ScheduleName, NoiseSchedule] = {
    "cosine": NoiseSchedule("cosine"),
    "linear": NoiseSchedule("linear", 1e-4, 0.02),
}
_RESAMPLES = 4000


@dataclass(frozen=True)
class Cell:
    """One measurement: an option, how it is sampled, and with how many points and seeds (0 to seeds - 1).

    particles: above 1, every point is one of so many unguided particles, which the option's reward weighs and resamples
    instead of guiding them.
    """

    option: Option
    steps: int
    points: int
    seeds: int
    particles: int = 1

    @property
    def name(self) -> str:
        """What tells it from the others."""
        way = self.option.scale if self.particles == 1 else f"{self.particles} particles"
        return f"{self.option.reward or 'none'}/{way}/{self.steps} steps"


@dataclass(frozen=True)
class Plan:
    """What is measured. batch: seeds sampled at once, for speed; no value depends on it beyond rounding."""

    cells: tuple[Cell, ...]
    schedule: ScheduleName = "cosine"
    batch: int = 5


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95% interval over seeds, and the two means it is made of."""

    value: float
    low: float
    high: float
    distance: float
    ideal: float


@dataclass
class Receipt:
    """The distances found so far, in a file that is written after every batch, so that a run can be taken up again.

    distances: name of a cell, or of ideal pairs of so many points -> a distance for each seed.
    """

    path: Path
    plan: Plan
    distances: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def open(cls, path: Path, plan: Plan) -> Self:
        """The receipt of an earlier run of the same plan, or a new one.

        Raises:
            ConfigError: the file is of another plan.
            DataError: it is not readable.
        """
        receipt = cls(path, plan)
        if path.exists():
            found = read_json(path, "receipt of the law")
            if found.get("plan") != receipt._plan():
                raise ConfigError(f"{path}: is of other settings than these; remove it or choose another --out")
            receipt.distances = {name: list(values) for name, values in found["distances"].items()}
            receipt.seconds, receipt.cpu_seconds = float(found["seconds"]), float(found["cpu_seconds"])
        return receipt

    def _plan(self) -> dict[str, Any]:
        return {"schedule": self.plan.schedule, "cells": [asdict(cell) for cell in self.plan.cells]}

    def found(self, cell: Cell) -> int:
        """How many seeds of a cell are done."""
        return len(self.distances.get(cell.name, []))

    def add(self, cell: Cell, distances: Sequence[float], seconds: float, cpu_seconds: float) -> None:
        """Note the distances of a cell's next seeds, and the time that they took."""
        self.distances.setdefault(cell.name, []).extend(distances)
        self.seconds += seconds
        self.cpu_seconds += cpu_seconds

    def ideal(self, points: int) -> list[float]:
        """The distances between ideal samples of so many points, to which a run adds."""
        return self.distances.setdefault(f"ideal/{points}", [])

    def ratios(self) -> dict[Cell, Ratio]:
        """Of the cells that are complete."""
        found = {}
        for cell in self.plan.cells:
            distances, pairs = self.distances.get(cell.name, []), self.ideal(cell.points)
            if len(distances) == cell.seeds <= len(pairs):
                found[cell] = ratio(distances, pairs)
        return found

    def write(self) -> None:
        """Write the file."""
        rows = [
            {**asdict(cell.option), "steps": cell.steps, "particles": cell.particles, "points": cell.points,
             "seeds": cell.seeds, **asdict(value)}
            for cell, value in self.ratios().items()
        ]  # fmt: skip
        content = {
            "alpha_bar_T": float(SCHEDULES[self.plan.schedule].alpha_bar[-1]),
            "rows": rows,
            "plan": self._plan(),
            "distances": self.distances,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "versions": {
                "python": platform.python_version(),
                **{package: version(package) for package in ("lightning_realign", "torch", "diffusers")},
            },
        }
        write_text_atomic(self.path, compact_json(content) + "\n")


def ratio(distances: Sequence[float], pairs: Sequence[float]) -> Ratio:
    """Ratio of the means, with a bootstrap interval over seeds.

    A seed's distance and its ideal pair share a sample, so the seeds that have both are drawn together; further pairs
    are drawn on their own.

    Args:
        distances: of seeds 0 to S - 1.
        pairs: of ideal samples, of seeds 0 to at least S - 1.
    """
    count, random = len(distances), torch.Generator().manual_seed(0)
    above, below = torch.tensor(distances, dtype=torch.float64), torch.tensor(pairs, dtype=torch.float64)
    drawn = torch.randint(count, (_RESAMPLES, count), generator=random)
    total = below[:count][drawn].sum(dim=1)
    if len(below) > count:
        further = torch.randint(count, len(below), (_RESAMPLES, len(below) - count), generator=random)
        total = total + below[further].sum(dim=1)
    values = above[drawn].mean(dim=1) / (total / len(below))
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    mean, ideal = float(above.mean()), float(below.mean())
    return Ratio(mean / ideal, low, high, mean, ideal)


def format_ratios(receipt: Receipt, style: Style = "text") -> str:
    """The ratios by number of steps."""
    ratios = receipt.ratios()
    steps = sorted({cell.steps for cell in receipt.plan.cells})

    def line(cells: Sequence[Cell]) -> list[str | None]:
        values = {cell.steps: ratios.get(cell) for cell in cells}
        return [_text(values.get(count)) for count in steps]

    rows: dict[tuple[object, ...], list[Cell]] = {}
    for cell in receipt.plan.cells:
        option = cell.option
        way = option.scale if cell.particles == 1 else f"{cell.particles} particles"
        rows.setdefault((option.reward or "none", way if option.reward else None, cell.points), []).append(cell)
    headers = ["reward", "way", "points", *(f"{count} steps" for count in steps)]
    return format_table(headers, [[*row, *line(cells)] for row, cells in rows.items()], style)


def _text(value: Ratio | None) -> str | None:
    return None if value is None else f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"
