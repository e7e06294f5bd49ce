"""A sampling loop of one's own, guided by `RewardGuide`: the same motions as the project's sampler."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lightning_realign import GuidanceConfig, RewardGuide, RewardGuidedSampler, SamplingConfig
from lightning_realign.diffusion.noise import SampleNoise
from lightning_realign.errors import ConfigError
from lightning_realign.guidance.prompts import Prompts
from tests.helpers.guided_toys import FunctionReward, GaussianGenerator, tiny_diffusion, zero_padding

LENGTHS = torch.tensor([2, 3])
TEXTS, IDS, STEPS = ("a", "b"), ("one", "two"), 10


def slope(motion, alpha_bar):
    """Depends on the level, so that a wrong one shows."""
    return (1 + alpha_bar) * 0.3 * zero_padding(motion, LENGTHS).square().sum((1, 2))


def own_loop(guidance, guided_output=False):
    """DDIM of diffusers with the exact denoiser of a Gaussian, and the guide's two lines in it."""
    generator = GaussianGenerator()
    guide = RewardGuide(FunctionReward(slope), TEXTS, LENGTHS, guidance)
    scheduler = generator.scheduler
    scheduler.set_timesteps(STEPS)
    pipeline = SimpleNamespace(scheduler=scheduler)
    shapes = [generator.noise_shape(int(n)) for n in LENGTHS]
    x = SampleNoise(1234, IDS, 0, shapes, device=torch.device("cpu"), dtype=torch.float64).draw()
    for step, t in enumerate(scheduler.timesteps):
        output = generator.denoise(x, int(t), None, LENGTHS)
        if guided_output:
            output = guide.output(output, x, float(scheduler.alphas_cumprod[t]))
        x = scheduler.step(output, int(t), x).prev_sample
        if not guided_output:
            x = guide.on_step_end(pipeline, step, t, {"latents": x})["latents"]
    return x


def project(guidance):
    reward = FunctionReward(slope)
    sampler = RewardGuidedSampler(GaussianGenerator(), SamplingConfig(steps=STEPS), guidance, reward)
    return sampler.sample_states(Prompts(TEXTS, LENGTHS, IDS)).states


@pytest.mark.parametrize("max_norm", [None, 0.05])
def test_guided_output_is_score_at_x_t(max_norm):
    guidance = GuidanceConfig(mu=0.5, scale="score", location="x_t", max_norm=max_norm)
    torch.testing.assert_close(own_loop(guidance, guided_output=True), project(guidance), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("window", [{}, {"start": 0.8, "stop": 0.2, "every": 2}])
def test_a_callback_of_diffusers_is_constant_at_x_prev(window):
    guidance = GuidanceConfig(mu=0.05, scale="constant", location="x_prev", **window)
    found = own_loop(guidance)
    torch.testing.assert_close(found, project(guidance), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found, own_loop(GuidanceConfig(scale="constant", location="x_prev")))


def test_states_of_another_space_are_converted():
    """With `to_motion` the gradient goes back through the conversion."""
    guidance = GuidanceConfig(mu=1.0)
    guide = RewardGuide(FunctionReward(slope), TEXTS, LENGTHS, guidance, to_motion=lambda x, alpha_bar: 3.0 * x)
    plain = RewardGuide(FunctionReward(slope), TEXTS, LENGTHS, guidance)
    x = torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(guide.gradient(x, 0.4), 9.0 * plain.gradient(x, 0.4))


def test_what_does_not_fit_is_refused():
    reward = FunctionReward(slope)
    with pytest.raises(ConfigError, match="takes score at x_t, or constant at x_prev"):
        RewardGuide(reward, TEXTS, LENGTHS, GuidanceConfig(mu=1.0, scale="moment", location="x0"))
    guide = RewardGuide(reward, TEXTS, LENGTHS, GuidanceConfig(mu=1.0, scale="constant", location="x_prev"))
    with pytest.raises(ConfigError, match="guides with scale score at x_t, but the settings say constant at x_prev"):
        guide.output(torch.zeros(2, 3, 6), torch.zeros(2, 3, 6), 0.5)


def test_a_reward_of_latents_needs_a_conversion():
    reward = FunctionReward(slope)
    reward.latents = tiny_diffusion().latents
    with pytest.raises(ConfigError, match=r"reads latents of the VAE .* give a reward of space motion"):
        RewardGuide(reward, TEXTS, LENGTHS, GuidanceConfig(mu=1.0))
    RewardGuide(reward, TEXTS, LENGTHS, GuidanceConfig(mu=1.0), to_motion=lambda x, alpha_bar: x)
