"""Particle steering against laws that are known: a tilted Gaussian chain, and the mixture in the plane."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from experiments.plane.distances import sliced_wasserstein
from experiments.plane.generator import PlaneGenerator, PlaneReward
from experiments.plane.mixture import ring
from lightning_realign.errors import ConfigError
from lightning_realign.guidance import ParticleSteering, RewardGuidedSampler
from lightning_realign.guidance.particle_weights import Cloud, systematic
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import ParticleConfig, TravelConfig
from tests.helpers.guided_toys import FEATURES, FunctionReward, GaussianGenerator

LENGTHS = torch.tensor([2, 3])
TEXTS, IDS = ("a", "b"), ("one", "two")
SLOPE, STEPS, COUNT = 3.0, 20, 150


def tilt(motion, alpha_bar):
    """Knows no noise level, and is of the first feature of the first frame alone."""
    return SLOPE * motion[:, 0, 0]


def steering(config, guidance=None, scheduler="ddpm", steps=STEPS, function=tilt, travel=None, **options):
    sampler = RewardGuidedSampler(
        GaussianGenerator(),
        SamplingConfig(steps=steps, scheduler=scheduler, **options),
        guidance or GuidanceConfig(),
        FunctionReward(lambda x, level: 0.4 * function(x, level)),
        travel,
    )
    return ParticleSteering(sampler, FunctionReward(function), config)


def many(steered, count=COUNT):
    """All particles of `count` motions of one frame, and the weighted means [count, features]."""
    result = steered.sample_states(
        Prompts(["t"] * count, torch.ones(count, dtype=torch.long), [str(n) for n in range(count)])
    )
    states = result.states[:, :, 0]
    return result, (result.weights[..., None] * states).sum(dim=1)


def own_moments(sampler):
    """Mean and variance at the end of the sampler's own chain, which is affine, from N(0, 1)."""
    generator, steps, mean, variance = sampler.generator, sampler.steps, 0.0, 1.0
    probe = torch.tensor([[[0.0]], [[1.0]]], dtype=torch.float64)
    for index, timestep in enumerate(steps.timesteps):
        output = generator.denoise(probe, timestep, None, torch.tensor([1, 1]))
        low, high = steps.step(index, output, probe, torch.zeros_like(probe)).prev.flatten().tolist()
        mean, variance = low + (high - low) * mean, (high - low) ** 2 * variance + steps.sigma[index] ** 2
    return mean, variance


@pytest.mark.parametrize("seed", range(5))
def test_systematic_resampling_takes_every_particle_as_often_as_it_should(seed):
    random = torch.Generator().manual_seed(seed)
    weights = torch.rand(7, generator=random, dtype=torch.float64).pow(3)
    weights = weights / weights.sum()
    total = torch.zeros(7, dtype=torch.float64)
    offsets = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    for offset in offsets.tolist():
        counts = torch.bincount(systematic(weights, offset), minlength=7)
        assert ((counts - 7 * weights).abs() < 1).all()
        total += counts
    torch.testing.assert_close(total / 1000, 7 * weights, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("potential", "total"), [("difference", [1.0, 9.0]), ("max", [4.0, 9.0]), ("sum", [5.0, 13.0])]
)
def test_what_was_paid_follows_the_ancestors(potential, total):
    """Particle 1 takes all places: the weights at the next step grow by its own past and each place's new reward."""
    cloud = Cloud(2, [torch.Generator()], potential, 1.0)
    cloud.record(torch.tensor([[-200.0], [4.0]]))
    assert cloud.resample().flatten().tolist() == [1, 1]
    cloud.record(torch.tensor([[1.0], [9.0]]))
    gap = total[1] - total[0]
    torch.testing.assert_close(cloud.weights()[:, 0], torch.tensor([0.0, gap], dtype=torch.float64).softmax(0))
    cloud.finish(torch.tensor([[1.0], [2.0]]))
    torch.testing.assert_close(cloud.weights()[:, 0], torch.tensor([0.0, 1.0], dtype=torch.float64).softmax(0))
    assert cloud.history()[:, :, 0].tolist() == [[4.0, 4.0], [1.0, 9.0]]


