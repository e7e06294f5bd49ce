"""The dual reward and whole guided runs with tiny random networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import LoadOptions, Recipe
from lightning_realign.generators.latent import LatentDiffusionGenerator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.rewards.reward import DualAlignmentReward, reward_gradient
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from tests.helpers.guided_toys import FEATURES, plain_sampling, tiny_diffusion, tiny_reward, toy_encoder

VERBS = ("walks", "runs", "jumps up and down", "waves")


def parts(dtype=torch.float32, cfg_scale=3.0):
    generator = LatentDiffusionGenerator(
        tiny_diffusion(), Recipe(cfg_scale=cfg_scale), LoadOptions(encode=toy_encoder)
    ).to(dtype=dtype)
    return generator, DualAlignmentReward(tiny_reward(), toy_encoder).to(dtype=dtype)


def prompts(count):
    random = torch.Generator().manual_seed(11)
    texts = [f"a person {VERBS[i % 4]} {i}" for i in range(count)]
    references = torch.randn(count, 16, generator=random, dtype=torch.float64)
    return texts, torch.randint(9, 31, (count,), generator=random), references


def guidance(generator, reward, texts, lengths, references, alpha_bar=0.6):
    """The function that is differentiated, latent -> rewards, and its latent."""
    score = reward.prepare(texts, references, mu=2.0, eta=1.5)
    random = torch.Generator().manual_seed(5)
    latent = torch.randn(64, 2, 8, generator=random).to(generator.dtype)[: len(texts)]

    def evaluate(state):
        return score(generator.to_motion(state, alpha_bar, lengths, reward.normaliser), lengths, alpha_bar)

    return evaluate, latent


def test_guidance_of_a_motion_is_the_same_alone_and_in_a_batch_of_64():
    generator, reward = parts()
    texts, lengths, references = prompts(64)
    evaluate, latent = guidance(generator, reward, texts, lengths, references)
    together, rewards = reward_gradient(evaluate, latent)
    for i in (0, 17, 63):
        evaluate, _ = guidance(generator, reward, texts[i : i + 1], lengths[i : i + 1], references[i : i + 1])
        alone, value = reward_gradient(evaluate, latent[i : i + 1])
        assert (alone - together[i]).norm() <= 1e-5 * alone.norm()
        torch.testing.assert_close(value[0], rewards[i], rtol=1e-5, atol=1e-6)


def test_gradient_agrees_with_finite_differences():
    generator, reward = parts(torch.float64)
    evaluate, latent = guidance(generator, reward, *prompts(3))
    gradient, _ = reward_gradient(evaluate, latent)
    random = torch.Generator().manual_seed(1)
    for _ in range(5):
        direction = torch.randn(latent.shape, generator=random, dtype=torch.float64)
        with torch.no_grad():
            slope = (evaluate(latent + 1e-5 * direction) - evaluate(latent - 1e-5 * direction)) / 2e-5
        torch.testing.assert_close((gradient * direction).sum((1, 2)), slope, rtol=1e-6, atol=1e-8)


def test_only_the_state_is_differentiated():
    generator, reward = parts()
    evaluate, latent = guidance(generator, reward, *prompts(3))
    reward_gradient(evaluate, latent)
    modules = (generator.bundle.latents, generator.bundle.denoiser, reward.bundle.network)
    for parameter in (p for module in modules for p in module.parameters()):
        assert parameter.grad is None
        assert not parameter.requires_grad
    assert not latent.requires_grad
    assert not any(module.training for module in modules)


def test_padded_frames_have_no_gradient_and_no_influence():
    _, reward = parts(torch.float64)
    texts, lengths, references = prompts(4)
    score = reward.prepare(texts, references, mu=1.0, eta=1.0)
    motion = torch.randn(4, 35, FEATURES, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradient, rewards = reward_gradient(lambda x: score(x, lengths, 0.5), motion)
    padding = torch.arange(35)[None] >= lengths[:, None]
    assert (gradient[padding] == 0).all()
    assert (gradient[~padding] != 0).any(-1).all()
    other = torch.where(padding[..., None], 1e3, motion)
    torch.testing.assert_close(score(other, lengths, 0.5), rewards, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_a_whole_run_is_the_same_alone_in_a_batch_of_64_and_in_another_order(scheduler):
    generator, reward = parts(torch.float64)
    config = GuidanceConfig(mu=3.0, eta=2.0, location="x_prev")
    sampler = RewardGuidedSampler(
        generator, SamplingConfig(steps=5, scheduler=scheduler), guidance=config, reward=reward
    )
    texts, lengths, references = prompts(64)
    ids = [f"id{i}" for i in range(64)]
    together = sampler.sample(texts, lengths, ids, 2, references)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    shuffled = sampler.sample([texts[i] for i in order], lengths[order], [ids[i] for i in order], 2, references[order])
    torch.testing.assert_close(shuffled.features, together.features[order], rtol=0, atol=1e-8)
    for i in (0, 17, 63):
        one = slice(i, i + 1)
        alone = sampler.sample(texts[one], lengths[one], ids[one], 2, references[one])
        torch.testing.assert_close(alone.features[0], together.features[i, : lengths[i]], rtol=0, atol=1e-8)
        torch.testing.assert_close(alone.rewards[0], together.rewards[i], rtol=0, atol=1e-8)
    assert together.features.dtype == together.rewards.dtype == torch.float64


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_zero_weights_are_bit_identical_to_the_generator_alone(scheduler):
    generator, reward = parts()
    texts, lengths, _ = prompts(5)
    ids = [f"id{i}" for i in range(5)]
    plain = plain_sampling(generator, texts, lengths, ids, 10, scheduler)
    for settings in ({}, {"guidance": GuidanceConfig(), "reward": reward}):
        motions = RewardGuidedSampler(generator, SamplingConfig(steps=10, scheduler=scheduler), **settings).sample(
            texts, lengths, ids
        )
        assert torch.equal(motions.features, plain)


@pytest.mark.parametrize("scale", ["score", "posterior", "constant"])
@pytest.mark.parametrize("location", ["x_t", "x_prev", "x0"])
def test_every_scale_and_location_runs_on_networks(scale, location):
    generator, reward = parts()
    texts, lengths, references = prompts(3)
    config = GuidanceConfig(mu=5.0, eta=1.0, scale=scale, location=location)
    plain = RewardGuidedSampler(generator, SamplingConfig(steps=5, scheduler="ddpm")).sample(texts, lengths)
    guided = RewardGuidedSampler(
        generator, SamplingConfig(steps=5, scheduler="ddpm"), guidance=config, reward=reward
    ).sample(texts, lengths, references=references)
    assert guided.features.isfinite().all()
    # with the posterior scale the last step of DDPM has no noise, hence no guidance, but is still evaluated
    assert guided.rewards.isfinite().all()
    assert not torch.equal(guided.features, plain.features)


def test_guidance_raises_the_reward():
    generator, reward = parts()
    texts, lengths, _ = prompts(16)
    means = []
    for mu in (0.0, 5.0, 25.0):
        config = GuidanceConfig(mu=mu)
        motions = RewardGuidedSampler(generator, SamplingConfig(steps=20), guidance=config, reward=reward).sample(
            texts, lengths
        )
        normalised = reward.normaliser.normalise(motions.features)
        means.append(float(reward.prepare(texts, mu=1.0, eta=0.0)(normalised, lengths, 1.0).mean()))
    assert means[0] < means[1] < means[2]


def test_step_token_is_chosen_by_signal_level(monkeypatch):
    """A generator of another schedule: the reward's t is the one whose alpha_bar is nearest, and 0 when clean."""
    schedule = NoiseSchedule(kind="cosine", steps=500)
    bundle = tiny_reward(schedule=schedule)
    reward = DualAlignmentReward(bundle, toy_encoder)
    seen = []
    original = bundle.network.encode_motion
    monkeypatch.setattr(bundle.network, "encode_motion", lambda x, n, t: seen.append(t.tolist()) or original(x, n, t))
    score = reward.prepare(["walk", "run"], mu=1.0, eta=0.0)
    motion, lengths = torch.randn(2, 10, FEATURES), torch.tensor([10, 8])
    for alpha_bar in (1.0, 0.9, 0.31, 1e-6):
        score(motion, lengths, alpha_bar)
        expected = int((schedule.alpha_bar - alpha_bar).abs().argmin())
        assert seen.pop() == [expected] * 2
    assert int((schedule.alpha_bar - 1.0).abs().argmin()) == 0


