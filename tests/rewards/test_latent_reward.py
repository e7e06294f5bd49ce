"""A reward that reads the generator's own noisy latents, with nothing decoded in the loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.generators.base import LoadOptions, Recipe
from lightning_realign.generators.latent import LatentDiffusionGenerator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.models import LatentSpace, MotionVAE, RewardSpace, StepAwareRewardModel
from lightning_realign.rewards.decoded import DecodedReward
from lightning_realign.rewards.reward import DualAlignmentReward, reward_gradient
from lightning_realign.rewards.weighted import FixedReward, WeightedRewards
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import zero_padding
from tests.helpers.guided_toys import (
    FEATURES,
    TOKEN,
    FunctionReward,
    normaliser_of,
    tiny_diffusion,
    tiny_reward,
    toy_encoder,
)

TEXTS, LENGTHS = ["a person walks", "a person runs", "a person waves twice"], torch.tensor([9, 30, 17])


def latent_reward(space: LatentSpace, name="latent") -> DualAlignmentReward:
    torch.manual_seed(7)
    channels = 8 if name == "latent" else FEATURES
    network = StepAwareRewardModel(channels, TOKEN, width=16, layers=3, heads=2, feedforward=32).eval()
    bundle = replace(tiny_reward(), network=network, space=RewardSpace(name, normaliser_of(FEATURES, 5), space))
    return DualAlignmentReward(bundle, toy_encoder)


def other_vae(tokens: int, channels: int) -> LatentSpace:
    torch.manual_seed(4)
    sizes = {"width": 16, "layers": 3, "heads": 2, "feedforward": 32}
    return LatentSpace(MotionVAE(FEATURES, latent_tokens=tokens, latent_size=channels, **sizes))


def other_scale(space: LatentSpace) -> LatentSpace:
    """The same VAE, its latents standardised by other statistics."""
    result = LatentSpace(space.vae)
    result.statistics.set(torch.randn(2, 8), 0.5 + torch.rand(2, 8))
    return result


def sampler(reward, dtype=torch.float32, **settings):
    generator = LatentDiffusionGenerator(tiny_diffusion(), Recipe(cfg_scale=3.0), LoadOptions(encode=toy_encoder)).to(
        dtype=dtype
    )
    config = GuidanceConfig(**{"mu": 3.0, **settings})
    return RewardGuidedSampler(
        generator, SamplingConfig(steps=5), guidance=config, reward=None if reward is None else reward.to(dtype=dtype)
    )


def test_nothing_is_decoded_in_the_loop(monkeypatch):
    guided = sampler(latent_reward(tiny_diffusion().latents))
    monkeypatch.setattr(MotionVAE, "decode", None)
    states = guided.sample_states(Prompts(TEXTS, LENGTHS))
    assert states.rewards.isfinite().all()
    plain = sampler(None, mu=0.0).sample_states(Prompts(TEXTS, LENGTHS))
    assert (states.states - plain.states).abs().amax(dim=(1, 2)).min() > 1e-4


def test_a_reward_of_motions_stands_beside_one_of_latents():
    """Its gradient is that of the decoded motion in the data set's units, by hand; noisy latents it refuses."""
    learned = latent_reward(tiny_diffusion().latents).to(dtype=torch.float64)
    space, normaliser = learned.latents, learned.normaliser
    energy = FunctionReward(lambda motion, _: -motion.square().sum((1, 2)))
    both = WeightedRewards([learned, FixedReward(DecodedReward(energy, space, normaliser))], [1.0, 0.5])
    states = torch.randn(3, *space.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, rewards = reward_gradient(lambda z: both.prepare(TEXTS, None, mu=3.0, eta=0.0)(z, LENGTHS, 1.0), states)
    leaf = states.clone().requires_grad_(True)
    decoded = normaliser.denormalise(space.vae.decode(space.statistics.denormalise(leaf), LENGTHS, 30))
    seen = zero_padding(energy.normaliser.normalise(decoded), LENGTHS)
    expected = learned.prepare(TEXTS, mu=3.0, eta=0.0)(leaf, LENGTHS, 1.0) - 0.5 * seen.square().sum((1, 2))
    torch.testing.assert_close(rewards, expected.detach())
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), leaf)[0])
    with pytest.raises(ConfigError, match=r"latents of signal level 0\.5.*use location x0"):
        both.prepare(TEXTS, None, mu=3.0, eta=0.0)(states, LENGTHS, 0.5)


@pytest.mark.parametrize("location", ["x_t", "x_prev", "x0"])
def test_a_motion_is_the_same_alone_and_in_a_batch(location):
    guided = sampler(latent_reward(tiny_diffusion().latents), torch.float64, location=location)
    ids = ["a", "b", "c"]
    together = guided.sample(TEXTS, LENGTHS, ids).features
    for row in range(3):
        alone = guided.sample(TEXTS[row : row + 1], LENGTHS[row : row + 1], ids[row : row + 1]).features
        length = int(LENGTHS[row])
        torch.testing.assert_close(alone[0, :length], together[row, :length], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("alpha_bar", [1.0, 0.4, 0.01])
def test_latents_are_read_in_the_reward_s_own_scale(alpha_bar):
    """The reward of a generator's noisy state is that of the same latent, noised in the reward's scale."""
    own = tiny_diffusion().latents
    torch.manual_seed(3)
    wanted = other_scale(own)
    reward = latent_reward(wanted)
    guided = sampler(reward)
    z = torch.randn(3, 2, 8)
    evaluate = guided.prepare(Prompts(TEXTS, LENGTHS)).reward
    found = evaluate(alpha_bar**0.5 * own.statistics.normalise(z), alpha_bar)
    seen = alpha_bar**0.5 * wanted.statistics.normalise(z)
    expected = reward.prepare(TEXTS, mu=3.0, eta=0.0)(seen, LENGTHS, alpha_bar)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_finished_motion_scores_as_its_encoding():
    latents = tiny_diffusion().latents
    reward = latent_reward(latents)
    features = torch.randn(3, 30, FEATURES)
    found = reward.score(features, LENGTHS, TEXTS)
    mask = (torch.arange(30)[None] < LENGTHS[:, None])[..., None]
    states = latents.states(reward.normaliser.normalise(features) * mask, LENGTHS)
    torch.testing.assert_close(found, reward.prepare(TEXTS, mu=1.0, eta=0.0)(states, LENGTHS, 1.0))


def test_a_decoded_reward_guides_any_generator_through_motions():
    guided = sampler(latent_reward(other_vae(3, 4), "decoded"))
    assert guided.sample(TEXTS, LENGTHS).features.isfinite().all()


def test_latents_of_another_vae_are_refused():
    with pytest.raises(FeatureSpecError, match=r"reads latents of the VAE \w+, but the generator has the VAE"):
        sampler(latent_reward(other_vae(2, 8)))
