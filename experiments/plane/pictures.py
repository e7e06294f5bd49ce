"""The two figures of the toy: every option beside the law it should sample, and how guidance moves the points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from experiments.plane.distances import Grid
from experiments.plane.experiment import STEP_COUNTS, STRENGTHS, TUNING_STEPS, Floor, Measured, Option
from experiments.plane.generator import RewardKind
from experiments.plane.mixture import Captioned
from lightning_realign.report.pictures.canvas import COLOURS, new_figure, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES: dict[RewardKind, str] = {
    "exact": "exact  log E[exp R$_0$ | x$_t$]",
    "predicted": "R$_0$ of predicted x$_0$",
    "clean": "time-independent R$_0$(x$_t$)",
}
_REWARD_COLOURS: dict[RewardKind | None, str] = {
    "exact": COLOURS[0],
    "predicted": COLOURS[3],
    "clean": COLOURS[1],
    None: COLOURS[6],
}
_EXTENT = 2.55
_SHOWN = 3000


def _bare(axes: Axes) -> None:
    axes.set(xlim=(-_EXTENT, _EXTENT), ylim=(-_EXTENT, _EXTENT), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color("#c8c8c8")


def _contours(axes: Axes, log_density: Callable[[Tensor], Tensor]) -> None:
    """Bands of a law's density, each a fifth of its peak, on white."""
    grid = Grid(_EXTENT, 110, 1)
    density = log_density(grid.points).exp().numpy().T
    levels = density.max() * np.array([0.02, 0.1, 0.3, 0.55, 0.8, 1.0])
    axis = grid.axis.numpy()
    axes.contourf(axis, axis, density, levels=levels, cmap="Greys", vmin=0.0, vmax=1.7 * density.max())


def _dots(axes: Axes, points: Tensor, colour: str, count: int = _SHOWN) -> None:
    shown = points[:count].numpy()
    axes.scatter(shown[:, 0], shown[:, 1], s=2.2, c=colour, alpha=0.35, linewidths=0, rasterized=True)


def _cloud(
    axes: Axes, problem: Captioned, points: Tensor, title: str, note: str, colour: str, guided: bool = True
) -> None:
    _contours(axes, (problem.target if guided else problem.law).log_density)
    _dots(axes, points, colour)
    _bare(axes)
    axes.set_title(title, fontsize=10.5)
    axes.text(0.03, 0.035, note, transform=axes.transAxes, fontsize=9, color="#222222")


def _times(value: float, floor: Floor) -> str:
    return f"{value / floor.sliced:.1f} x floor"


def _matrix(panels: Any, problem: Captioned, found: Mapping[Option, Measured], floor: Floor) -> None:
    """Panels [3, 4]: rewards in rows, steps in columns, at x_t with mu = 1."""
    columns: tuple[tuple[str, str, bool], ...] = (
        ("score", "score", False),
        ("posterior", "posterior", False),
        ("constant", "constant", False),
        ("constant, step as printed", "constant", True),
    )
    for row, (kind, name) in enumerate(NAMES.items()):
        for axes, (title, scale, printed) in zip(panels[row], columns, strict=True):
            measured = found[Option(kind, scale, printed=printed)]
            note = _times(measured.sliced, floor)
            _cloud(axes, problem, measured.points, title if row == 0 else "", note, _REWARD_COLOURS[kind])
        panels[row, 0].set_ylabel(name, fontsize=10.5, color=_REWARD_COLOURS[kind])


def _label(option: Option) -> str:
    step = "as printed" if option.printed else option.scale
    strength = "" if option.mu == 1.0 else f", mu = {option.mu:g}"
    return f"{option.reward}, {step}{strength}"


