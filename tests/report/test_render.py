"""Animations, film strips, and the choice of an example."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import load_skeleton
from lightning_realign.report.pictures import render as render_module
from lightning_realign.report.pictures.clip import default_titles, load_clip
from lightning_realign.report.pictures.compare import pick_pair
from lightning_realign.report.pictures.render import render, render_strip
from lightning_realign.report.pictures.scene import LIMBS, Camera, Panel, plan_views


def standing(name="humanml3d"):
    """Joints [J, 3] of the rest pose, feet on the ground."""
    skeleton = load_skeleton(name)
    joints = np.zeros((skeleton.num_joints, 3))
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            joints[joint] = joints[parent] + np.array(skeleton.raw_offsets[joint]) * skeleton.target_lengths[joint]
    joints[:, 1] -= joints[:, 1].min()
    return joints


def save_motion(path, frames=20, distance=1.0, skeleton="humanml3d", fps=20.0, **changes):
    """A figure that glides `distance` metres along +x."""
    unit = 1000.0 if skeleton == "kit" else 1.0
    joints = np.repeat(standing(skeleton)[None], frames, 0)
    joints[..., 0] += np.linspace(0, distance * unit, frames)[:, None]
    fields = {
        "joints": joints.astype(np.float32),
        "text": "a person walks to the left",
        "fps": fps,
        "skeleton": skeleton,
    }
    fields |= {"rewards": np.array([0.1, np.nan])} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: np.asarray(value) for key, value in fields.items() if value is not None})
    return path


def count(image, colour, tolerance=24):
    """Pixels near a colour."""
    return int((np.abs(np.asarray(image.convert("RGB"), int) - colour).max(-1) <= tolerance).sum())


def test_gif_shares_the_time_base(tmp_path):
    files = [save_motion(tmp_path / "a.npz", 21), save_motion(tmp_path / "b.npz", 26, skeleton="kit", fps=12.5)]
    start = time.monotonic()
    assert render(files, tmp_path / "out.gif", size=160) == tmp_path / "out.gif"
    assert time.monotonic() - start < 15
    with Image.open(tmp_path / "out.gif") as picture:
        durations, width = [], picture.width
        for number in range(picture.n_frames):
            picture.seek(number)
            durations.append(picture.info["duration"])
    assert width == 320
    # The longer motion takes (26 - 1) / 12.5 s = 2 s, i.e. 41 frames at 20 fps, and the last one is held for 0.6 s.
    assert sum(durations) == 41 * 50 + 600
    assert not list(tmp_path.glob(".*"))


def test_figure_moves_with_limbs_in_their_colours(tmp_path):
    clip = load_clip(save_motion(tmp_path / "a.npz", 10, distance=2.0), "a")
    panel = Panel(clip, plan_views([clip])[0], 200)
    columns = []
    for index in (0, 9):
        pixels = np.abs(np.asarray(panel.render(index), int) - LIMBS["left"]).max(-1) < 24
        columns.append(np.nonzero(pixels)[1].mean())
        assert min(count(panel.render(index), LIMBS[side]) for side in LIMBS) > 50
    assert columns[1] - columns[0] > 50


def test_camera_frames_every_joint_and_follow_keeps_the_figure_in_view(tmp_path):
    for distance, follow in ((2.0, None), (30.0, None), (2.0, True), (30.0, False)):
        clip = load_clip(save_motion(tmp_path / "a.npz", 40, distance=distance), "a")
        (view,) = plan_views([clip], follow)
        for joints, target in zip(clip.joints, view.targets, strict=True):
            pixels, depth = view.camera.project(joints, target, 100)
            assert (depth > 0).all() and (pixels >= 0).all() and (pixels <= 100).all()
    assert (plan_views([clip])[0].targets[:, 0].std() > 1) and plan_views([clip])[0].camera.distance < 15


def test_camera_is_a_pinhole():
    camera = Camera(distance=5.0)
    axes = camera.axes
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    target = np.array([1.0, 0.5, -2.0])
    pixels, depth = camera.project(target[None], target, 100)
    np.testing.assert_allclose(pixels, [[50, 50]])
    np.testing.assert_allclose(depth, [5.0])
    # A point twice as far appears at half the offset.
    near = camera.project((target + 0.3 * axes[0])[None], target, 100)[0][0, 0] - 50
    far = camera.project((target + 0.3 * axes[0] - 5.0 * axes[2])[None], target, 100)[0][0, 0] - 50
    assert near == pytest.approx(2 * far)


def test_millimetres_become_metres_on_the_floor(tmp_path):
    clip = load_clip(save_motion(tmp_path / "a.npz", 3, skeleton="kit"), "a")
    assert clip.joints[..., 1].min() == 0.0 and 0.7 < clip.joints[0, :, 1].max() < 0.9


def test_strip(tmp_path):
    files = [save_motion(tmp_path / "a.npz"), save_motion(tmp_path / "b.npz", text="another text")]
    render(files, tmp_path / "auto.png")
    render_strip(files[:1], tmp_path / "four.png", ["guided"], frames=4, size=120)
    with Image.open(tmp_path / "four.png") as four, Image.open(tmp_path / "auto.png") as auto:
        assert four.width == 480 and auto.width == 1200 and auto.height > 400
        assert count(four, LIMBS["left"]) > 100
    with pytest.raises(ConfigError, match="frames"):
        render_strip(files, tmp_path / "none.png", frames=0)


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_motions(frames, tmp_path):
    render([save_motion(tmp_path / "a.npz", frames)], tmp_path / "out.gif", size=100)
    render([tmp_path / "a.npz"], tmp_path / "out.png", size=100)


def test_mp4(tmp_path, monkeypatch):
    file = save_motion(tmp_path / "a.npz", 5)
    if shutil.which("ffmpeg") or render_module.importlib.util.find_spec("imageio_ffmpeg"):
        render([file], tmp_path / "out.mp4", size=101)
        assert b"ftyp" in (tmp_path / "out.mp4").read_bytes()[:32]
    monkeypatch.setattr(render_module.shutil, "which", lambda name: None)
    monkeypatch.setattr(render_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="ffmpeg"):
        render([file], tmp_path / "other.mp4")
    assert not (tmp_path / "other.mp4").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": None}, "'joints' is missing"),
        ({"joints": np.zeros((4, 21, 3))}, "shape"),
        ({"joints": np.full((4, 22, 3), np.nan)}, "NaN or infinite"),
        ({"fps": 0.0}, "fps"),
    ],
)
def test_unusable_files(changes, message, tmp_path):
    file = save_motion(tmp_path / "a.npz", **changes)
    with pytest.raises(DataError, match=message) as caught:
        render([file], tmp_path / "out.gif")
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_skeleton(tmp_path):
    file = save_motion(tmp_path / "a.npz")
    np.savez(file, **{**np.load(file), "skeleton": np.array("smpl")})
    with pytest.raises(DataError, match="smpl"):
        render([file], tmp_path / "out.gif")


def test_unusable_requests(tmp_path):
    file = save_motion(tmp_path / "a.npz")
    (tmp_path / "text.npz").write_text("no archive")
    for files, out, titles, error in (
        ([file], "out.avi", None, ConfigError),
        ([], "out.gif", None, ConfigError),
        ([file], "out.gif", ["one", "two"], ConfigError),
        ([tmp_path / "none.npz"], "out.gif", None, DataError),
        ([tmp_path / "text.npz"], "out.gif", None, DataError),
    ):
        with pytest.raises(error):
            render(files, tmp_path / out, titles)
        assert not (tmp_path / out).exists()


def test_titles_name_the_folder_where_stems_agree(tmp_path):
    assert default_titles([tmp_path / "unguided" / "7.npz", tmp_path / "guided" / "7.npz"]) == [
        "unguided/7",
        "guided/7",
    ]
    assert default_titles([tmp_path / "1.npz", tmp_path / "2.npz"]) == ["1", "2"]


def test_pair_is_the_largest_gain_without_an_oracle(tmp_path):
    for number, gain in enumerate((0.1, 0.5, 0.2)):
        save_motion(tmp_path / "unguided" / f"{number}.npz", rewards=np.array([0.9, 0.3]))
        save_motion(tmp_path / "guided" / f"{number}.npz", rewards=np.array([0.0, 0.3 + gain, np.nan]))
    save_motion(tmp_path / "guided" / "9.npz", rewards=np.array([9.0]))
    pair = pick_pair(tmp_path / "unguided", tmp_path / "guided")
    assert pair.name == "1" and "+0.500" in pair.reason
    assert pair.unguided.parent.name == "unguided" and pair.guided.parent.name == "guided"


def test_pair_is_one_that_the_oracle_sees_repaired(tmp_path, monkeypatch):
    synthetic = pytest.importorskip("lightning_realign.data.synthetic")

    def is_right(joints, skeleton, attributes):
        assert isinstance(joints, torch.Tensor) and skeleton.name == "humanml3d"
        return bool(joints[-1, 0, 0] > attributes["beyond"])

    monkeypatch.setattr(synthetic, "is_right", is_right)
    for number, (before, after) in enumerate([(0.0, 0.5), (0.0, 2.0), (0.0, 3.0), (2.0, 9.0)]):
        save_motion(tmp_path / "unguided" / f"{number}_r0.npz", distance=before, rewards=np.array([np.nan]))
        save_motion(tmp_path / "guided" / f"{number}_r0.npz", distance=after)
    (tmp_path / "attributes.json").write_text(json.dumps({str(n): {"beyond": 1.0} for n in range(4)}))
    pair = pick_pair(tmp_path / "unguided", tmp_path / "guided", tmp_path)
    assert pair.name == "2_r0" and "2 of 4" in pair.reason


def test_nothing_to_choose_from(tmp_path):
    save_motion(tmp_path / "unguided" / "a.npz", rewards=None)
    save_motion(tmp_path / "guided" / "b.npz", rewards=None)
    with pytest.raises(DataError, match="namesake"):
        pick_pair(tmp_path / "unguided", tmp_path / "guided")
    save_motion(tmp_path / "guided" / "a.npz", rewards=None)
    with pytest.raises(DataError, match="no rewards"):
        pick_pair(tmp_path / "unguided", tmp_path / "guided")
