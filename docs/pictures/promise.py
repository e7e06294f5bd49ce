"""The picture of the README: what was asked, what the generator does alone, and what it does under guidance.

    realign data synth --out runs/demo/data
    python docs/pictures/promise.py --data runs/demo/data --out docs/images/promise.png

Three captions are columns; the upper row is unguided, the lower one guided, from the same noise. The camera is fixed
and stands behind the figure, so that the figure's right is the picture's right. The oracle of the synthetic set, which
looks at joint positions alone, marks right and wrong.

The captions are those of the test split that ask for such an action to one side; each is generated several
times. Of each kind, the picture shows one that the oracle finds wrong unguided and right guided: chosen examples. The
script prints how many there are, and how many are the other way round.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_realign import Pipeline
from lightning_realign.data.synthetic import Action, from_attributes, recognise
from lightning_realign.motion import Skeleton
from lightning_realign.motion.predictions import Prediction
from lightning_realign.report.pictures.canvas import new_figure, save_png
from lightning_realign.report.pictures.scene import Camera

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_RIGHT, _WRONG, _ASKED, _INK = "#009E73", "#D32F2F", "#7A7F87", "#23272E"
_LEFT_LIMB, _RIGHT_LIMB, _TRUNK = "#0072B2", "#E07B00", "#3C4046"
_CAMERA = Camera(distance=8.0, yaw=170.0, pitch=22.0, view=26.0)
# The floor's square metre grid, seen by every panel: (x from, x to, z from, z to).
# Where the hand or the foot should be: (to the asked side, up, ahead) in metres.
_PLACES = {"raise": (0.28, 1.9, 0.0), "wave": (0.5, 1.62, 0.0), "kick": (0.1, 0.6, 0.6), "punch": (0.15, 1.35, 0.6)}
_FLOOR = (-2.5, 2.5, -1.5, 2.0)
_TARGET = np.array([0.0, 0.75, 0.0])


@dataclass(frozen=True)
class Take:
    """One motion of a caption: its joints [T, 22, 3] in metres, and what the oracle saw."""

    joints: Array
    bones: tuple[tuple[int, int], ...]
    names: tuple[str, ...]
    seen: tuple[Action, ...]


@dataclass(frozen=True)
class Example:
    """A caption, what it asks for, and the motions made for it without and with guidance."""

    caption: str
    asked: tuple[Action, ...]
    unguided: Take
    guided: Take


def generate(data: Path, families: Sequence[str], replications: int) -> dict[str, list[Example]]:
    """The motions of the test split's captions of these families that name a side, by family."""
    pipeline = Pipeline.from_pretrained("synthetic")
    found: dict[str, list[Example]] = {family: [] for family in families}
    tasks = _tasks(data, families)
    captions, lengths = [task[1] for task in tasks], torch.tensor([task[2] for task in tasks])
    for replication in range(replications):
        ids = [task[0] for task in tasks]
        guided = pipeline.predict(captions, lengths, ids, replication)
        motions = pipeline.sample(captions, lengths, ids, replication, guided=False)
        unguided = replace(guided, motions=motions)
        for place, (_, caption, _, asked) in enumerate(tasks):
            takes = (_take(made, place, pipeline.skeleton) for made in (unguided, guided))
            found[asked[0].family].append(Example(caption, asked, *takes))
    return found


def _tasks(data: Path, families: Sequence[str]) -> list[tuple[str, str, int, tuple[Action, ...]]]:
    """Id, caption, length in frames and attributes of the captions that may be shown."""
    attributes = json.loads((data / "attributes.json").read_text(encoding="utf-8"))
    tasks = []
    for sample in (data / "test.txt").read_text(encoding="utf-8").split():
        asked = from_attributes(attributes[sample])
        if len(asked) == 1 and asked[0].family in families and asked[0].side in ("left", "right"):
            line = (data / "texts" / f"{sample}.txt").read_text(encoding="utf-8").split("#")[0]
            frames = len(np.load(data / "new_joint_vecs" / f"{sample}.npy", mmap_mode="r"))
            tasks.append((sample, line, frames, asked))
    return tasks