def _curves(axes: Axes, x: Sequence[float], curves: Mapping[Option, Sequence[float]], floor: Floor) -> None:
    """Distances over x on logarithmic axes, above the band of the floor."""
    axes.axhspan(1e-3, floor.sliced_most, color="#e6e6e6", zorder=0, lw=0)
    axes.text(0.985, 0.02, "floor: draws of the law itself", transform=axes.transAxes, ha="right", fontsize=8.5)
    for option, distances in curves.items():
        dash = "-" if option.scale == "score" else "--" if option.scale == "posterior" else ":"
        colour = COLOURS[2] if option.printed else COLOURS[4] if dash == ":" else _REWARD_COLOURS[option.reward]
        axes.plot(x, distances, dash, color=colour, marker="o", ms=3.5, lw=1.8, label=_label(option))
    axes.set(xscale="log", yscale="log", ylabel="sliced Wasserstein distance", ylim=(0.6 * floor.sliced, 1.2))
    axes.grid(alpha=0.25, which="major")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def plot_overview(
    path: Path,
    problem: Captioned,
    found: Mapping[Option, Measured],
    ideal: Tensor,
    floor: Floor,
    strengths: Mapping[Option, Sequence[float]],
    steps: Mapping[Option, Sequence[float]],
) -> None:
    """Write the figure of all options.

    Args:
        path: the PNG.
        problem: law and caption.
        found: every option of `all_options`.
        ideal: [N, 2] draws of the guided law.
        floor: of the distances.
        strengths: distances at each of `STRENGTHS`.
        steps: distances at each of `STEP_COUNTS`.
    """
    figure = new_figure(16.5, 13.6)
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[2.6, 1]))
    panels = top.subplots(3, 5)
    _left_column(panels[:, 0], problem, found, ideal, floor)
    _matrix(panels[:, 1:], problem, found, floor)
    top.suptitle(
        "Left: what to reach, and what without guidance.   Right: guided at x$_t$ with mu = 1, "
        "rows the reward, columns how its gradient enters.   Grey: the exact law",
        fontsize=12,
    )
    over_strength, over_steps = bottom.subplots(1, 2)
    _curves(over_strength, STRENGTHS, strengths, floor)
    over_strength.set(xlabel="strength mu", title=f"{TUNING_STEPS} steps: the strength")
    _curves(over_steps, STEP_COUNTS, steps, floor)
    over_steps.set(xlabel="sampler steps", title=f"the number of steps (other mu than 1: best at {TUNING_STEPS} steps)")
    save_png(figure, path)


def _left_column(
    panels: Any, problem: Captioned, found: Mapping[Option, Measured], ideal: Tensor, floor: Floor
) -> None:
    unguided, guess = found[Option()], found[Option("clean", "score", "x0")]
    _cloud(panels[0], problem, ideal, "the guided law  p exp(R$_0$) / Z", "1.0 x floor", COLOURS[2])
    note = _times(unguided.sliced, floor)
    _cloud(panels[1], problem, unguided.points, "unguided  p", note, COLOURS[6], guided=False)
    note = _times(guess.sliced, floor)
    _cloud(panels[2], problem, guess.points, "score at x0 (all three rewards)", note, COLOURS[5])


def plot_flow(
    path: Path,
    problem: Captioned,
    strengths: Sequence[float],
    paths: Tensor,
    runs: Mapping[str, Sequence[tuple[float, Tensor]]],
) -> None:
    """Write the figure of the flow.

    Args:
        path: the PNG.
        problem: law and caption.
        strengths: [M] growing mu.
        paths: [M, N, 2] where the same N noises end.
        runs: "unguided" and "guided" -> K states of equal signal levels, noisiest first.
    """
    figure = new_figure(16.5, 6.0)
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=[1, 2.35], wspace=0.02))
    _plot_paths(left, problem, strengths, paths)
    panels = right.subplots(2, len(runs["guided"]))
    right.suptitle("reverse diffusion, and in grey the exact law at each signal level", fontsize=12)
    for row, (name, law, colour) in enumerate(
        (("unguided", problem.law, COLOURS[6]), ("guided", problem.target, COLOURS[0]))
    ):
        for column, (alpha_bar, points) in enumerate(runs[name]):
            axes = panels[row, column]
            _contours(axes, lambda x, law=law, level=alpha_bar: law.log_density(x, level))  # type: ignore[misc]
            _dots(axes, points, colour, 2000)
            _bare(axes)
            axes.set_title(f"$\\bar\\alpha_t$ = {alpha_bar:.3g}" if row == 0 else "", fontsize=10.5)
        symbol = "p$_t$" if name == "unguided" else "q$_t$ = p$_t$ E[exp R$_0$ | x$_t$] / Z"
        panels[row, 0].set_ylabel(f"{name}:  {symbol}", fontsize=10.5, color=colour)
    save_png(figure, path)


def _plot_paths(figure: Any, problem: Captioned, strengths: Sequence[float], paths: Tensor) -> None:
    """One line per noise, coloured by mu."""
    from matplotlib.collections import LineCollection

    axes = figure.subplots()
    _contours(axes, problem.target.log_density)
    pieces = torch.stack([paths[:-1], paths[1:]], dim=2).reshape(-1, 2, 2).numpy()
    middles = (np.asarray(strengths)[:-1] + np.asarray(strengths)[1:]) / 2
    lines = LineCollection(list(pieces), cmap="viridis", linewidths=0.9, alpha=0.75)
    lines.set_array(np.repeat(middles, paths.shape[1]))
    axes.add_collection(lines)
    for end, colour in ((paths[0], "#440154"), (paths[-1], "#d8c80a")):
        axes.scatter(*end.numpy().T, s=7, c=colour, linewidths=0, zorder=3)
    _bare(axes)
    figure.suptitle("the same noise under growing mu", fontsize=12)
    figure.colorbar(lines, ax=axes, label="mu", location="bottom", shrink=0.7, aspect=40)