@pytest.mark.parametrize("select", ["reward", "weight"])
@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_one_particle_is_the_sampler_itself(scheduler, mu, select):
    guidance = GuidanceConfig(mu=mu, location="x0_through")
    one = steering(ParticleConfig(1, select=select), guidance, scheduler, travel=TravelConfig(1))
    found, plain = one.sample(TEXTS, LENGTHS, IDS, 3), one.sampler.sample(TEXTS, LENGTHS, IDS, 3)
    assert torch.equal(found.features, plain.features)
    assert torch.equal(found.timesteps, plain.timesteps)


def test_without_resampling_the_particles_are_independent_runs_weighed_by_their_reward():
    steered = steering(ParticleConfig(5, threshold=0.0, temperature=0.7, potential="sum"))
    result = steered.sample_states(Prompts(TEXTS, LENGTHS, IDS))
    runs = [steered.sampler.sample_states(Prompts(TEXTS, LENGTHS, IDS, k * 2**48)).states for k in range(5)]
    assert torch.equal(result.states, torch.stack(runs, dim=1))
    rewards = torch.stack([tilt(run, 1.0) / 0.7 for run in runs], dim=1)
    torch.testing.assert_close(result.rewards, rewards)
    torch.testing.assert_close(result.weights, rewards.softmax(dim=1))
    assert torch.equal(result.chosen, rewards.argmax(dim=1))


def tilted_error(particles, location, temperature=1.0):
    config = ParticleConfig(particles, temperature, location=location, threshold=0.5, select="weight")
    steered = steering(config)
    mean, variance = own_moments(steered.sampler)
    _, means = many(steered)
    others = means[:, 1:].mean().item()
    assert others == pytest.approx(mean, abs=0.05), "features without a reward stay where they are"
    return abs(means[:, 0].mean().item() - mean - SLOPE / temperature * variance)


def test_weighted_particles_tend_to_the_tilted_law_as_they_grow():
    """exp(w x_0) tilts N(m, v) to N(m + v w, v), though the reward knows no noise level."""
    errors = [tilted_error(particles, "x0") for particles in (1, 4, 32)]
    assert errors[0] > 3 * errors[1] > 6 * errors[2]
    assert errors[0] > 0.4
    assert errors[2] < 0.05


def test_weights_make_up_for_a_reward_of_noisy_states():
    one, many_particles = (tilted_error(particles, "x_t", temperature=3.0) for particles in (1, 16))
    assert one > 0.13
    assert many_particles < 0.05


@pytest.mark.parametrize("potential", ["difference", "max", "sum"])
def test_every_potential_and_the_drawn_particle_follow_the_same_law(potential):
    config = ParticleConfig(32, potential=potential, every=4, threshold=0.5, select="weight")
    steered = steering(config)
    mean, variance = own_moments(steered.sampler)
    result, means = many(steered)
    assert means[:, 0].mean().item() == pytest.approx(mean + SLOPE * variance, abs=0.08)
    drawn = result.states[torch.arange(COUNT), result.chosen, 0, 0]
    assert drawn.mean().item() == pytest.approx(mean + SLOPE * variance, abs=0.15)
    assert drawn.std().item() == pytest.approx(math.sqrt(variance), rel=0.2)


