"""Physical figures of motions that are known in closed form, against naive loops, and in either unit."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from lightning_realign.errors import DataError
from lightning_realign.metrics import FootHeight, FootSkatingRatio, GroundPenetration, Jerk
from lightning_realign.metrics.functional.physical import (
    foot_height,
    foot_skating_ratio,
    ground_penetration,
    jerk,
)
from lightning_realign.motion import load_skeleton

HUMAN, KIT = load_skeleton("humanml3d"), load_skeleton("kit")
FUNCTIONS = (foot_skating_ratio, foot_height, jerk, ground_penetration)
CLASSES = (FootSkatingRatio, FootHeight, Jerk, GroundPenetration)


def standing(frames, height=0.02, skeleton=HUMAN):
    """Feet `height` metres above the ground, all else above them; float64 metres."""
    joints = torch.full((frames, skeleton.num_joints, 3), 1.0, dtype=torch.float64)
    joints[:, [*skeleton.feet_left, *skeleton.feet_right], 1] = height
    return joints


def wandering(frames=60, seed=0, skeleton=HUMAN):
    """A random walk with feet now on the ground, now above it, and sometimes below."""
    steps = 0.03 * torch.randn(
        frames, skeleton.num_joints, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    joints = steps.cumsum(dim=0)
    joints[..., 1] = joints[..., 1] / 3 + 0.03
    return joints


def reference_skating(joints, feet, fps):
    joints, frames = joints.numpy(), len(joints)
    slides = np.zeros((2, frames - 1), dtype=bool)
    for row, foot in enumerate(feet):
        speed = np.array([np.hypot(*(joints[t + 1, foot] - joints[t, foot])[[0, 2]]) * fps for t in range(frames - 1)])
        mean = scipy.ndimage.uniform_filter1d(speed, size=5, mode="constant")
        for t in range(frames - 1):
            low = max(joints[t, foot, 1], joints[t + 1, foot, 1]) < 0.05
            slides[row, t] = low and speed[t] > 0.5 and mean[t] > 0.5
    return slides.any(axis=0).mean()


@pytest.mark.parametrize("seed", range(4))
def test_skating_agrees_with_a_loop(seed):
    joints = wandering(seed=seed)
    expected = reference_skating(joints, (10, 11), 20.0)
    assert 0.02 < expected < 0.98
    assert foot_skating_ratio(joints, HUMAN).item() == pytest.approx(expected)


def test_skating_by_hand():
    frames = 21
    sliding = standing(frames)
    sliding[:, 10, 0] = 0.03 * torch.arange(frames)  # 0.6 m/s at 20 frames per second
    # The window's mean counts what is beyond the ends as 0: 3/5 and 4/5 of 0.6 m/s are 0.36 and 0.48, below 0.5.
    assert foot_skating_ratio(sliding, HUMAN).item() == pytest.approx(16 / 20)
    slow = standing(frames)
    slow[:, 10, 0] = 0.024 * torch.arange(frames)
    assert foot_skating_ratio(slow, HUMAN) == 0
    lifted = sliding.clone()
    lifted[:, 10, 1] = 0.051
    assert foot_skating_ratio(lifted, HUMAN) == 0
    rising = standing(frames)
    rising[:, [10, 11], 1] = 0.03 * torch.arange(frames, dtype=torch.float64)[:, None]
    assert foot_skating_ratio(rising, HUMAN) == 0


def test_heights_and_depths():
    assert foot_height(standing(10), HUMAN).item() == pytest.approx(0.02)
    assert ground_penetration(standing(10), HUMAN) == 0
    sunk = standing(10)
    sunk[:5, 20, 1] = -0.04  # a wrist, in half of the frames
    assert ground_penetration(sunk, HUMAN).item() == pytest.approx(0.02)
    assert foot_height(sunk, HUMAN).item() == pytest.approx(0.02)
    assert foot_height(standing(10, height=-0.1), HUMAN).item() == pytest.approx(-0.1)


def test_jerk_of_polynomials():
    time = torch.arange(30, dtype=torch.float64) / HUMAN.fps
    joints = standing(30) + (4 * time**2 - time)[:, None, None]
    assert jerk(joints, HUMAN).item() == pytest.approx(0, abs=1e-8)
    joints[..., 0] += (2 * time**3)[:, None]
    # The third derivative of 2 t^3 is 12, and third differences of a cubic are exact.
    assert jerk(joints, HUMAN).item() == pytest.approx(12)
    joints[..., 2] += (-1.5 * time**3)[:, None]
    assert jerk(joints, HUMAN).item() == pytest.approx(15)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_millimetres_are_converted_and_the_frame_rate_is_the_skeletons(function):
    metres = dataclasses.replace(KIT, unit="metre")
    joints = wandering(skeleton=KIT)
    expected = function(joints, metres)
    assert function(1000 * joints, KIT).item() == pytest.approx(expected.item())
    doubled = function(joints, dataclasses.replace(metres, fps=2 * KIT.fps)).item()
    if function is jerk:
        assert doubled == pytest.approx(8 * expected.item())
    elif function is foot_skating_ratio:
        assert doubled > expected.item()
    else:
        assert doubled == expected.item()


def test_the_toes_of_kit_decide():
    joints = standing(21, skeleton=KIT)
    joints[:, [KIT.index("left_ankle"), KIT.index("left_foot")], 0] += 0.1 * torch.arange(21)[:, None]
    assert foot_skating_ratio(1000 * joints, KIT) == 0
    joints[:, KIT.index("right_toe"), 2] += 0.1 * torch.arange(21)
    assert foot_skating_ratio(1000 * joints, KIT) == 1


@pytest.mark.parametrize("function", FUNCTIONS)
def test_leading_dimensions_are_kept(function):
    joints = torch.stack([wandering(seed=seed) for seed in range(6)])
    found = function(joints.reshape(2, 3, *joints.shape[1:]), HUMAN)
    assert found.shape == (2, 3)
    assert found.flatten().tolist() == pytest.approx([function(motion, HUMAN).item() for motion in joints])


def batches(metric, order, size):
    """Motions of different lengths, padded with rubbish to the longest of their batch."""
    lengths = [20 + 3 * i for i in range(10)]
    for first in range(0, len(order), size):
        part = order[first : first + size]
        joints = torch.full((len(part), max(lengths[i] for i in part), HUMAN.num_joints, 3), math.nan)
        for row, i in enumerate(part):
            joints[row, : lengths[i]] = wandering(lengths[i], seed=i).float()
        metric.update(joints, torch.tensor([lengths[i] for i in part]), [f"clip{i}" for i in part])
    return metric


@pytest.mark.parametrize(("kind", "function"), list(zip(CLASSES, FUNCTIONS, strict=True)))
def test_means_depend_on_the_samples_only(kind, function):
    motions = [wandering(20 + 3 * i, seed=i).float() for i in range(10)]
    expected = batches(kind(HUMAN), list(range(10)), 10).compute()
    assert expected.item() == pytest.approx(np.mean([function(motion, HUMAN).item() for motion in motions]))
    assert batches(kind(HUMAN), [3, 9, 1, 0, 2, 8, 7, 6, 5, 4, 3, 3], 1).compute() == expected
    halves = batches(kind(HUMAN), [0, 1, 2, 3], 2), batches(kind(HUMAN), [3, 4, 5, 6, 7, 8, 9], 7)
    halves[0].merge_state(halves[1])
    assert halves[0].compute() == expected
    assert kind.full_state_update is kind.is_differentiable is False


@pytest.mark.parametrize("kind", CLASSES)
def test_plots(kind):
    import matplotlib

    matplotlib.use("Agg")
    figure, _ = batches(kind(HUMAN), [0, 1], 2).plot()
    matplotlib.pyplot.close(figure)


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (torch.zeros(10, 21, 3), "expected .*, 22, 3. for skeleton 'humanml3d'"),
        (torch.zeros(3, 22, 3), "a motion of 3 frames is too short: this metric needs at least 4"),
        (torch.full((5, 22, 3), torch.nan), "NaN or infinity"),
    ],
)
def test_unusable_motions_are_named(joints, message):
    with pytest.raises(DataError, match=message):
        jerk(joints, HUMAN)
    with pytest.raises(DataError, match=f"sample 'clip7': .*{message}") as error:
        Jerk(HUMAN).update(joints[None], [len(joints)], ["clip7"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("lengths", "ids"), [([5], ["a", "b"]), ([5, 6], ["a", "b"]), ([5, 5], ["a"])])
def test_wrong_batches_are_refused(lengths, ids):
    with pytest.raises(ValueError, match="expected"):
        FootHeight(HUMAN).update(torch.zeros(2, 5, 22, 3), lengths, ids)
