"""The steps of consistency models beside diffusers' own scheduler, and guidance on them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from diffusers.schedulers import scheduling_lcm

from lightning_realign.diffusion import NoiseSchedule, make_scheduler
from lightning_realign.diffusion.steps import ConsistencySteps, SchedulerSteps, make_steps
from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.generators.base import LoadOptions, Recipe
from lightning_realign.generators.motionlcm import ConsistencyGenerator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.models import LatentDenoiser
from lightning_realign.models.denoiser import DenoiserArchitecture, guidance_embedding
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from tests.helpers.guided_toys import FEATURES, FunctionReward, GaussianGenerator, tiny_diffusion, toy_encoder

REPEATED = (699, 399, 299, 299)
LENGTHS = torch.tensor([12, 7, 9])


def scheduler(prediction="epsilon"):
    return make_scheduler("ddim", NoiseSchedule(), prediction)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("timesteps", [(999,), (699, 299), REPEATED, (999, 759, 499, 259, 19)])
def test_steps_are_diffusers_with_the_same_noise(monkeypatch, timesteps, prediction):
    random = torch.Generator().manual_seed(0)
    x, output = (torch.randn(3, 2, 5, generator=random, dtype=torch.float64) for _ in range(2))
    noises = [torch.randn(3, 2, 5, generator=random, dtype=torch.float64) for _ in timesteps]
    drawn = iter(noises)
    monkeypatch.setattr(scheduling_lcm, "randn_tensor", lambda *_, **__: next(drawn))
    reference = scheduling_lcm.LCMScheduler(clip_sample=False, prediction_type=prediction)
    reference.alphas_cumprod = NoiseSchedule().alpha_bar[1:]
    reference.set_timesteps(len(timesteps))
    reference.timesteps = torch.tensor(timesteps)
    steps = make_steps(scheduler(prediction), "lcm", len(timesteps), timesteps=timesteps)
    state = x
    for index, t in enumerate(timesteps):
        step = steps.step(index, output + 0.1 * state, state, noises[index] if steps.sigma[index] > 0 else None)
        wanted = reference.step(output + 0.1 * state, t, state)
        torch.testing.assert_close(step.prev, wanted.prev_sample, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(step.x0, wanted.denoised, rtol=1e-12, atol=1e-12)
        state = step.prev


def test_levels():
    steps = make_steps(scheduler(), "lcm", 4, timesteps=REPEATED)
    levels = NoiseSchedule().alpha_bar
    assert steps.timesteps == REPEATED
    assert steps.alpha_bar == tuple(float(levels[t + 1]) for t in REPEATED)
    assert steps.alpha_bar_next == (*steps.alpha_bar[1:], 1.0)
    assert steps.sigma == (*(math.sqrt(1 - level) for level in steps.alpha_bar[1:]), 0.0)
    assert steps.timestep_tensor().tolist() == list(REPEATED)


def test_a_guided_output_moves_the_prediction_by_the_score():
    steps = make_steps(scheduler(), "lcm", 2, timesteps=(699, 299))
    x, output, gradient, noise = torch.randn(4, 2, 3, 5, dtype=torch.float64)
    plain = steps.step(0, output, x, noise)
    moved = steps.step(0, steps.guide_output(0, output, gradient), x, noise)
    signal = steps.alpha_bar[0]
    # c_out is 1 to 3e-9 at t = 699.
    torch.testing.assert_close(moved.x0 - plain.x0, (1 - signal) / math.sqrt(signal) * gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timesteps": None}, "steps=2: the generator has no timesteps for it"),
        ({"timesteps": (1000, 3)}, r"timesteps=\[1000, 3\]: need at least one in 0 to 999"),
        ({"timesteps": (3, 5)}, "none above the one before it"),
        ({"timesteps": (5, -1)}, "0 to 999"),
        ({"timesteps": (5, 3, 1)}, "steps=2, but the generator was set up for 3"),
        ({"timesteps": (5, 3), "ddim_eta": 0.5}, "ddim_eta=0.5: need 0 with lcm"),
        ({"timesteps": (5, 5), "name": "ddim"}, "0 to 999, and each below the one before it"),
        ({"timesteps": (5, 3, 1), "name": "ddpm"}, "steps=2, but the generator was set up for 3"),
        ({"name": "euler"}, "scheduler='euler' is unknown; use one of ddim, ddpm, lcm"),
    ],
)
def test_bad_settings(settings, message):
    values = {"name": "lcm", "steps": 2} | settings
    with pytest.raises(ConfigError, match=message):
        make_steps(scheduler(), **values)


def test_the_other_samplers_are_unchanged():
    steps = make_steps(scheduler(), "ddpm", 20)
    assert isinstance(steps, SchedulerSteps)
    assert steps.sigma == SchedulerSteps(scheduler(), "ddpm", 20).sigma


def with_recipe(generator, timesteps):
    generator.recipe = Recipe("lcm", len(timesteps), 1.0, timesteps)
    return generator


@pytest.mark.parametrize("location", ["x_t", "x_prev", "x0"])
@pytest.mark.parametrize("scale", ["score", "posterior", "constant"])
def test_guidance_asks_at_the_right_level_and_raises_the_reward(location, scale):
    generator = with_recipe(GaussianGenerator(), REPEATED)
    reward = FunctionReward(lambda motion, _: -(motion - 2.0).square().mean(dim=(1, 2)))
    config = GuidanceConfig(mu=20.0, scale=scale, location=location)
    lengths, texts = torch.tensor([12, 12]), ["a", "b"]
    guided = RewardGuidedSampler(generator, guidance=config, reward=reward).sample(texts, lengths).features
    plain = RewardGuidedSampler(generator).sample(texts, lengths).features
    steps = ConsistencySteps(generator.scheduler, REPEATED)
    assert reward.levels == list({"x_t": steps.alpha_bar, "x_prev": steps.alpha_bar_next, "x0": (1.0,) * 4}[location])
    assert guided.isfinite().all()
    assert (reward.function(guided, 1.0) > reward.function(plain, 1.0) + 0.05).all()


def test_one_step_has_no_posterior_scale():
    generator = with_recipe(GaussianGenerator(), (799,))
    reward = FunctionReward(lambda motion, _: motion.mean(dim=(1, 2)))
    with pytest.raises(ConfigError, match="posterior"):
        RewardGuidedSampler(generator, guidance=GuidanceConfig(mu=1.0, scale="posterior"), reward=reward)


def consistency_bundle():
    """A tiny latent model whose denoiser hears the guidance scale."""
    bundle = tiny_diffusion()
    settings = dataclasses.asdict(bundle.denoiser.architecture) | {"guidance_size": 8}
    torch.manual_seed(4)
    return dataclasses.replace(bundle, denoiser=LatentDenoiser(2, 8, 8, **settings))


def test_a_guided_consistency_generator():
    recipe = Recipe("lcm", 4, 13.5, REPEATED)
    generator = ConsistencyGenerator(consistency_bundle(), recipe, LoadOptions(encode=toy_encoder))
    reward = FunctionReward(lambda motion, _: motion.sum(dim=(1, 2)) / 50)
    config, texts = GuidanceConfig(mu=5.0, scale="score", location="x0"), ["walk", "run", "jump"]
    plain = RewardGuidedSampler(generator).sample(texts, LENGTHS)
    guided = RewardGuidedSampler(generator, guidance=config, reward=reward).sample(texts, LENGTHS)
    assert guided.features.shape == (3, 12, FEATURES)
    assert guided.timesteps.tolist() == list(REPEATED)
    assert guided.rewards.isfinite().all()
    assert (reward.function(guided.features, 1.0) > reward.function(plain.features, 1.0)).all()
    alone = RewardGuidedSampler(generator, guidance=config, reward=reward).sample(texts[1:2], LENGTHS[1:2])
    torch.testing.assert_close(alone.features, guided.features[1:2, :7], rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="steps=2: the generator has no timesteps"):
        RewardGuidedSampler(generator, SamplingConfig(steps=2))


def test_the_denoiser_hears_the_scale():
    denoiser = consistency_bundle().denoiser.eval()
    x, text, t = torch.randn(3, 2, 8), torch.randn(3, 8), torch.tensor(299)
    weights = torch.tensor([5.0, 5.0, 9.0])
    outputs = denoiser(x, t, text, weights)
    torch.testing.assert_close(outputs[:2], denoiser(x, t, text, weights.new_full((3,), 5.0))[:2])
    assert not torch.allclose(outputs[2], denoiser(x, t, text, weights.new_full((3,), 5.0))[2])
    with pytest.raises(FeatureSpecError, match="needs a guidance weight"):
        denoiser(x, t, text)
    with pytest.raises(FeatureSpecError, match="guidance_size is 0"):
        tiny_diffusion().denoiser(x, t, text, weights)


def test_the_embedding_of_the_scale():
    """Frequencies fall from 1 to 1 / 10000; float32 angles of thousands are off by less than 1e-3."""
    w = torch.tensor([0.0, 5.0, 12.5])
    exact = 1000 * w.double()[:, None] * 10000.0 ** -(torch.arange(128, dtype=torch.float64) / 127)
    found = guidance_embedding(w, 256)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), torch.cat((exact.sin(), exact.cos()), dim=1), rtol=0, atol=1e-3)


def test_architectures_of_older_checkpoints_have_no_scale():
    old = {name: value for name, value in dataclasses.asdict(DenoiserArchitecture()).items() if name != "guidance_size"}
    assert DenoiserArchitecture(**old) == DenoiserArchitecture()
    assert DenoiserArchitecture().guidance_size == 0


@pytest.mark.parametrize("size", [-2, 2, 7])
def test_sizes_that_embed_nothing(size):
    with pytest.raises(ConfigError, match=f"guidance_size={size}"):
        LatentDenoiser(1, 8, 8, width=16, layers=3, heads=2, guidance_size=size)