def test_dual_reward_is_the_weighted_sum_of_its_cosines():
    _, reward = parts(torch.float64)
    texts, lengths, references = prompts(4)
    motion = torch.randn(4, 31, FEATURES, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    token = int(NoiseSchedule().nearest_timestep(0.4))
    latent = reward.bundle.network.encode_motion(motion, lengths, torch.full((4,), token)).mean
    text = reward.text_latents(texts)
    cosines = [torch.cosine_similarity(latent, other, dim=1) for other in (text, references)]
    found = reward.prepare(texts, references, mu=2.0, eta=-3.0)(motion, lengths, 0.4)
    torch.testing.assert_close(found, 2.0 * cosines[0] - 3.0 * cosines[1])
    torch.testing.assert_close(reward.text_latents(texts[:1]), text[:1])


def test_what_is_not_weighted_is_not_computed():
    def refuse(captions):
        raise LookupError("text was encoded")

    reward = DualAlignmentReward(tiny_reward(), refuse)
    motion, lengths = torch.randn(2, 10, FEATURES), torch.tensor([10, 8])
    assert reward.prepare(["a", "b"], torch.randn(2, 16), mu=0.0, eta=1.0)(motion, lengths, 1.0).shape == (2,)
    with pytest.raises(LookupError):
        reward.prepare(["a", "b"], mu=1.0, eta=0.0)


@pytest.mark.parametrize("references", [None, torch.zeros(3, 16), torch.zeros(16)])
def test_motion_reward_needs_one_reference_per_caption(references):
    reward = DualAlignmentReward(tiny_reward(), toy_encoder)
    with pytest.raises(ConfigError, match=r"references|retrieved"):
        reward.prepare(["a", "b"], references, mu=0.0, eta=1.0)


@pytest.mark.parametrize(
    ("omega", "t_min", "t_max", "steps", "expected"),
    [
        (0.5, 1, 1000, (0, 1, 1000), []),
        (0.5, 100, 400, (0, 100, 400, 401, 600), [401]),
        (0.5, 100, 400, (99,), [99]),
        (0.0, 1, 1000, (1, 0, 0), [0]),
        (1.0, 1, 1000, (0, 5, 6), [5]),
    ],
)
def test_levels_outside_the_training_are_named_once(caplog, omega, t_min, t_max, steps, expected):
    bundle = replace(tiny_reward(), omega=omega, t_min=t_min, t_max=t_max)
    reward = DualAlignmentReward(bundle, toy_encoder)
    motion, lengths = torch.zeros(1, 8, FEATURES), torch.tensor([8])
    for step in steps:
        score = reward.prepare(["walks"], mu=1.0, eta=0.0)
        score(motion, lengths, float(bundle.schedule.alpha_bar[step]))
    assert [record.args[0] for record in caplog.records] == expected
