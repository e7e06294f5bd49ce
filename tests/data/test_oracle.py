from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from lightning_realign.data.synthetic import Action, diagnose, is_right, recognise, to_attributes
from lightning_realign.data.synthetic.body import load_body, to_joints
from lightning_realign.data.synthetic.dataset import make_motion
from lightning_realign.data.synthetic.grammar import VARIANTS, Family
from lightning_realign.data.synthetic.moves import perform
from lightning_realign.data.synthetic.oracle import spans
from lightning_realign.errors import DataError
from lightning_realign.motion import extract_features, load_skeleton, recover_joints

SKELETONS = ("humanml3d", "kit")
MIRRORED = {"left": "right", "right": "left"}


@cache
def _real(skeleton: str, count: int = 90) -> list[tuple[torch.Tensor, dict]]:
    """Real motions as the data set stores them, with their attributes."""
    spec = load_skeleton(skeleton)
    motions = [make_motion(spec, 17, "test", index) for index in range(count)]
    stored = [recover_joints(extract_features(torch.from_numpy(m.joints), spec, uniform=False), spec) for m in motions]
    return [(joints, to_attributes(motion.actions)) for joints, motion in zip(stored, motions, strict=True)]


def _shown(actions: tuple[Action, ...], skeleton: str = "humanml3d", seed: int = 0) -> torch.Tensor:
    body = load_body(skeleton)
    fps = body.skeleton.fps
    return torch.from_numpy(to_joints(perform(actions, fps, np.random.default_rng(seed)), body, fps))


def _rate(skeleton: str, change) -> float:
    spec = load_skeleton(skeleton)
    return float(np.mean([is_right(change(joints), spec, attributes) for joints, attributes in _real(skeleton)]))


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_real_motions_pass(skeleton):
    assert _rate(skeleton, lambda joints: joints) >= 0.99


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_other_captions_fail(skeleton):
    spec, real = load_skeleton(skeleton), _real(skeleton)
    order = np.random.default_rng(0).permutation(len(real))
    pairs = [(real[a][0], real[b][1]) for a, b in enumerate(order) if real[a][1] != real[b][1]]
    assert np.mean([is_right(joints, spec, attributes) for joints, attributes in pairs]) <= 0.05


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_blur_and_small_noise_are_forgiven(skeleton):
    rng, scale = np.random.default_rng(1), load_body(skeleton).scale

    def noisy(joints: torch.Tensor) -> torch.Tensor:
        noise = gaussian_filter1d(rng.normal(size=joints.shape), 3, axis=0)
        return joints + torch.from_numpy(0.01 * scale * noise / noise.std())

    assert _rate(skeleton, lambda joints: torch.from_numpy(gaussian_filter1d(joints.numpy(), 1, axis=0))) >= 0.97
    assert _rate(skeleton, noisy) >= 0.97


@pytest.mark.parametrize("skeleton", SKELETONS)
@pytest.mark.parametrize("family", list(VARIANTS))
def test_every_variant_is_told_from_every_other(skeleton, family: Family):
    spec = load_skeleton(skeleton)
    for action in VARIANTS[family]:
        assert recognise(_shown((action,), skeleton), spec) == (action,)


def test_mirrored_motion_is_the_other_side():
    spec = load_skeleton("humanml3d")
    swap = [
        spec.index(f"{MIRRORED[side]}_{part}") if (side := name.partition("_")[0]) in MIRRORED else index
        for index, name in enumerate(spec.joints)
        for part in [name.partition("_")[2]]
    ]
    for family in ("walk", "turn", "raise", "wave", "kick", "punch"):
        action = next(action for action in VARIANTS[family] if action.side == "left")
        mirrored = _shown((action,))[:, swap] * torch.tensor([-1.0, 1.0, 1.0])
        (seen,) = recognise(mirrored, spec)
        assert seen.side == "right" and seen.family == family


def test_heading_and_place_do_not_matter():
    spec = load_skeleton("humanml3d")
    actions = (Action("walk", "left", speed="fast"), Action("jump", count=2))
    joints = _shown(actions)
    for yaw in (0.7, 2.9, -1.6):
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = torch.tensor([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], dtype=joints.dtype)
        assert recognise(joints @ turn + torch.tensor([3.0, 0.0, -8.0]), spec) == actions


def test_order_and_extra_actions_count():
    spec = load_skeleton("humanml3d")
    first, second = Action("bow"), Action("kick", "right")
    joints = _shown((first, second))
    assert is_right(joints, spec, to_attributes((first, second)))
    assert not is_right(joints, spec, to_attributes((second, first)))
    assert not is_right(joints, spec, to_attributes((first,)))


def test_an_action_on_top_of_another_is_noticed():
    """Walking while one hand waves is not just walking."""
    spec = load_skeleton("humanml3d")
    walking, waving = _shown((Action("walk", "forward", speed="normal"),)), _shown((Action("wave", "left"),))
    frames = min(len(walking), len(waving))
    arm = [spec.index(f"left_{part}") for part in ("elbow", "wrist")]
    shoulder = spec.index("left_shoulder")
    both = walking[:frames].clone()
    both[:, arm] = both[:, [shoulder]] + waving[:frames, arm] - waving[:frames, [shoulder]]
    reason = diagnose(both, spec, to_attributes((Action("walk", "forward", speed="normal"),)))
    assert reason is not None and "wave left" in reason


def test_speed_is_part_of_the_promise():
    """The same walk played at 1.6 times the rate is no longer the slow one."""
    spec = load_skeleton("humanml3d")
    joints = _shown((Action("walk", "forward", speed="slow"),))
    rows = np.arange(0, len(joints) - 1, 1.62)
    below = rows.astype(int)
    share = torch.from_numpy(rows - below)[:, None, None]
    faster = joints[below] * (1 - share) + joints[below + 1] * share
    assert recognise(faster, spec) == (Action("walk", "forward", speed="normal"),)


def test_diagnosis_names_both_sides():
    joints = _shown((Action("squat", count=2),))
    reason = diagnose(joints, load_skeleton("humanml3d"), to_attributes((Action("squat", count=3),)))
    assert reason == "asked for squat x3; saw squat x2"


@pytest.mark.parametrize(
    ("joints", "words"),
    [(torch.zeros(10, 21, 3), "22"), (torch.zeros(1, 22, 3), "frames"), (torch.full((9, 22, 3), torch.nan), "NaN")],
)
def test_unusable_joints_are_refused(joints, words):
    with pytest.raises(DataError, match=words):
        is_right(joints, load_skeleton("humanml3d"), to_attributes((Action("stand"),)))


def test_spans_have_hysteresis():
    curve = np.array([0.0, 0.6, 1.2, 0.6, 0.4, 0.6, 0.2, 0.8])
    assert spans(curve, 1.0, 0.5) == [(1, 4)]
    assert spans(curve, 1.0, 0.3) == [(1, 6)]
    assert spans(curve, 2.0, 0.5) == []
