"""Per-sample noise, and the sampler's steps beside diffusers' own."""

from __future__ import annotations

import pytest
import torch

from lightning_realign.diffusion import NoiseSchedule, make_scheduler
from lightning_realign.diffusion.noise import SampleNoise, prompt_id, prompt_ids, sample_generator
from lightning_realign.diffusion.steps import SchedulerSteps


def draws(ids, replication=0, seed=7, dtype=torch.float32, count=3):
    stream = SampleNoise(seed, ids, replication, [(2, 5)] * len(ids), device=torch.device("cpu"), dtype=dtype)
    return torch.stack([stream.draw() for _ in range(count)], dim=1)


def test_noise_depends_on_seed_id_and_replication_alone():
    ids = [f"motion {i}" for i in range(20)]
    together = draws(ids)
    assert torch.equal(draws(ids[::-1]).flip(0), together)
    assert torch.equal(torch.cat([draws([name]) for name in ids]), together)
    assert torch.equal(draws(ids, dtype=torch.float64), together.double())
    for other in (draws(ids, replication=1), draws(ids, seed=8), draws([name + " " for name in ids])):
        assert not (other == together).any()


def test_noise_is_standard_normal_across_ids():
    values = draws([str(i) for i in range(4000)], count=1).flatten(1)
    assert values.mean(0).abs().max() < 0.08
    assert (torch.cov(values.T) - torch.eye(10)).abs().max() < 0.1


def test_fields_of_the_seed_cannot_run_into_each_other():
    assert sample_generator(1, "23").initial_seed() != sample_generator(12, "3").initial_seed()
    assert prompt_id("walk 1", 2) != prompt_id("walk", 12)


def test_ids_of_bare_prompts():
    ids = prompt_ids(["walk", "run", "walk", "walk"], [40, 40, 40, 60])
    assert len(set(ids)) == 4
    assert prompt_ids(["run", "walk", "walk"], [40, 40, 40]) == (ids[1], ids[0], ids[2])


def schedulers():
    return make_scheduler("ddim", NoiseSchedule()), make_scheduler("ddpm", NoiseSchedule())


@pytest.mark.parametrize("steps", [1, 7, 20, 50, 1000])
def test_steps_are_diffusers_ddim(steps):
    reference, _ = schedulers()
    reference.set_timesteps(steps)
    run = SchedulerSteps(schedulers()[0], "ddim", steps)
    random = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(3, 2, 5, generator=random, dtype=torch.float64) for _ in range(2))
    assert run.timesteps == tuple(reference.timesteps.tolist())
    for index, t in enumerate(run.timesteps):
        step = run.step(index, eps, x, None)
        expected = reference.step(eps, t, x)
        assert torch.equal(step.prev, expected.prev_sample)
        assert torch.equal(step.x0, expected.pred_original_sample)
        assert run.alpha_bar[index] == float(NoiseSchedule().alpha_bar[t + 1])
    assert run.alpha_bar_next == (*run.alpha_bar[1:], 1.0)


@pytest.mark.parametrize("steps", [7, 20, 50, 1000])
def test_steps_are_diffusers_ddpm_with_the_same_noise(steps):
    """diffusers' DDPM draws from a list of generators, one per sample: the same float32 noise as ours."""
    ids, shape = ["a", "b", "c"], (2, 5)
    _, reference = schedulers()
    reference.set_timesteps(steps)
    run = SchedulerSteps(schedulers()[0], "ddpm", steps)
    stream = SampleNoise(7, ids, 0, [shape] * 3, device=torch.device("cpu"), dtype=torch.float32)
    generators = [sample_generator(7, name, 0) for name in ids]
    x, eps = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)), torch.zeros(3, *shape)
    assert run.timesteps == tuple(reference.timesteps.tolist())
    for index, t in enumerate(run.timesteps):
        noise = stream.draw() if run.sigma[index] > 0 else None
        found = run.step(index, eps + 0.1 * x, x, noise).prev
        expected = reference.step(eps + 0.1 * x, t, x, generator=generators).prev_sample
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        x = found
