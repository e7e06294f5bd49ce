"""A small perspective renderer of stick figures: a camera, a ground plane, and limbs coloured by side.

It paints with Pillow at twice the size and halves the result. That is about ten times as fast as a 3-D plot, and has no
global state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lightning_realign.motion.skeleton.joint_names import Side
from lightning_realign.report.pictures.clip import ShownMotion

Array = NDArray[np.float64]

# Colours that colour-blind readers can tell apart (Okabe and Ito).
LIMBS: dict[Side, tuple[int, int, int]] = {"left": (0, 114, 178), "right": (213, 94, 0), "middle": (60, 60, 60)}
_GROUND, _GRID, _SHADOW = (238, 240, 242), (212, 216, 220), (198, 202, 206)
_PATH_AHEAD, _PATH_DONE = (185, 215, 205), (0, 158, 115)
_SUPERSAMPLING = 2
_GRID_STEP = 0.5  # metres
_BONES = 4.4  # metres of bone in an adult's skeleton; smaller bodies get thinner limbs
_FOLLOW_BEYOND = 4.5  # metres: on a longer path the camera follows, since the body would become too small


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at a target from a fixed direction.

    distance: metres from the target. yaw: degrees from the +z axis towards +x. pitch: degrees above the horizon.
    view: degrees seen from edge to edge of the panel.
    """

    distance: float
    yaw: float = 28.0
    pitch: float = 16.0
    view: float = 32.0

    @property
    def axes(self) -> Array:
        """Rows [3, 3]: right, up, and towards the camera."""
        yaw, pitch = math.radians(self.yaw), math.radians(self.pitch)
        back = np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
        right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
        axes: Array = np.stack([right, np.cross(back, right), back])
        return axes

    @property
    def slope(self) -> float:
        """Half the panel's width per metre of depth."""
        return math.tan(math.radians(self.view) / 2)

    def project(self, points: Array, target: Array, size: int) -> tuple[Array, Array]:
        """Pixels [..., 2] of points [..., 3] on a square panel, and their depth in metres [...]."""
        seen = (points - target) @ self.axes.T
        depth = self.distance - seen[..., 2]
        scale = size / 2 / self.slope / np.maximum(depth, 1e-3)
        pixels = np.stack([size / 2 + seen[..., 0] * scale, size / 2 - seen[..., 1] * scale], axis=-1)
        return pixels, depth

    def fit(self, offsets: Array, margin: float = 1.08) -> float:
        """The distance from which all offsets [N, 3] from the target lie inside the panel."""
        seen = offsets @ self.axes.T
        reach = np.abs(seen[:, :2]).max(axis=1) * margin / self.slope + seen[:, 2]
        return float(max(reach.max(), 1.5))