@pytest.mark.parametrize(
    ("scale", "location", "travel"),
    [("score", "x_t", 0), ("score", "x0_through", 1), ("posterior", "x0", 0), ("constant", "x_t", 0)],
)
def test_guidance_leaves_the_law_aimed_at_where_it_is(scale, location, travel):
    strength = 0.02 if scale == "constant" else 1.0
    guidance = GuidanceConfig(mu=strength, scale=scale, location=location, stop=0.05)
    steered = steering(
        ParticleConfig(24, threshold=0.5, select="weight"), guidance, travel=TravelConfig(travel, stop=0.5)
    )
    mean, variance = own_moments(steered.sampler)
    result, means = many(steered)
    expected = mean + SLOPE * variance
    bare = result.states[:, :, 0, 0].mean().item()
    tolerance = 0.06 if travel == 0 else 0.09
    assert means[:, 0].mean().item() == pytest.approx(expected, abs=tolerance)
    spread = ((result.weights * result.states[:, :, 0, 0].square()).sum(dim=1) - means[:, 0] ** 2).mean().item()
    assert spread == pytest.approx(variance, rel=0.25)
    assert bare != expected


def test_density_ratio_is_that_of_the_two_gaussians():
    """Guided transitions against torch's own normal densities, over a whole run."""
    config = GuidanceConfig(mu=1.0, stop=0.1)
    sampler = RewardGuidedSampler(
        GaussianGenerator(), SamplingConfig(steps=10, scheduler="ddpm"), guidance=config, reward=FunctionReward(tilt)
    )
    noise = sampler.noise(Prompts(TEXTS, LENGTHS, IDS))
    batch, x = sampler.prepare(Prompts(TEXTS, LENGTHS)), noise.draw()
    for index in range(9):
        evaluation = sampler.evaluate(batch, index, x)
        moved = sampler.advance(batch, index, evaluation, noise)
        zero, sigma = torch.zeros_like(x), sampler.steps.sigma[index]
        gradient = torch.zeros_like(x)
        gradient[:, 0, 0] = SLOPE
        outputs = (evaluation.output, sampler.steps.guide_output(index, evaluation.output, gradient))
        own, guided = (
            torch.distributions.Normal(sampler.steps.step(index, output, x, zero).prev, sigma)
            .log_prob(moved.state)
            .flatten(1)
            .sum(1)
            for output in outputs
        )
        torch.testing.assert_close(moved.log_ratio, own - guided, rtol=1e-8, atol=1e-8)
        x = moved.state


def test_a_step_done_again_has_the_ratios_of_both_times():
    once, twice = (
        RewardGuidedSampler(
            GaussianGenerator(),
            SamplingConfig(steps=10, scheduler="ddpm"),
            guidance=GuidanceConfig(mu=1.0),
            reward=FunctionReward(tilt),
            travel=TravelConfig(n),
        )
        for n in (0, 1)
    )
    noises = [once.noise(Prompts(TEXTS, LENGTHS, IDS)) for _ in range(2)]
    batch, starts = once.prepare(Prompts(TEXTS, LENGTHS)), [noise.draw() for noise in noises]
    found = twice.advance(batch, 6, twice.evaluate(batch, 6, starts[0]), noises[0])
    first = once.advance(batch, 6, once.evaluate(batch, 6, starts[1]), noises[1])
    back = once.steps.undo(6, first.state, noises[1].draw())
    second = once.advance(batch, 6, once.evaluate(batch, 6, back), noises[1])
    assert torch.equal(found.state, second.state)
    torch.testing.assert_close(found.log_ratio, first.log_ratio + second.log_ratio)


def test_the_mixture_in_the_plane_is_approached_as_particles_grow():
    problem, count = ring(), 400
    ideal = problem.target.sample(count, torch.Generator().manual_seed(0))
    distances = []
    for particles in (1, 2, 4, 8):
        sampler = RewardGuidedSampler(PlaneGenerator(problem), SamplingConfig(steps=25, scheduler="ddpm"))
        config = ParticleConfig(particles, threshold=0.5, select="weight")
        steered = ParticleSteering(sampler, PlaneReward(problem, "clean"), config)
        points = steered.sample(["caption"] * count, torch.ones(count, dtype=torch.long)).features[:, 0]
        distances.append(sliced_wasserstein(points, ideal))
    assert all(more > 1.15 * less for more, less in pairwise(distances))
    assert distances[0] > 4 * distances[-1]


