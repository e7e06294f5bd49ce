"""The sampler on models whose denoiser, reward and guided distribution are known in closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from lightning_realign.diffusion.noise import SampleNoise
from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.guidance.scales import parts_of
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from tests.helpers.guided_toys import FEATURES, FunctionReward, GaussianGenerator

SCALES, LOCATIONS = ("score", "posterior", "constant"), ("x_t", "x_prev", "x0")
LENGTHS = torch.tensor([2, 3])
TEXTS, IDS = ("a", "b"), ("one", "two")


def linear_reward(motion, alpha_bar):
    """A level-dependent slope, so that a wrong step token shows."""
    return (1 + alpha_bar) * 0.3 * motion.sum((1, 2))


def run(config=None, reward=None, generator=None, lengths=LENGTHS, texts=TEXTS, ids=IDS, **options):
    sampler = RewardGuidedSampler(generator or GaussianGenerator(), SamplingConfig(**options), config, reward)
    return sampler.sample_states(Prompts(texts, lengths, ids))


def reference_run(generator, scale, location, steps, stochastic, seed=1234):
    """Algorithm 2 written out plainly, for a linear reward of slope 0.3 (1 + alpha_bar) at valid frames."""
    shapes = [generator.noise_shape(int(n)) for n in LENGTHS]
    stream = SampleNoise(seed, IDS, 0, shapes, device=torch.device("cpu"), dtype=torch.float64)
    valid = torch.arange(3)[None, :, None] < LENGTHS[:, None, None]
    x, stride = stream.draw(), 1000 // steps
    for t in range((steps - 1) * stride + 1, 0, -stride):
        a = float(generator.levels[t])
        last = t - stride < 0
        after = (1.0 if stochastic else float(generator.levels[0])) if last else float(generator.levels[t - stride])
        sigma = math.sqrt((1 - after) / (1 - a) * (1 - a / after)) if stochastic else 0.0
        eps = generator.denoise(x, t, None, LENGTHS)
        z = stream.draw() if sigma > 0 else torch.zeros_like(x)

        def step(eps, x=x, a=a, after=after, sigma=sigma, z=z):
            clean = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
            return math.sqrt(after) * clean + math.sqrt(1 - after - sigma**2) * eps + sigma * z

        level = {"x_t": a, "x_prev": 1.0 if last else after, "x0": 1.0}[location]
        gradient = 0.3 * (1 + level) * valid.expand_as(x).double()
        if scale == "score":
            x = step(eps - math.sqrt(1 - a) * gradient)
        else:
            x = step(eps) + (sigma**2 if scale == "posterior" else 1.0) * gradient
    return x


@pytest.mark.parametrize(
    ("scheduler", "scale", "location"),
    # the posterior scale is an error with DDIM at eta 0, tested below
    [case for case in itertools.product(("ddim", "ddpm"), SCALES, LOCATIONS) if case[:2] != ("ddim", "posterior")],
)
def test_update_of_every_scale_and_location(scheduler, scale, location):
    generator = GaussianGenerator()
    config = GuidanceConfig(mu=1.0, scale=scale, location=location)
    found = run(config, FunctionReward(linear_reward), generator, steps=10, scheduler=scheduler).states
    expected = reference_run(generator, scale, location, 10, scheduler == "ddpm")
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_predicted_clean_state_is_guided_like_predicted_noise(scheduler):
    config = GuidanceConfig(mu=0.8, location="x_prev")
    runs = [
        run(config, FunctionReward(linear_reward), GaussianGenerator(prediction=kind), steps=10, scheduler=scheduler)
        for kind in ("epsilon", "sample")
    ]
    torch.testing.assert_close(runs[0].states, runs[1].states, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("scheduler", "scale", "steps", "tolerance"),
    [("ddim", "score", 100, 2e-3), ("ddpm", "score", 100, 2e-3), ("ddpm", "posterior", 1000, 0.03)],
)
def test_linear_reward_shifts_the_mean_by_variance_times_slope(scheduler, scale, steps, tolerance):
    """exp(w x_0) tilts N(m, s^2) to N(m + s^2 w, s^2); its h-transform is R_t(x_t) = w E[x_0 | x_t]."""
    generator, slope = GaussianGenerator(), 3.0
    reward = FunctionReward(lambda x, level: slope * generator.posterior_mean(x, level).sum((1, 2)))
    options = {"steps": steps, "scheduler": scheduler, "lengths": torch.tensor([1, 1])}
    shift = run(GuidanceConfig(mu=1.0, scale=scale), reward, generator, **options).states - run(**options).states
    # the score is affine and the noise the same, so the difference of two runs is the shift, without sampling error
    # x_T is drawn unshifted; what the last level's signal then lacks, DDIM transports to x_0 and DDPM all but forgets
    signal = float(generator.levels[-1])
    memory = generator.std if scheduler == "ddim" else math.sqrt(signal) * generator.std**2
    expected = slope * generator.std**2 * (1 - math.sqrt(signal) * memory)
    torch.testing.assert_close(shift, torch.full_like(shift, expected), rtol=tolerance, atol=0.0)


def test_quadratic_reward_gives_the_product_of_gaussians():
    """exp(-k (x_0 - c)^2 / 2) N(m, s^2) has precision 1/s^2 + k; h_t(x_t) is Gaussian in E[x_0 | x_t]."""
    generator, k, c = GaussianGenerator(mean=0.5, std=0.8), 4.0, -1.0

    def reward(x, level):
        mean, variance = generator.posterior_mean(x, level), generator.posterior_variance(level)
        return -(k / 2) * ((mean - c) ** 2).sum((1, 2)) / (1 + k * variance)

    options = {"steps": 500, "lengths": torch.tensor([1, 1])}
    first, second = run(GuidanceConfig(mu=1.0), FunctionReward(reward), generator, **options).states.flatten(1)
    noise = SampleNoise(1234, IDS, 0, [(1, FEATURES)] * 2, device=torch.device("cpu"), dtype=torch.float64).draw()
    starts = noise.flatten(1)
    deviation = (first - second) / (starts[0] - starts[1])  # DDIM transports N(0, 1) to the target by an affine map
    precision = 1 / generator.std**2 + k
    mean = (generator.mean / generator.std**2 + k * c) / precision
    torch.testing.assert_close(deviation, torch.full_like(deviation, precision**-0.5), rtol=0.02, atol=0.0)
    torch.testing.assert_close(first - deviation * starts[0], torch.full_like(first, mean), rtol=0.0, atol=0.03)


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_without_weights_the_reward_is_never_asked(scheduler):
    reward = FunctionReward(linear_reward)
    plain = run(steps=10, scheduler=scheduler)
    zero = run(GuidanceConfig(), reward, steps=10, scheduler=scheduler)
    assert torch.equal(plain.states, zero.states)
    assert reward.prepared == 0
    assert reward.levels == []
    assert zero.rewards.isnan().all()


def test_one_reward_evaluation_per_guided_step_at_the_tensors_level():
    levels = GaussianGenerator().levels
    steps = [981 - 20 * i for i in range(50)]
    before = [float(levels[t]) for t in steps]
    expected = {"x_t": before, "x_prev": [*before[1:], 1.0], "x0": [1.0] * 50}
    for location, want in expected.items():
        reward = FunctionReward(linear_reward)
        run(GuidanceConfig(mu=1.0, location=location), reward)
        assert reward.levels == pytest.approx(want, rel=1e-12)


def test_window_and_every():
    config = GuidanceConfig(mu=1.0, start=0.8, stop=0.2, every=2)
    reward = FunctionReward(linear_reward)
    seen = []
    sampler = RewardGuidedSampler(GaussianGenerator(), SamplingConfig(steps=10), guidance=config, reward=reward)
    sampler.sample_states(Prompts(TEXTS, LENGTHS, IDS), callback=lambda t, r: seen.append((t, r)))
    reward.levels.clear()
    result = sampler.sample(TEXTS, LENGTHS, IDS)
    guided = [False, False, True, False, True, False, True, False, False, False]
    assert (~result.rewards.isnan()).all(0).tolist() == guided
    assert len(reward.levels) == sum(guided)
    assert [t for t, _ in seen] == result.timesteps.tolist() == list(range(901, 0, -100))
    assert torch.equal(torch.stack([r for _, r in seen], 1).nan_to_num(), result.rewards.nan_to_num())
    assert result.features.shape == (2, 3, FEATURES)
    assert (result.features[0, 2:] == 0).all()


def test_norm_limit_is_per_sample_and_leaves_short_gradients():
    generator = GaussianGenerator()
    slopes = torch.tensor([0.01, 100.0])
    reward = FunctionReward(lambda x, _: slopes * x.sum((1, 2)))
    options = {"steps": 1, "lengths": torch.tensor([2, 2])}
    config = GuidanceConfig(mu=1.0, scale="constant", max_norm=0.5)
    moved = run(config, reward, generator, **options).states - run(generator=generator, **options).states
    norms = moved.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.tensor([0.01 * math.sqrt(2 * FEATURES), 0.5], dtype=torch.float64))


def test_norm_limit_of_a_vanishing_gradient_is_finite():
    reward = FunctionReward(lambda x, _: 0.0 * x.sum((1, 2)))
    assert run(GuidanceConfig(mu=1.0, max_norm=1.0), reward, steps=2).states.isfinite().all()


def test_noise_of_a_motion_does_not_depend_on_its_batch():
    """States of different lengths are padded, and the noise is drawn at each sample's own shape."""
    config, reward = GuidanceConfig(mu=1.0), FunctionReward(linear_reward)
    both = run(config, reward, steps=10, scheduler="ddpm").states
    alone = run(config, reward, steps=10, scheduler="ddpm", lengths=LENGTHS[:1], texts="a", ids=IDS[:1]).states
    torch.testing.assert_close(both[:1, :2], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mu": math.nan}, "mu=nan"),
        ({"eta": math.inf}, "eta=inf"),
        ({"scale": "linear"}, "scale='linear' is unknown; use one of score, posterior, constant"),
        ({"location": "x"}, "location='x' is unknown; use one of x_t, x_prev, x0"),
        ({"start": 0.2, "stop": 0.4}, "window"),
        ({"start": 1.5}, "window"),
        ({"every": 0}, "every=0"),
        ({"max_norm": -1.0}, "max_norm=-1.0"),
        ({"max_norm": math.nan}, "max_norm=nan"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        parts_of(GuidanceConfig(**settings))


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ({"mu": 1.0, "scale": "posterior"}, {}, "DDIM with eta 0"),
        ({"mu": 1.0, "start": 0.55, "stop": 0.52}, {"steps": 10}, "holds none of the 10 steps"),
        ({"mu": 1.0}, {"scheduler": "euler"}, "scheduler='euler'"),
        ({"mu": 1.0}, {"scheduler": "ddpm", "ddim_eta": 0.5}, "ddim_eta=0.5"),
        ({"mu": 1.0}, {"steps": 0}, "steps is 0"),
        ({"mu": 1.0}, {"steps": 1001}, "steps=1001"),
        ({"mu": 1.0}, {"reward": None}, "needs a reward model"),
    ],
)
def test_contradictions_are_found_before_sampling(config, options, message):
    reward = options.pop("reward", FunctionReward(linear_reward))
    with pytest.raises(ConfigError, match=message):
        RewardGuidedSampler(GaussianGenerator(), SamplingConfig(**options), GuidanceConfig(**config), reward)