def _take(prediction: Prediction, place: int, skeleton: Skeleton) -> Take:
    joints = prediction.joints[place]
    points = joints.double().numpy().copy()
    points[..., 1] -= points[..., 1].min()
    points[..., [0, 2]] -= points[:1, :1, [0, 2]]
    bones = tuple((parent, child) for child, parent in enumerate(skeleton.parents) if parent >= 0)
    return Take(points, bones, skeleton.joints, recognise(joints, skeleton))


def choose(examples: Mapping[str, Sequence[Example]]) -> list[Example]:
    """One example a family that guidance repairs: of several, the one that is seen best.

    Raises:
        SystemExit: there is none of a family.
    """
    chosen = []
    for family, made in examples.items():
        repaired = [one for one in made if one.guided.seen == one.asked != one.unguided.seen]
        spoilt = sum(one.unguided.seen == one.asked != one.guided.seen for one in made)
        print(f"{family}: {len(made)} motions, {len(repaired)} repaired, {spoilt} spoilt")
        if not repaired:
            raise SystemExit(f"error: no {family} that guidance repairs; take more --replications")
        chosen.append(max(repaired, key=_telling))
    return chosen


def _telling(example: Example) -> float:
    """How well a pair can be seen: the other side first, then another action or both sides; all within the picture."""
    asked, seen = example.asked[0], example.unguided.seen
    same = len(seen) == 1 and seen[0].family == asked.family
    other = same and seen[0].side not in (asked.side, None)
    score = 2.0 * (other and seen[0].side != "both") + 1.0 * (other or (len(seen) == 1 and not same))
    takes = (example.unguided, example.guided)
    reach = max(float(np.abs(take.joints[..., 0]).max()) for take in takes)
    ends = [float(np.linalg.norm(take.joints[-1, 0] - take.joints[0, 0])) for take in takes]
    farther = 2.0 * (ends[1] - ends[0]) if asked.family == "walk" else 0.0
    return score + farther - 5.0 * (reach > 1.6)


def _words(actions: Sequence[Action]) -> str:
    """What the oracle saw, in words."""
    return ", then ".join(_word(action) for action in actions)


def _word(action: Action) -> str:
    side = action.side or ""
    if action.family == "walk":
        return f"walks {'to the ' if side in ('left', 'right') else ''}{side}"
    if action.family == "turn":
        return f"turns {side} by {action.angle}°"
    if action.family in ("wave", "raise"):
        hands = "both hands" if side == "both" else f"the {side} hand"
        return f"{'waves' if action.family == 'wave' else 'raises'} {hands}"
    if action.family in ("kick", "punch"):
        limb = "leg" if action.family == "kick" else "hand"
        return f"{action.family}{'es' if limb == 'hand' else 's'} with the {side} {limb}"
    return {"stand": "stands still", "jump": "jumps"}.get(action.family, f"{action.family} {side}".strip())


def _project(points: Array) -> Array:
    """Coordinates in the panel, y up."""
    pixels, _ = _CAMERA.project(points, _TARGET, 2)
    flipped: Array = np.stack([pixels[..., 0] - 1.0, 1.0 - pixels[..., 1]], axis=-1)
    return flipped


def _ground(axes: Axes) -> None:
    low_x, high_x, low_z, high_z = _FLOOR
    for x in np.arange(low_x, high_x + 1e-6, 0.5):
        _line(axes, np.array([[x, 0, low_z], [x, 0, high_z]]), "#DDE1E6", 0.8, order=1)
    for z in np.arange(low_z, high_z + 1e-6, 0.5):
        _line(axes, np.array([[low_x, 0, z], [high_x, 0, z]]), "#DDE1E6", 0.8, order=1)


def _line(axes: Axes, points: Array, colour: str, width: float, order: float, alpha: float = 1.0) -> None:
    seen = _project(points)
    axes.plot(seen[:, 0], seen[:, 1], color=colour, linewidth=width, alpha=alpha, zorder=order, solid_capstyle="round")


