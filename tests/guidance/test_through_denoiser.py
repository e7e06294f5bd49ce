"""The gradient of the predicted clean motion's reward through the denoiser, against closed forms."""

from __future__ import annotations

import itertools

import pytest
import torch

from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import LoadOptions, Recipe
from lightning_realign.generators.latent import LatentDiffusionGenerator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.guidance.scales import parts_of
from lightning_realign.inference.counting import CountingGenerator
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import TravelConfig
from tests.helpers.guided_toys import FunctionReward, GaussianGenerator, tiny_diffusion, tiny_reward, toy_encoder

LENGTHS, TEXTS, IDS = torch.tensor([2, 3]), ("a", "b"), ("one", "two")


def bowl(motion):
    """A reward of clean motions that is not linear."""
    return -2.0 * (motion - 0.3).square().sum((1, 2)) + motion[:, 0, 0] * motion[:, 1, 0]


def run(location, function, scale="score", scheduler="ddpm", prediction="epsilon"):
    config = GuidanceConfig(mu=0.5, scale=scale, location=location)
    generator, reward = GaussianGenerator(prediction=prediction), FunctionReward(function)
    sampler = RewardGuidedSampler(
        generator, SamplingConfig(steps=10, scheduler=scheduler), guidance=config, reward=reward
    )
    return sampler.sample_states(Prompts(TEXTS, LENGTHS, IDS)), reward


@pytest.mark.parametrize(
    ("scheduler", "scale", "prediction"),
    [
        case
        for case in itertools.product(("ddim", "ddpm"), ("score", "posterior", "constant"), ("epsilon", "sample"))
        if case[:2] != ("ddim", "posterior")
    ],
)
def test_it_is_the_gradient_of_the_reward_of_the_closed_form_posterior_mean(scheduler, scale, prediction):
    """R(E[x_0 | x_t]) written out as a reward of x_t."""
    toy = GaussianGenerator()
    mask = (torch.arange(3)[None] < LENGTHS[:, None])[..., None]
    through, reward = run("x0_through", lambda x, _: bowl(x), scale, scheduler, prediction)
    written, _ = run("x_t", lambda x, level: bowl(toy.posterior_mean(x, level) * mask), scale, scheduler, prediction)
    torch.testing.assert_close(through.states, written.states, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(through.rewards, written.rewards, rtol=1e-9, atol=1e-9)
    assert set(reward.levels) == {1.0}
    stopped, _ = run("x0", lambda x, _: bowl(x), scale, scheduler, prediction)
    assert not torch.allclose(stopped.states, through.states, rtol=1e-2)


def networks(location, travel=None, **options):
    recipe, encode = Recipe(cfg_scale=3.0), LoadOptions(encode=toy_encoder)
    generator = LatentDiffusionGenerator(tiny_diffusion(), recipe, encode).to(dtype=torch.float64)
    counted = CountingGenerator(generator)
    reward = DualAlignmentReward(tiny_reward(), toy_encoder).to(dtype=torch.float64)
    config = GuidanceConfig(mu=5.0, location=location, **options)
    return RewardGuidedSampler(counted, SamplingConfig(steps=4, scheduler="ddim"), config, reward, travel), counted


def test_networks_agree_with_finite_differences():
    sampler, _ = networks("x0_through")
    texts, lengths = ["a person walks", "a person waves"], torch.tensor([12, 20])
    batch = sampler.prepare(Prompts(texts, lengths))
    x = torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def total(step):
        evaluation = sampler.evaluate(batch, 1, x + step * direction)
        return evaluation.rewards.sum().item()

    slope = (total(1e-5) - total(-1e-5)) / 2e-5
    found = (sampler.evaluate(batch, 1, x).gradient * direction).sum().item()
    assert found == pytest.approx(slope, rel=1e-5)
    assert abs(slope) > 1e-4


def test_a_gradient_through_the_network_counts_as_one_evaluation_more():
    texts, lengths = ["a person walks", "a person waves"], torch.tensor([12, 20])
    for location, options, expected in (
        ("x0", {}, 4 * 2),
        ("x0_through", {}, 4 * 2 * 2),
        ("x0_through", {"stop": 0.5}, (2 * 2 + 2) * 2),
        ("x0_through", {"stop": 0.5, "travel": TravelConfig(2)}, 3 * (2 * 2 + 2) * 2),
    ):
        sampler, counted = networks(location, **options)
        sampler.sample(texts, lengths)
        assert counted.calls == expected


def test_a_motion_does_not_depend_on_its_batch():
    sampler, _ = networks("x0_through")
    texts, lengths, ids = ["a person walks", "a person waves"], torch.tensor([12, 20]), ["x", "y"]
    both = sampler.sample(texts, lengths, ids).features
    alone = sampler.sample(texts[:1], lengths[:1], ids[:1]).features
    torch.testing.assert_close(both[:1, :12], alone, rtol=1e-8, atol=1e-8)


def test_a_network_that_cannot_be_differentiated_is_refused():
    class Frozen(GaussianGenerator):
        def denoise(self, x, t, cond, lengths):
            return super().denoise(x, t, cond, lengths).detach()

    config = GuidanceConfig(mu=1.0, location="x0_through")
    reward = FunctionReward(lambda x, _: bowl(x))
    sampler = RewardGuidedSampler(Frozen(), SamplingConfig(steps=5), guidance=config, reward=reward)
    with pytest.raises(ConfigError, match="cannot be differentiated; use location x0"):
        sampler.sample(TEXTS, LENGTHS, IDS)


@pytest.mark.parametrize(("scheduler", "prediction"), list(itertools.product(("ddim", "ddpm"), ("epsilon", "sample"))))
def test_moment_is_the_gradient_through_the_denoiser_of_data_of_unit_variance(scheduler, prediction):
    """There x0_hat is the mean plus sqrt(alpha_bar_t) times the deviation of x_t, so that nothing is approximated."""

    def states(scale, location, std):
        config = GuidanceConfig(mu=0.5, scale=scale, location=location)
        generator, reward = GaussianGenerator(std=std, prediction=prediction), FunctionReward(lambda x, _: bowl(x))
        sampler = RewardGuidedSampler(
            generator, SamplingConfig(steps=10, scheduler=scheduler), guidance=config, reward=reward
        )
        return sampler.sample_states(Prompts(TEXTS, LENGTHS, IDS)).states

    torch.testing.assert_close(states("moment", "x0", 1.0), states("score", "x0_through", 1.0), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(states("moment", "x0", 0.5), states("score", "x0_through", 0.5), rtol=1e-2)


@pytest.mark.parametrize("location", ["x_t", "x_prev", "x0_through"])
def test_moment_is_of_the_predicted_clean_state(location):
    with pytest.raises(ConfigError, match=r"scale='moment' with location.*use location x0"):
        parts_of(GuidanceConfig(mu=1.0, scale="moment", location=location))
