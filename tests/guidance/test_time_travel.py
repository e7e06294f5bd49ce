"""Time travel keeps the marginals of an exact denoiser, and costs what it says."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_realign.errors import ConfigError
from lightning_realign.guidance import MaskedSampler, RewardGuidedSampler
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import TravelConfig
from tests.guidance.test_best_of import ToyMasked
from tests.helpers.guided_toys import FunctionReward, GaussianGenerator

LENGTHS, TEXTS, IDS = torch.tensor([2, 3]), ("a", "b"), ("one", "two")
LONG = torch.tensor([2000])


class Counted(GaussianGenerator):
    """Keeps the timesteps it was asked at, and what it was asked of."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def denoise(self, x, t, cond, lengths):
        self.asked.append((t, x))
        return super().denoise(x, t, cond, lengths)


def run(travel=None, scheduler="ddpm", steps=20, lengths=LENGTHS, ids=IDS, generator=None, reward=None, guidance=None):
    generator = generator or GaussianGenerator()
    sampler = RewardGuidedSampler(generator, SamplingConfig(steps=steps, scheduler=scheduler), guidance, reward, travel)
    return sampler.sample_states(Prompts(TEXTS[: len(lengths)], lengths, ids[: len(lengths)])).states


def moments_after(sampler, travel):
    """Mean and variance at the end of the affine chain, every step of which is undone and done again, from N(0, 1)."""
    steps, generator, mean, variance = sampler.steps, sampler.generator, 0.0, 1.0
    probe = torch.tensor([[[0.0]], [[1.0]]], dtype=torch.float64)
    for index, timestep in enumerate(steps.timesteps):
        output = generator.denoise(probe, timestep, None, torch.tensor([1, 1]))
        low, high = steps.step(index, output, probe, torch.zeros_like(probe)).prev.flatten().tolist()
        kept = steps.alpha_bar[index] / steps.alpha_bar_next[index]
        for time in range(travel + 1):
            if time > 0:
                mean, variance = math.sqrt(kept) * mean, kept * variance + 1 - kept
            mean = low + (high - low) * mean
            variance = (high - low) ** 2 * variance + steps.sigma[index] ** 2
    return mean, variance


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_the_law_at_the_end_is_that_of_the_chain_written_out(scheduler):
    """12,000 independent features of a Gaussian chain; its steps are not small, so it is not the law of the data."""
    generator = GaussianGenerator()
    mean, variance = moments_after(
        RewardGuidedSampler(generator, SamplingConfig(steps=20, scheduler=scheduler)), travel=2
    )
    final = run(TravelConfig(2), scheduler, 20, LONG)
    assert final.mean().item() == pytest.approx(mean, abs=0.015)
    assert final.std().item() == pytest.approx(math.sqrt(variance), rel=0.02)


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_every_state_on_the_way_keeps_its_marginal(scheduler):
    """x_t ~ N(sqrt(a) m, a s^2 + 1 - a) before and after travelling; 12,000 independent features."""
    generator = Counted()
    run(TravelConfig(2, stop=0.3), scheduler, 100, LONG, generator=generator)
    assert len(generator.asked) == 3 * 70 + 30
    for t, x in generator.asked[::7]:
        level = float(generator.levels[t])
        if t > 300:
            assert x.mean().item() == pytest.approx(math.sqrt(level) * generator.mean, abs=0.06)
            assert x.std().item() == pytest.approx(math.sqrt(level * generator.std**2 + 1 - level), rel=0.02)


def test_travel_forgets_what_a_wrong_start_left():
    """A start far from the forward process is drawn towards it, the more the oftener."""
    generator = GaussianGenerator()
    sampler = RewardGuidedSampler(generator, SamplingConfig(steps=10, scheduler="ddpm"), travel=TravelConfig(3))
    batch, noise = sampler.prepare(Prompts(["t"], LONG)), sampler.noise(Prompts(["t"], LONG, ["x"], 0))
    wrong = noise.draw() + 3.0
    once = (
        RewardGuidedSampler(generator, SamplingConfig(steps=10, scheduler="ddpm"))
        .advance(batch, 5, sampler.evaluate(batch, 5, wrong), noise)
        .state
    )
    often = sampler.advance(batch, 5, sampler.evaluate(batch, 5, wrong), noise).state
    right = math.sqrt(sampler.steps.alpha_bar_next[5]) * generator.mean
    assert abs(often.mean().item() - right) < 0.7 * abs(once.mean().item() - right)


def test_undoing_is_the_forward_process():
    steps = RewardGuidedSampler(GaussianGenerator(), SamplingConfig(steps=10, scheduler="ddpm")).steps
    one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for index, (before, after) in enumerate(zip(steps.alpha_bar, steps.alpha_bar_next, strict=True)):
        kept, added = float(steps.undo(index, one, none)), float(steps.undo(index, none, one))
        assert kept * math.sqrt(after) == pytest.approx(math.sqrt(before))
        assert kept**2 * (1 - after) + added**2 == pytest.approx(1 - before)


def test_window_and_cost():
    generator = Counted()
    run(TravelConfig(2, 0.7, 0.3), steps=10, generator=generator)
    asked = [t for t, _ in generator.asked]
    assert [asked.count(t) for t in range(901, 0, -100)] == [1, 1, 1, 3, 3, 3, 3, 1, 1, 1]
    assert asked == sorted(asked, reverse=True)


def test_guided_steps_are_guided_every_time():
    reward = FunctionReward(lambda x, _: x.sum((1, 2)))
    found = run(TravelConfig(1, start=0.8), steps=10, reward=reward, guidance=GuidanceConfig(mu=1.0, start=0.5))
    assert len(reward.levels) == 2 * 5
    assert found.isfinite().all()


def test_a_motion_does_not_depend_on_its_batch_and_zero_travel_is_none():
    config = TravelConfig(2)
    both, alone = run(config), run(config, lengths=LENGTHS[:1])
    torch.testing.assert_close(both[:1, :2], alone, rtol=1e-12, atol=1e-12)
    assert torch.equal(run(TravelConfig(0, start=0.5)), run(None))
    assert not torch.allclose(both, run(None))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"times": -1}, "travel times is -1"), ({"start": 0.1, "stop": 0.2}, "travel window")],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        TravelConfig(**settings)


def test_what_draws_by_itself_does_not_travel():
    with pytest.raises(ConfigError, match="travel times=1: this generator has a sampling loop of its own"):
        MaskedSampler(ToyMasked(), travel=TravelConfig(1))