def _figure(axes: Axes, take: Take, frame: int, alpha: float) -> None:
    joints = take.joints[frame]
    shadow = joints * np.array([1.0, 0.0, 1.0])
    for parent, child in take.bones:
        _line(axes, shadow[[parent, child]], "#C9CED4", 2.4, order=2, alpha=0.55 * alpha)
    seen = _project(joints)
    for parent, child in take.bones:
        name = take.names[child]
        colour = _LEFT_LIMB if "left" in name else _RIGHT_LIMB if "right" in name else _TRUNK
        _line(axes, joints[[parent, child]], colour, 3.6, order=5 + alpha, alpha=alpha)
    head = seen[take.names.index("head")]
    axes.plot(*head, marker="o", markersize=9.5, color=_TRUNK, alpha=alpha, zorder=5 + alpha, markeredgewidth=0)


def _arrow(axes: Axes, points: Array, colour: str, width: float, order: float, dashed: bool = False) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Outline

    seen = _project(points)
    style = (0, (2.2, 1.4)) if dashed else "solid"
    if len(seen) > 2:
        axes.plot(seen[:-1, 0], seen[:-1, 1], color=colour, linewidth=width, linestyle=style, zorder=order)
    tip = Outline(seen[[-max(2, len(seen) // 12), -1]])
    axes.add_patch(
        FancyArrowPatch(
            path=tip if len(seen) > 2 else Outline(seen),
            arrowstyle="-|>,head_length=5,head_width=3.2",
            color=colour,
            linewidth=width,
            linestyle=style if len(seen) == 2 else "solid",
            zorder=order + 0.1,
            shrinkA=0,
            shrinkB=0,
        )
    )


def _headings(take: Take) -> Array:
    """Where the hips face [T], in radians from +z towards +x, unwrapped."""
    across = take.joints[:, take.names.index("left_hip")] - take.joints[:, take.names.index("right_hip")]
    forward = np.stack([-across[:, 2], across[:, 0]], axis=-1)  # (x, z) of a quarter turn of `across`
    angles: Array = np.unwrap(np.arctan2(forward[:, 0], forward[:, 1]))
    return angles


def _arc(start: float, stop: float, radius: float) -> Array:
    angles = np.linspace(start, stop, 40)
    arc: Array = np.stack([radius * np.sin(angles), np.full(40, 0.01), radius * np.cos(angles)], axis=-1)
    return arc


def _asked(axes: Axes, action: Action) -> None:
    """A dashed arrow on the floor, or at the height of the hand, for what the caption says."""
    sign = 1.0 if action.side == "left" else -1.0
    if action.family == "walk":
        points = np.array([[0.15 * sign, 0.0, -0.45], [1.35 * sign, 0.0, -0.45]])
        _arrow(axes, points, _ASKED, 1.8, 3, dashed=True)
        _label(axes, points.mean(axis=0))
    elif action.family == "turn":
        arc = _arc(0.0, sign * np.deg2rad(action.angle or 90), 0.85)
        _arrow(axes, arc, _ASKED, 1.8, 3, dashed=True)
        _label(axes, arc[len(arc) // 2] * np.array([1.35, 1.0, 1.35]))
    else:
        centre = np.array(_PLACES[action.family]) * np.array([sign, 1.0, 1.0])
        angle = np.linspace(0, 2 * np.pi, 40)
        x, y = _project(centre)
        axes.plot(
            x + 0.13 * np.cos(angle),
            y + 0.13 * np.sin(angle),
            color=_ASKED,
            linewidth=1.8,
            linestyle=(0, (2.2, 1.4)),
            zorder=3,
        )
        axes.text(
            x - 0.16 * sign,
            y,
            "asked",
            color=_ASKED,
            fontsize=10,
            style="italic",
            va="center",
            zorder=3,
            ha="right" if sign > 0 else "left",
        )


def _label(axes: Axes, point: Array) -> None:
    x, y = _project(point)
    axes.text(x, y - 0.03, "asked", color=_ASKED, fontsize=10, style="italic", ha="center", va="top", zorder=3)


def _path(axes: Axes, take: Take, family: str, colour: str) -> None:
    """The path of what the caption is about: the root, the heading, or the hands that are up."""
    if family == "walk":
        _arrow(axes, take.joints[:, 0] * np.array([1.0, 0.0, 1.0]), colour, 2.6, 4)
    elif family == "turn":
        angles = _headings(take)
        _arrow(axes, _arc(float(angles[0]), float(angles[-1]), 0.6), colour, 2.6, 4)
    else:
        for limb in _limbs(take, family):
            moved = _effort(take, limb, family) > 0
            if moved.sum() > 3:
                seen = _project(take.joints[moved, limb])
                axes.plot(seen[:, 0], seen[:, 1], color=colour, linewidth=2.2, zorder=8)


def _limbs(take: Take, family: str) -> tuple[int, int]:
    joint = "foot" if family == "kick" else "wrist"
    return take.names.index(f"left_{joint}"), take.names.index(f"right_{joint}")


def _effort(take: Take, limb: int, family: str) -> Array:
    """How far a hand is above the neck, a fist in front of the chest, or a foot above the ground, in metres [T]."""
    joints = take.joints
    if family == "kick":
        height: Array = joints[:, limb, 1] - 0.25
        return height
    if family == "punch":
        chest = joints[:, take.names.index("spine3")]
        reach: Array = np.linalg.norm(joints[:, limb] - chest, axis=-1) - 0.45
        return np.where(joints[:, limb, 1] > chest[:, 1] - 0.25, reach, -1.0)
    raised: Array = joints[:, limb, 1] - joints[:, take.names.index("neck"), 1]
    return raised


def _frames(take: Take, family: str) -> list[int]:
    """The frames that are drawn, earliest first: more of a walk, the widest pose of what hands and feet do."""
    last = len(take.joints) - 1
    if family == "walk":
        return [0, last // 3, 2 * last // 3, last]
    if family == "turn":
        return [0, last]
    efforts = np.stack([_effort(take, limb, family) for limb in _limbs(take, family)])
    return [int(efforts.max(axis=0).argmax())]


def draw_panel(axes: Axes, example: Example, guided: bool) -> None:
    """One motion with its path, what was asked, and the mark."""
    take, asked = (example.guided if guided else example.unguided), example.asked[0]
    right = take.seen == example.asked
    colour = _RIGHT if right else _WRONG
    _ground(axes)
    _asked(axes, asked)
    frames = _frames(take, asked.family)
    for frame, alpha in zip(frames, np.linspace(0.28, 1.0, len(frames)) if len(frames) > 1 else [1.0], strict=True):
        _figure(axes, take, frame, float(alpha))
    _path(axes, take, asked.family, colour)
    axes.set(xlim=(-1.0, 1.0), ylim=(-0.62, 0.9), aspect="equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.0)
    axes.text(
        0.03,
        0.95,
        "✓" if right else "✗",
        transform=axes.transAxes,
        color=colour,
        fontsize=26,
        fontweight="bold",
        va="top",
        zorder=20,
    )
    axes.text(
        0.97,
        0.94,
        _words(take.seen),
        transform=axes.transAxes,
        color=colour,
        fontsize=12,
        fontweight="bold",
        ha="right",
        va="top",
        zorder=20,
    )


def draw(examples: Sequence[Example], out: Path) -> None:
    """Write the picture."""
    figure = new_figure(3.5 * len(examples), 5.0)
    panels = np.asarray(figure.subplots(2, len(examples), squeeze=False))
    for column, example in enumerate(examples):
        caption = "\n".join(textwrap.wrap(f"“{example.caption.rstrip('.')}”", 34))
        panels[0, column].set_title(caption, fontsize=12.5, color=_INK, fontweight="bold", pad=8)
        for row, guided in enumerate((False, True)):
            draw_panel(panels[row, column], example, guided)
    for row, name in enumerate(("generator alone", "with ReAlign")):
        panels[row, 0].set_ylabel(name, fontsize=13, color=_INK, labelpad=8)
    figure.supxlabel(
        "Seen from behind: right is right. Blue: left limbs, orange: right limbs. "
        "Dashed: what the caption asks for. Marked by rules on the joints.",
        fontsize=10,
        color=_ASKED,
    )
    save_png(figure, out, dpi=100)


def main() -> None:
    """Generate motions with the models that come with the package and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/demo/data"), help="the synthetic set")
    parser.add_argument("--out", type=Path, default=Path("docs/images/promise.png"))
    parser.add_argument("--replications", type=int, default=8, help="motions of each caption")
    parser.add_argument("--families", nargs="+", default=["raise", "kick", "wave"], help="of actions, one a column")
    options = parser.parse_args()
    examples = choose(generate(options.data, options.families, options.replications))
    draw(examples, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
