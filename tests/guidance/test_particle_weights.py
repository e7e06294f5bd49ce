"""Resampling of many motions at once, and the rewards of a particle's ancestors."""

from __future__ import annotations

import torch

from lightning_realign.guidance.particle_weights import Cloud, systematic


def test_motions_are_resampled_together_as_each_alone():
    random = torch.Generator().manual_seed(3)
    weights = torch.rand(6, 9, generator=random, dtype=torch.float64).pow(4)
    weights = weights / weights.sum(dim=1, keepdim=True)
    offsets = torch.rand(6, generator=random, dtype=torch.float64)
    alone = [systematic(row, float(offset)) for row, offset in zip(weights, offsets, strict=True)]
    assert torch.equal(systematic(weights, offsets), torch.stack(alone))


def test_history_follows_the_ancestors_through_every_resampling():
    """Against carrying all past rewards along at every resampling."""
    particles, motions, steps = 7, 5, 9
    random = torch.Generator().manual_seed(1)
    cloud = Cloud(particles, [torch.Generator().manual_seed(row) for row in range(motions)], "difference", 0.6)
    carried: list[torch.Tensor] = []
    moved = 0
    for step in range(steps):
        if step % 3 == 2:
            cloud.record(None)
            carried.append(torch.full((particles, motions), float("nan"), dtype=torch.float64))
            continue
        values = 2 * torch.randn(particles, motions, generator=random, dtype=torch.float64)
        cloud.record(values)
        carried.append(values)
        places = cloud.resample()
        if places is not None:
            moved += 1
            carried = [past.gather(0, places) for past in carried]
    assert moved >= 3
    expected = torch.stack(carried)
    torch.testing.assert_close(cloud.history(), expected, rtol=0, atol=0, equal_nan=True)
    ends = torch.tensor([[6, 0, 3, 3, 1]])
    chosen = expected.gather(1, ends.expand(steps, 1, motions))
    torch.testing.assert_close(cloud.history(ends), chosen, rtol=0, atol=0, equal_nan=True)
