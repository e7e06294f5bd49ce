"""Every option of the guidance in the plane, in a table and two figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.plane import experiment
from experiments.plane.experiment import Floor, Measured, Option, Yardstick
from experiments.plane.mixture import Captioned, ring
from experiments.plane.pictures import plot_flow, plot_overview
from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.report.table import Style, format_table

_HEADERS = ("reward", "scale", "location", "step", "sliced W1", "x floor", "KL", "within floor")
_STRENGTHS = tuple(index / 24 for index in range(25))
_FLOW_POINTS = 450
_SNAPSHOTS = (0.1, 0.3, 0.6, 0.9)


@dataclass(frozen=True)
class ToyResult:
    """What a run found. found: every option, with its points. table: as text. files: what was written."""

    floor: Floor
    found: tuple[Measured, ...]
    table: str
    files: tuple[Path, ...]


def _row(measured: Measured, floor: Floor) -> list[object]:
    option = measured.option
    where = [option.scale, option.location] if option.reward else [None, None]
    reward = "any" if option.location == "x0" else option.reward or "none"
    within = measured.sliced <= floor.sliced_most and measured.divergence <= floor.divergence_most
    step = "as printed" if option.printed else "scheduler's"
    ratio = f"{measured.sliced / floor.sliced:.1f}"
    return [reward, *where, step, measured.sliced, ratio, measured.divergence, "yes" if within else "no"]


def format_results(found: Sequence[Measured], control: Measured, floor: Floor, style: Style = "text") -> str:
    """The distances of every option to the guided law, after the floor and the sampler's own error.

    Args:
        found: the options.
        control: points without guidance, measured against the law before guidance.
        floor: of the distances to the guided law.
        style: of the table.
    """
    rows: list[list[object]] = [
        ["ideal draws, mean", None, None, None, floor.sliced, "1.0", floor.divergence, "yes"],
        [
            "ideal draws, largest",
            None,
            None,
            None,
            floor.sliced_most,
            f"{floor.sliced_most / floor.sliced:.1f}",
            floor.divergence_most,
            "yes",
        ],
        ["none, against p", None, None, "scheduler's", control.sliced, None, control.divergence, None],
        *(_row(measured, floor) for measured in found),
    ]
    return format_table(_HEADERS, rows, style)


def _flow(path: Path, problem: Captioned, points: int, steps: int, seed: int) -> None:
    paths = experiment.strength_paths(problem, _FLOW_POINTS, _STRENGTHS, seed)
    runs = {}
    for name in ("unguided", "guided"):
        states = experiment.record_run(problem, name == "guided", points, steps, seed)
        nearest = [min(states, key=lambda state, level=level: abs(state[0] - level)) for level in _SNAPSHOTS]  # type: ignore[misc]
        runs[name] = [*nearest, states[-1]]
    plot_flow(path, problem, _STRENGTHS, paths, runs)


def run_toy(out: Path, points: int = 6000, steps: int = 200, seed: int = 1234) -> ToyResult:
    """Measure and plot everything.

    Args:
        out: folder of toy.png, flow.png, table.md and table.csv.
        points: size of every cloud.
        steps: sampler steps of the table.
        seed: the same seed gives the same files.

    Raises:
        ConfigError: a setting out of range.
    """
    if points < 200:
        raise ConfigError(f"toy points={points}: need at least 200 to measure a distance")
    problem = ring()
    yardstick = experiment.target_yardstick(problem, points, seed)
    found = experiment.measure_options(problem, experiment.all_options(), yardstick, points, steps, seed)
    law = Yardstick(problem.law, problem.law.log_density, points, seed)
    control = Measured(Option(), found[0].points, *law.measure(found[0].points))
    strengths = experiment.measure_strengths(problem, yardstick, points, seed)
    best = [experiment.tuned(option, distances) for option, distances in strengths.items()]
    convergence = experiment.measure_steps(problem, best, yardstick, points, seed)

    files = tuple(out / name for name in ("table.md", "table.csv", "toy.png", "flow.png"))
    write_text_atomic(files[0], format_results(found, control, yardstick.floor, "markdown"))
    write_text_atomic(files[1], format_results(found, control, yardstick.floor, "csv"))
    known = {measured.option: measured for measured in found}
    plot_overview(files[2], problem, known, yardstick.reference, yardstick.floor, strengths, convergence)
    _flow(files[3], problem, points, steps, seed)
    return ToyResult(yardstick.floor, tuple(found), format_results(found, control, yardstick.floor), files)
