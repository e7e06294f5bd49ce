"""DDIM and DDPM over timesteps that are spaced in any way."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_realign.diffusion import NoiseSchedule, make_scheduler
from lightning_realign.diffusion.steps import RespacedSteps, SchedulerSteps, make_steps
from lightning_realign.errors import ConfigError

UNEVEN = (999, 880, 420, 41, 7, 0)


def scheduler(prediction="epsilon"):
    return make_scheduler("ddim", NoiseSchedule(), prediction)


def tensors(count):
    random = torch.Generator().manual_seed(0)
    return [torch.randn(3, 2, 5, generator=random, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize(("name", "eta"), [("ddim", 0.0), ("ddim", 0.5), ("ddpm", 0.0)])
def test_all_timesteps_are_the_schedulers_own_steps(name, eta, prediction):
    """The last step apart: plain DDIM ends at the schedule's first level, a respaced one at a clean state."""
    plain = SchedulerSteps(scheduler(prediction), name, 1000, eta)
    steps = make_steps(scheduler(prediction), name, 1000, eta, tuple(range(999, -1, -1)))
    assert isinstance(steps, RespacedSteps)
    assert steps.timesteps == plain.timesteps
    last = 1000 if name == "ddpm" else 999
    for levels, wanted in ((steps.alpha_bar, plain.alpha_bar), (steps.sigma[:last], plain.sigma[:last])):
        assert levels == wanted
    x, output, noise = tensors(3)
    for index in (0, 500, 998):
        one, other = (each.step(index, output, x, noise) for each in (steps, plain))
        torch.testing.assert_close(one.prev, other.prev, rtol=0, atol=0)
        torch.testing.assert_close(one.x0, other.x0, rtol=0, atol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_ddim_goes_from_listed_level_to_listed_level(prediction):
    steps = make_steps(scheduler(prediction), "ddim", len(UNEVEN), timesteps=UNEVEN)
    levels = [float(NoiseSchedule().alpha_bar[t + 1]) for t in UNEVEN]
    assert steps.timesteps == UNEVEN
    assert steps.alpha_bar == tuple(levels)
    assert steps.alpha_bar_next == (*levels[1:], 1.0)
    assert steps.sigma == (0.0,) * len(UNEVEN)
    x, output = tensors(2)
    for index, (before, after) in enumerate(zip(levels, [*levels[1:], 1.0], strict=True)):
        clean, noise = output, (x - math.sqrt(before) * output) / math.sqrt(1 - before)
        if prediction == "epsilon":
            clean, noise = (x - math.sqrt(1 - before) * output) / math.sqrt(before), output
        step = steps.step(index, output, x, None)
        torch.testing.assert_close(step.x0, clean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(step.prev, math.sqrt(after) * clean + math.sqrt(1 - after) * noise)
        x = step.prev
    torch.testing.assert_close(step.prev, step.x0, rtol=1e-12, atol=1e-12)


def test_ddpm_draws_from_the_posterior_between_listed_levels():
    """q(x_s | x_t, x_0) in the closed form of Ho et al., 2020, eq. 7, with the beta that leads from s to t."""
    steps = make_steps(scheduler("sample"), "ddpm", len(UNEVEN), timesteps=UNEVEN)
    x, clean, noise = tensors(3)
    for index in range(len(UNEVEN)):
        before, after = steps.alpha_bar[index], steps.alpha_bar_next[index]
        beta = 1 - before / after
        mean = (math.sqrt(after) * beta * clean + math.sqrt(1 - beta) * (1 - after) * x) / (1 - before)
        spread = math.sqrt((1 - after) / (1 - before) * beta)
        assert steps.sigma[index] == pytest.approx(spread, rel=1e-9, abs=1e-12)
        found = steps.step(index, clean, x, noise).prev
        torch.testing.assert_close(found, mean + spread * noise, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("timesteps", "message"),
    [
        ((5, 5), r"timesteps=\[5, 5\]: need at least one in 0 to 999, and each below the one before it"),
        ((3, 5), "each below the one before it"),
        ((1000, 5), "0 to 999"),
        ((5, -1), "0 to 999"),
        ((5, 3, 1), "steps=2, but the generator was set up for 3"),
        ((), "steps=2, but the generator was set up for 0"),
    ],
)
@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_bad_timesteps(name, timesteps, message):
    with pytest.raises(ConfigError, match=message):
        make_steps(scheduler(), name, 2, timesteps=timesteps)