def test_a_motion_does_not_depend_on_its_batch_and_runs_repeat():
    guidance = GuidanceConfig(mu=1.0, stop=0.05)
    steered = steering(ParticleConfig(6, temperature=0.5, every=3), guidance)
    both, again = (steered.sample_states(Prompts(TEXTS, LENGTHS, IDS, 2)) for _ in range(2))
    alone = steered.sample_states(Prompts(TEXTS[:1], LENGTHS[:1], IDS[:1], 2))
    assert torch.equal(both.states, again.states)
    assert torch.equal(both.chosen, again.chosen)
    torch.testing.assert_close(both.states[:1, :, :2], alone.states, rtol=1e-9, atol=1e-9)
    assert both.chosen[0] == alone.chosen[0]
    other = steered.sample_states(Prompts(TEXTS, LENGTHS, IDS, 4))
    assert not torch.allclose(both.states, other.states)
    assert torch.unique(both.states[0, :, 0, 0]).numel() == 6, "every place has noise of its own"


def test_what_is_told_of_a_run():
    steered = steering(ParticleConfig(4, start=0.8, every=2), steps=10)
    result, motions = steered.sample_states(Prompts(TEXTS, LENGTHS, IDS)), steered.sample(TEXTS, LENGTHS, IDS)
    weighed = [False, False, True, False, True, False, True, False, True, False]
    for told in (result.history, result.effective):
        assert (~told.isnan()).all(dim=0).tolist() == weighed
    inside = result.effective[:, weighed]
    assert ((inside >= 1) & (inside <= 4 + 1e-9)).all()
    assert torch.equal(motions.rewards.nan_to_num(), result.history.nan_to_num())
    assert motions.features.shape == (2, 3, FEATURES)
    assert torch.equal(motions.features[1], result.states[1, result.rewards[1].argmax()])


def test_a_reward_that_cannot_be_told_never_wins():
    def broken(motion, alpha_bar):
        rewards = tilt(motion, alpha_bar)
        return torch.where(motion[:, 0, 0] > 0.7, float("nan"), rewards)

    result = steering(ParticleConfig(8), function=broken).sample_states(Prompts(TEXTS, LENGTHS, IDS))
    chosen = result.states[torch.arange(2), result.chosen, 0, 0]
    assert (chosen <= 0.7).all()
    assert result.weights.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "particles count is 0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"eta": math.nan}, "eta=nan"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"potential": "mean"}, "potential='mean' is unknown; use one of difference, max, sum"),
        ({"location": "x_prev"}, "location='x_prev' is unknown; use one of x_t, x0"),
        ({"select": "best"}, "select='best'"),
        ({"stop": 1.0}, "particles window"),
        ({"every": 0}, "particles every=0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        ParticleConfig(**settings)


@pytest.mark.parametrize(
    ("guidance", "options", "message"),
    [
        ({"location": "x_prev", "stop": 0.05}, {}, "depends on the step's own noise"),
        ({}, {"scheduler": "ddim"}, "no guided step adds noise"),
        ({}, {}, "step 20 of 20 adds no noise.*set guidance stop to 0.05"),
        ({}, {"steps": 30}, "set guidance stop to 0.0334"),
    ],
)
def test_guidance_without_known_weights_is_refused(guidance, options, message):
    with pytest.raises(ConfigError, match=message):
        steering(ParticleConfig(2), GuidanceConfig(mu=1.0, **guidance), **options)


def test_stochastic_ddim_is_guided_to_its_end_and_an_empty_window_refused():
    steering(ParticleConfig(2), GuidanceConfig(mu=1.0), "ddim", ddim_eta=0.5)
    with pytest.raises(ConfigError, match="holds none of the 20 steps"):
        steering(ParticleConfig(2, start=0.52, stop=0.51))