def test_posterior_scale_runs_with_stochastic_ddim():
    config = GuidanceConfig(mu=1.0, scale="posterior")
    assert run(config, FunctionReward(linear_reward), steps=10, ddim_eta=0.5).states.isfinite().all()


def test_skeletons_must_agree():
    reward = FunctionReward(linear_reward)
    reward.skeleton = "kit"
    with pytest.raises(FeatureSpecError, match="'kit', the generator has 'humanml3d'"):
        RewardGuidedSampler(GaussianGenerator(), guidance=GuidanceConfig(mu=1.0), reward=reward)


def test_inference_mode_is_refused_and_no_grad_is_not():
    sampler = RewardGuidedSampler(
        GaussianGenerator(),
        SamplingConfig(steps=5),
        guidance=GuidanceConfig(mu=1.0),
        reward=FunctionReward(linear_reward),
    )
    with torch.inference_mode(), pytest.raises(ConfigError, match="inference_mode=False"):
        sampler.sample(TEXTS, LENGTHS, IDS)
    with torch.no_grad():
        inside = sampler.sample(TEXTS, LENGTHS, IDS).features
    with torch.enable_grad():
        outside = sampler.sample(TEXTS, LENGTHS, IDS).features
    assert torch.equal(inside, outside)
    assert not outside.requires_grad


@pytest.mark.parametrize(
    ("texts", "lengths", "ids"), [("a", [1, 2], None), ("ab", [1, 2], ["x"]), ("a", [0], None), ("", [], None)]
)
def test_inputs_that_do_not_fit(texts, lengths, ids):
    with pytest.raises(ConfigError, match="sampler"):
        RewardGuidedSampler(GaussianGenerator(), SamplingConfig(steps=5)).sample(texts, torch.tensor(lengths), ids)