def _smooth_path(root: Array, fps: float) -> Array:
    """The root's path [T, 3], averaged over about a second, at constant height."""
    half = max(1, round(fps / 2))
    padded = np.concatenate([np.repeat(root[:1], half, 0), root, np.repeat(root[-1:], half, 0)])
    sums = np.cumsum(np.concatenate([np.zeros((1, 3)), padded]), axis=0)
    path: Array = (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
    path[:, 1] = root[:, 1].mean()
    return path


@dataclass(frozen=True)
class View:
    """How one clip of T frames is seen.

    targets: [T, 3] the point looked at. floor: [2, 2] opposite corners (x, z) of the ground.
    """

    camera: Camera
    targets: Array
    floor: Array


def _centred_target(camera: Camera, points: Array, low: Array, high: Array) -> Array:
    """The target [3] for which the points fill the panel evenly on all sides."""
    target = (low + high) / 2
    for _ in range(3):
        distance = camera.fit(points - target)
        seen, _ = Camera(distance).project(points, target, 2)
        shift = (seen.min(axis=0) + seen.max(axis=0)) / 2 - 1.0  # of a half panel
        target = target + distance * camera.slope * (shift[0] * camera.axes[0] - shift[1] * camera.axes[1])
    return target


def plan_views(clips: Sequence[ShownMotion], follow: bool | None = None) -> list[View]:
    """One view per clip, with the same camera for all, so that sizes compare.

    Args:
        clips: the motions shown side by side.
        follow: true moves the camera with each body, false frames all paths at once; by default, long paths are
            followed.
    """
    points = np.concatenate([clip.joints.reshape(-1, 3) for clip in clips])
    low, high = points.min(axis=0), points.max(axis=0)
    if follow is None:
        follow = bool(max(high[0] - low[0], high[2] - low[2]) > _FOLLOW_BEYOND)
    camera = Camera(distance=1.0)
    if follow:
        targets = [_smooth_path(clip.joints[:, 0], clip.fps) for clip in clips]
    else:
        centre = _centred_target(camera, points, low, high)
        targets = [np.repeat(centre[None], len(clip.joints), 0) for clip in clips]
    offsets = [(clip.joints - target[:, None]).reshape(-1, 3) for clip, target in zip(clips, targets, strict=True)]
    camera = Camera(distance=camera.fit(np.concatenate(offsets)))
    floors = [clip.joints[..., [0, 2]].reshape(-1, 2) if follow else points[:, [0, 2]] for clip in clips]
    return [
        View(camera, target, np.stack([floor.min(axis=0) - 0.6, floor.max(axis=0) + 0.6]))
        for target, floor in zip(targets, floors, strict=True)
    ]


@dataclass
class Panel:
    """Renders the frames of one motion on a square of `size` pixels."""

    clip: ShownMotion
    view: View
    size: int
    _still: bool = field(init=False)
    _stature: float = field(init=False)
    _backdrop: Image.Image | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        ends = self.clip.joints[0][np.array(self.clip.bones)]
        self._stature = float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1).sum()) / _BONES
        self._still = bool((self.view.targets == self.view.targets[0]).all())

    def render(self, index: int) -> Image.Image:
        """The picture of one frame."""
        target = self.view.targets[index]
        image = self._ground(target).copy()
        pen = ImageDraw.Draw(image)
        self._add_path(pen, index, target)
        self._add_body(pen, self.clip.joints[index] * np.array([1.0, 0.0, 1.0]), target, shadow=True)
        self._add_body(pen, self.clip.joints[index], target, shadow=False)
        return image.reduce(_SUPERSAMPLING)

    @property
    def _pixels(self) -> int:
        return self.size * _SUPERSAMPLING

    def _project(self, points: Array, target: Array) -> tuple[Array, Array]:
        return self.view.camera.project(points, target, self._pixels)

    def _ground(self, target: Array) -> Image.Image:
        """White with the ground's grid; painted only once if the camera stands still."""
        if self._backdrop is not None:
            return self._backdrop
        image = Image.new("RGB", (self._pixels, self._pixels), "white")
        pen = ImageDraw.Draw(image)
        low, high = self._ground_patch(target)
        corners = np.array([[low[0], 0, low[1]], [high[0], 0, low[1]], [high[0], 0, high[1]], [low[0], 0, high[1]]])
        pen.polygon([tuple(point) for point in self._project(corners, target)[0]], fill=_GROUND)
        for axis in (0, 1):
            for value in np.arange(low[axis], high[axis] + 1e-6, _GRID_STEP):
                ends = np.zeros((2, 3))
                ends[:, 2 * axis] = value
                ends[:, 2 - 2 * axis] = low[1 - axis], high[1 - axis]
                pen.line([tuple(point) for point in self._project(ends, target)[0]], fill=_GRID, width=_SUPERSAMPLING)
        if self._still:
            self._backdrop = image
        return image

    def _ground_patch(self, target: Array) -> tuple[Array, Array]:
        """Opposite corners (x, z) of the visible ground: round the path, and safely in front of the camera."""
        reach = 0.65 * self.view.camera.distance
        low = np.maximum(self.view.floor[0], target[[0, 2]] - reach)
        high = np.minimum(self.view.floor[1], target[[0, 2]] + reach)
        return np.floor(low / _GRID_STEP) * _GRID_STEP, np.ceil(high / _GRID_STEP) * _GRID_STEP

    def _add_path(self, pen: ImageDraw.ImageDraw, index: int, target: Array) -> None:
        """The root's path on the ground: the part behind in a strong colour, the part ahead in a faint one."""
        path = self.clip.joints[:, 0] * np.array([1.0, 0.0, 1.0])
        pixels, depth = self._project(path, target)
        visible = depth > 0.2 * self.view.camera.distance
        for start, stop, colour in ((index, len(path), _PATH_AHEAD), (0, index + 1, _PATH_DONE)):
            part = [tuple(point) for point in pixels[start:stop][visible[start:stop]]]
            if len(part) > 1:
                pen.line(part, fill=colour, width=2 * _SUPERSAMPLING, joint="curve")

    def _add_body(self, pen: ImageDraw.ImageDraw, joints: Array, target: Array, shadow: bool) -> None:
        """Bones from far to near, with round joints."""
        pixels, depth = self._project(joints, target)
        per_metre = self._pixels / 2 / self.view.camera.slope / np.maximum(depth, 1e-3)
        unit = self._stature * per_metre
        order = sorted(range(len(self.clip.bones)), key=lambda bone: -float(depth[list(self.clip.bones[bone])].mean()))
        for bone in order:
            parent, child = self.clip.bones[bone]
            colour = _SHADOW if shadow else LIMBS[self.clip.sides[bone]]
            width = max(2.0, 0.045 * float(unit[child]))
            pen.line([tuple(pixels[parent]), tuple(pixels[child])], fill=colour, width=round(width))
            for end in (parent, child):
                _disc(pen, pixels[end], width / 2, colour)
        if self.clip.head >= 0:
            _disc(
                pen, pixels[self.clip.head], 0.085 * float(unit[self.clip.head]), _SHADOW if shadow else LIMBS["middle"]
            )


def _disc(pen: ImageDraw.ImageDraw, centre: Array, radius: float, colour: tuple[int, int, int]) -> None:
    x, y = float(centre[0]), float(centre[1])
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
