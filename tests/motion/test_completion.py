"""Features completed from the joints: what a real motion's own features are, and differentiable."""

from __future__ import annotations

import pytest
import torch

from lightning_realign.motion import extract_features, load_skeleton, recover_joints
from lightning_realign.motion.completion import complete_features, position_features
from tests.helpers.moving import moving_joints


@pytest.mark.parametrize(("name", "size"), [("humanml3d", 67), ("kit", 64)])
def test_the_rest_follows_from_the_first_blocks(name, size):
    skeleton = load_skeleton(name)
    assert position_features(skeleton) == size
    features = extract_features(moving_joints(skeleton, turn=1.0), skeleton)
    whole = complete_features(features[..., :size], skeleton)
    blocks = dict(skeleton.blocks)
    assert torch.equal(whole[..., :size], features[..., :size])
    scale = features[..., blocks["velocities"]].abs().max()
    difference = (whole - features).abs()
    # The last frame's velocities lead to a frame that features do not hold.
    assert difference[..., :-1, blocks["velocities"]].max() < 1e-9 * scale
    assert difference[..., :-1, blocks["contacts"]].max() == 0
    assert difference[..., blocks["rotations"]].max() < 1e-9
    torch.testing.assert_close(recover_joints(whole, skeleton), recover_joints(features, skeleton))


def test_the_gradient_is_that_of_differences():
    skeleton = load_skeleton("humanml3d")
    first = extract_features(moving_joints(skeleton, frames=20), skeleton)[..., :67]
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(263, generator=draw, dtype=torch.float64)
    weights[-4:] = 0  # contacts are 0 or 1

    def value(motion):
        return (complete_features(motion, skeleton) * weights).sum()

    leaf = first.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    assert gradient.isfinite().all()
    step = 1e-6 * torch.randn(first.shape, generator=draw, dtype=torch.float64)
    slope = (value(first + step) - value(first - step)) / 2
    torch.testing.assert_close((gradient * step).sum(), slope, rtol=1e-5, atol=1e-12)


def test_motions_of_one_length_are_completed_together():
    skeleton = load_skeleton("kit")
    motions = torch.stack([extract_features(moving_joints(skeleton, seed=seed), skeleton)[..., :64] for seed in (1, 2)])
    together = complete_features(motions, skeleton)
    for row in range(2):
        torch.testing.assert_close(together[row], complete_features(motions[row], skeleton))
