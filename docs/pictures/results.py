"""The pictures of RESULTS.md, drawn from the tables in docs/results/tables.md, so that they show what stands there.

python docs/pictures/results.py --out docs/images/results
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightning_realign.report.pictures.canvas import new_figure, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TABLES = Path(__file__).parents[1] / "results" / "tables.md"
_REAL, _UNGUIDED, _GUIDED, _INK, _FAINT = "#7A7F87", "#D55E00", "#009E73", "#23272E", "#9AA0A8"
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Measured:
    """A metric as pictures name it, where it stands in the tables, and which way is better."""

    name: str
    table: str
    column: str
    more_is_better: bool
    factor: float = 1.0


_EFFECTS = (
    Measured("R@1, judge Guo (%)", "MLD-like: judge guo", "R@1", True, 100),
    Measured("R@1, judge TMR (%)", "MLD-like: judge tmr", "R@1", True, 100),
    Measured("FID, judge Guo", "MLD-like: judge guo", "FID", False),
    Measured("errors of meaning (%)", "MLD-like: the motions themselves", "semantic error", False, 100),
    Measured("foot skating (% of frames)", "MLD-like: the motions themselves", "foot skating", False, 100),
    Measured("jerk (m/s³)", "MLD-like: the motions themselves", "jerk", False),
)
_PARTS = {
    "text_alone": "text reward alone, every step",
    "physical": "physical rewards alone",
    "main": "both, as chosen",
    "travel": "text reward, time travel",
    "through": "text reward, through the denoiser",
    "exact": "text reward, exact case (score at x_t)",
    "steer": "particles, no gradient",
}
_CHANGES = (
    Measured("R@1, judge Guo (points)", "", "guo/R@1", True, 100),
    Measured("R@1, judge TMR (points)", "", "tmr/R@1", True, 100),
    Measured("does what was asked (points)", "", "semantic_accuracy", True, 100),
    Measured("foot skating (points)", "", "foot_skating", False, 100),
)


def read_table(heading: str) -> dict[str, dict[str, str]]:
    """A table's cells by the first column and the name of the column.

    Raises:
        SystemExit: there is no such table.
    """
    text = _TABLES.read_text(encoding="utf-8")
    start = text.find(f"\n## {heading}\n")
    if start < 0:
        raise SystemExit(f"error: {_TABLES}: no table {heading!r}")
    lines = [line for line in text[start + 4 :].split("\n## ")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def numbers(cell: str, factor: float = 1.0) -> list[float]:
    """The numbers of a cell: a mean and half its interval, or a change and the ends of its interval."""
    return [factor * float(number) for number in _NUMBER.findall(cell)]


def _better(axes: Axes, more: bool, horizontal: bool = True) -> None:
    """Say which way is better, on the axis."""
    text = ("better →" if more else "← better") if horizontal else ("↑ better" if more else "↓ better")
    place = (1.0 if more else 0.0, 1.02) if horizontal else (0.0, 1.02)
    side = ("right" if more else "left") if horizontal else "left"
    axes.text(*place, text, transform=axes.transAxes, ha=side, va="bottom", fontsize=10, color=_GUIDED)


def draw_effect(path: Path) -> None:
    """What guidance changes: a panel a metric, unguided to guided, real motions as a line."""
    figure = new_figure(10.5, 4.2)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)
    for axes, effect in zip(np.asarray(figure.subplots(2, 3)).flat, _EFFECTS, strict=True):
        table = {name.lower(): row for name, row in read_table(effect.table).items()}
        found = {
            name: numbers(table[name][effect.column], effect.factor)
            for name in ("real", "unguided", "guided")
            if numbers(table[name][effect.column])
        }
        unguided, guided = found["unguided"], found["guided"]
        if "real" in found:
            axes.axvline(found["real"][0], color=_REAL, linestyle=(0, (4, 2)), linewidth=1.6)
        axes.annotate(
            "",
            (guided[0], 0.0),
            (unguided[0], 0.0),
            arrowprops={"arrowstyle": "-|>", "color": _FAINT, "linewidth": 2, "shrinkA": 6, "shrinkB": 6},
        )
        for value, colour in ((unguided, _UNGUIDED), (guided, _GUIDED)):
            axes.errorbar(
                value[0], 0.0, xerr=value[1] if len(value) > 1 else None, fmt="o", color=colour, markersize=8, capsize=3
            )
            axes.text(value[0], 0.28, f"{value[0]:.3g}", ha="center", color=colour, fontsize=11)
        axes.set(ylim=(-0.6, 0.75), yticks=[])
        axes.margins(x=0.2)
        axes.set_xlabel(effect.name, fontsize=11, color=_INK)
        _better(axes, effect.more_is_better)
        axes.spines[["left", "top", "right"]].set_visible(False)
    _legend(figure, ("real motions", "unguided", "guided"))
    save_png(figure, path, dpi=100)


def _legend(figure: object, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    drawn = [
        Line2D([], [], color=_REAL, linestyle=(0, (4, 2)), linewidth=1.6),
        Line2D([], [], color=_UNGUIDED, marker="o", linestyle="", markersize=8),
        Line2D([], [], color=_GUIDED, marker="o", linestyle="", markersize=8),
    ]
    figure.legend(drawn, names, loc="outside lower center", ncols=3, frameon=False, fontsize=11)  # type: ignore[attr-defined]


def draw_parts(path: Path) -> None:
    """What each part brings: the paired change from unguided, with its 95% interval, a panel a metric."""
    changes = dict(read_table("MLD-like: ablations minus unguided, pair by pair"))
    main = read_table("MLD-like: guided minus unguided, pair by pair")
    changes["main"] = {name: row["change"] for name, row in main.items()}
    figure = new_figure(11.5, 3.9)
    panels = np.asarray(figure.subplots(1, len(_CHANGES), sharey=True))
    for axes, metric in zip(panels.flat, _CHANGES, strict=True):
        for line, part in enumerate(reversed(_PARTS)):
            value, low, high = numbers(changes[part][metric.column], metric.factor)
            clear = low > 0 or high < 0
            good = (value > 0) == metric.more_is_better
            colour = _FAINT if not clear else _GUIDED if good else _UNGUIDED
            axes.plot([low, high], [line, line], color=colour, linewidth=2.4, solid_capstyle="round")
            axes.plot(value, line, "o", color=colour, markersize=7)
        axes.axvline(0.0, color=_INK, linewidth=0.9)
        axes.set_xlabel(metric.name, fontsize=11, color=_INK)
        axes.grid(axis="x", color="#E3E6EA")
        axes.set_axisbelow(True)
        axes.spines[["left", "top", "right"]].set_visible(False)
        axes.tick_params(left=False)
        _better(axes, metric.more_is_better)
    panels[0].set_yticks(range(len(_PARTS)), list(reversed(_PARTS.values())), fontsize=11)
    panels[0].get_yticklabels()[len(_PARTS) - 1 - list(_PARTS).index("main")].set_fontweight("bold")
    save_png(figure, path, dpi=100)


def draw_noise(path: Path) -> None:
    """Retrieval against the noise level: what step awareness buys."""
    rows = _level_rows()
    figure = new_figure(9.5, 3.6)
    for axes, direction in zip(np.asarray(figure.subplots(1, 2, sharey=True)).flat, rows, strict=True):
        levels, step, tmr = rows[direction]
        for values, colour, name in ((step, _GUIDED, "step-aware reward"), (tmr, _UNGUIDED, "TMR, clean motions only")):
            axes.plot(levels, values, "o-", color=colour, linewidth=2.2, markersize=5, label=name)
        axes.set(ylim=(0, 90), xlabel="noise level t (0: clean, 1000: noise)")
        axes.set_title(direction, fontsize=11, loc="right")
        axes.grid(color="#E3E6EA")
        axes.spines[["top", "right"]].set_visible(False)
        _better(axes, True, horizontal=False)
        axes.legend(loc="lower left", frameon=False, fontsize=10)
    figure.axes[0].set_ylabel("R@1 in pools of 32 (%)")
    save_png(figure, path, dpi=100)


def _level_rows() -> dict[str, tuple[list[float], list[float], list[float]]]:
    """By direction: levels, R@1 of the step-aware reward, R@1 of TMR."""
    text = _TABLES.read_text(encoding="utf-8")
    part = text.split("\n## Retrieval against the noise level, pools of 32\n")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
    names, found = lines[0], dict[str, tuple[list[float], list[float], list[float]]]()
    step, tmr = names.index("step-aware R@1"), names.index("TMR R@1")
    for line in lines[2:]:
        levels = found.setdefault(line[0], ([], [], []))
        for values, column in zip(levels, (1, step, tmr), strict=True):
            values.append(numbers(line[column])[0])
    return found


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/results"))
    out = parser.parse_args().out
    for name, draw in (("effect", draw_effect), ("parts", draw_parts), ("noise", draw_noise)):
        draw(out / f"{name}.png")
        print(out / f"{name}.png")


if __name__ == "__main__":
    main()
