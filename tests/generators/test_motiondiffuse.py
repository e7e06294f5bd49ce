"""MotionDiffuse: network and sampling against the public code's numbers, and the adapter of its public files."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_realign.diffusion.steps import SchedulerSteps
from lightning_realign.errors import CheckpointError, ConfigError, DataError, FeatureSpecError
from lightning_realign.generators import LoadOptions
from lightning_realign.generators.motiondiffuse import MotionDiffuseGenerator, load
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.models.published.motiondiffuse import (
    MotionDiffuseArchitecture,
    MotionDiffuseDenoiser,
    MotionDiffuseText,
)
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import TextFeatures, zero_padding
from tests.helpers.fixed_weights import fixed_input, fixed_state, golden, relative_error
from tests.helpers.guided_toys import FunctionReward

GOLDEN = golden(Path(__file__).parent / "golden" / "motiondiffuse.json")
LENGTHS, ENDS, FRAMES = torch.tensor([24, 17]), (9, 31), 24
SIZES = {"t2m": 263, "kit": 251}
TEXTS = ["a person walks", "somebody jumps"]
# Root channels, contacts last.
SCALED = [0, 1, 2, 3, -4, -3, -2, -1]


def network(features: int, **sizes) -> MotionDiffuseDenoiser:
    module = MotionDiffuseDenoiser(features, MotionDiffuseArchitecture(**sizes)).eval().requires_grad_(False)
    module.load_state_dict(fixed_state({key: tuple(value.shape) for key, value in module.state_dict().items()}))
    return module


def hidden_states(captions) -> TextFeatures:
    """Stand-ins for CLIP's hidden states; the sentence is the end-of-text token's."""
    tokens = fixed_input("clip", 2, 77, 512).float()[: len(captions)]
    sentence = tokens[torch.arange(len(tokens)), list(ENDS[: len(captions)])]
    return TextFeatures(tokens, torch.full((len(tokens),), 77), sentence)


def forward(module: MotionDiffuseDenoiser, name: str, dtype: torch.dtype) -> torch.Tensor:
    module = module.to(dtype)
    text = module.encode_text(fixed_input("clip", 2, 77, 512).to(dtype), torch.tensor(ENDS))
    x = fixed_input(f"x{name}", 2, FRAMES, module.num_features).to(dtype)
    output = module(x, torch.tensor([987, 41]), text, LENGTHS)
    return output if module.architecture.quadratic else zero_padding(output, LENGTHS)


def fake_files(
    root: Path, features: int = 263, opt: str | None = "no_eff: False", frames: int = 196, **changes
) -> Path:
    """A small model in the form of the public files: model/latest.tar, opt.txt and meta/. Returns the checkpoint."""
    folder = root / "t2m_motiondiffuse"
    for part in ("model", "meta"):
        (folder / part).mkdir(parents=True)
    weights = dict(network(features, layers=2, width=64, max_frames=frames).state_dict())
    weights |= {"clip.ln_final.weight": torch.ones(512), "clip.positional_embedding": torch.zeros(77, 512)}
    optimiser = {"state": {0: {"step": 1, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 2e-4, "params": [0]}]}
    content = {"encoder": weights | changes, "opt_encoder": optimiser, "ep": 3, "total_it": 17}
    torch.save(content, folder / "model" / "latest.tar")
    if opt is not None:
        rule = "-------------- End ----------------"
        (folder / "opt.txt").write_text(f"------------ Options -------------\ndataset_name: t2m\n{opt}\n{rule}\n")
    mean, std = raw_statistics(features)
    std[SCALED] /= 25
    np.save(folder / "meta" / "mean.npy", mean.astype(np.float32))
    np.save(folder / "meta" / "std.npy", std.astype(np.float32))
    return folder / "model" / "latest.tar"


def raw_statistics(features: int = 263) -> tuple[np.ndarray, np.ndarray]:
    """Statistics as a data set has them."""
    random = np.random.RandomState(0)
    return random.randn(features), 0.3 + 0.2 * random.rand(features)


def raw_normaliser(features: int = 263) -> Normaliser:
    normaliser = Normaliser(features)
    normaliser.set(*raw_statistics(features))
    return normaliser


def options(statistics=None, **sampling) -> LoadOptions:
    return LoadOptions(SamplingConfig(**sampling), statistics, encode=hidden_states)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_a_forward_is_the_public_one(name, kind):
    """In float32 the public quadratic attention adds rounding noise of its mask, so it is compared with float64."""
    module = network(SIZES[name], layers=2, width=64, quadratic=kind == "quadratic")
    reference = "float32" if kind == "linear" else "float64"
    single = forward(module, name, torch.float32)
    assert relative_error(single, GOLDEN[f"forward_{name}_{kind}_{reference}"]) < 1e-5
    double = forward(module, name, torch.float64)
    assert relative_error(double, GOLDEN[f"forward_{name}_{kind}_float64"]) < 1e-9


def test_a_forward_at_the_published_size_is_the_public_one():
    module = network(263)
    assert sum(parameter.numel() for parameter in module.parameters()) == 87_152_135
    assert len(module.state_dict()) == 383
    assert relative_error(forward(module, "t2m", torch.float32), GOLDEN["published_float32"]) < 1e-5
    assert relative_error(forward(module, "t2m", torch.float64), GOLDEN["published_float64"]) < 1e-9


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_ddpm_steps_are_the_public_ones(tmp_path, kind):
    """20 steps from pure noise and the last 20, with given noise, through the adapter of the public files."""
    checkpoint = fake_files(tmp_path, opt=f"no_eff: {kind == 'quadratic'}", frames=FRAMES)
    generator = load(checkpoint, options()).to(dtype=torch.float64)
    assert (generator.recipe.scheduler, generator.recipe.steps, generator.recipe.cfg_scale) == ("ddpm", 1000, 1.0)
    steps, cond = SchedulerSteps(generator.scheduler, "ddpm", generator.recipe.steps), generator.condition(TEXTS)
    assert steps.timesteps == tuple(range(999, -1, -1))
    for part, first in (("first", 0), ("last", 980)):
        x = run(generator, steps, cond, range(first, first + 20))
        found = x if kind == "quadratic" else zero_padding(x, LENGTHS)
        assert relative_error(found, GOLDEN[f"steps_{kind}_{part}"]) < 1e-6


def run(
    generator: MotionDiffuseGenerator, steps: SchedulerSteps, cond: MotionDiffuseText, indices: range
) -> torch.Tensor:
    """The steps at some indices, from fixed noise with fixed noise."""
    x = fixed_input("start", 2, FRAMES, 263)
    for index in indices:
        t = steps.timesteps[index]
        x = steps.step(index, generator.denoise(x, t, cond, LENGTHS), x, fixed_input(f"noise{t}", *x.shape)).prev
    return x


@pytest.mark.slow
def test_the_whole_sampling_is_the_public_one(tmp_path):
    """All 1000 steps; the public code's coefficients are rounded to float32."""
    generator = load(fake_files(tmp_path, frames=FRAMES), options()).to(dtype=torch.float64)
    steps = SchedulerSteps(generator.scheduler, "ddpm", 1000)
    x = run(generator, steps, generator.condition(TEXTS), range(1000))
    assert relative_error(zero_padding(x, LENGTHS), GOLDEN["steps_linear_all"]) < 1e-5


@pytest.mark.parametrize("quadratic", [False, True])
def test_a_motion_does_not_depend_on_its_batch(tmp_path, quadratic):
    generator = load(fake_files(tmp_path, opt=f"no_eff: {quadratic}"), options()).to(dtype=torch.float64)
    sampler = RewardGuidedSampler(generator, SamplingConfig(steps=4, scheduler="ddpm"))
    both = sampler.sample(TEXTS, torch.tensor([17, 24]), ["a", "b"])
    alone = sampler.sample(TEXTS[:1], torch.tensor([17]), ["a"])
    torch.testing.assert_close(both.features[:1, :17], alone.features, rtol=1e-9, atol=1e-9)
    assert (both.features[0, 17:] == 0).all()
    assert generator.noise_shape(17) == ((196 if quadratic else 17), 263)


def test_linear_attention_does_not_hear_padding():
    module = network(263, layers=2, width=64)
    text = module.encode_text(hidden_states(TEXTS).tokens, torch.tensor(ENDS))
    x = fixed_input("x", 2, FRAMES, 263).float()
    broken = x.clone()
    broken[1, 17:] = math.nan
    one, other = (module(state, torch.tensor([5, 5]), text, LENGTHS) for state in (x, broken))
    torch.testing.assert_close(one[1, :17], other[1, :17], rtol=0, atol=0)


def test_text_is_read_at_its_end(tmp_path):
    """The place is the token that equals the sentence; features without one are another encoder's."""
    generator = load(fake_files(tmp_path), options())
    features = hidden_states(TEXTS)
    expected = generator.denoiser.encode_text(features.tokens, torch.tensor(ENDS))
    found = generator.condition(TEXTS)
    assert torch.equal(found.sentence, expected.sentence)
    assert torch.equal(found.tokens, expected.tokens)
    for sentence in (features.sentence / 2, features.sentence[:, :384]):
        wrong = TextFeatures(features.tokens, features.lengths, sentence)
        other = load(generator_file(tmp_path), LoadOptions(encode=lambda texts, wrong=wrong: wrong))
        with pytest.raises(ConfigError, match="no token equals the sentence; MotionDiffuse reads"):
            other.condition(TEXTS)


def generator_file(root: Path) -> Path:
    return root / "t2m_motiondiffuse" / "model" / "latest.tar"


def test_conversion_to_the_data_sets_scale_keeps_the_signal_at_every_level(tmp_path):
    """The 25-fold channels: the motion that a reward reads is sqrt(alpha_bar) times the motion in its normalisation."""
    generator = load(fake_files(tmp_path), options()).to(dtype=torch.float64)
    target, raw = raw_normaliser(), fixed_input("raw", 2, FRAMES, 263)
    ratio = target.std[SCALED] / generator.normaliser.std[SCALED].float()
    torch.testing.assert_close(ratio, torch.full((8,), 25.0))
    clean = generator.normaliser.normalise(raw)
    expected = zero_padding(target.double().normalise(raw), LENGTHS)
    for alpha_bar in (1.0, *generator.scheduler.alphas_cumprod[::111].tolist()):
        scale = math.sqrt(alpha_bar)
        found = generator.to_motion(scale * clean, alpha_bar, LENGTHS, target)
        torch.testing.assert_close(found, scale * expected, rtol=1e-6, atol=1e-6)
        noise = fixed_input("noise", 2, FRAMES, 263)
        noisy = generator.to_motion(scale * clean + noise, alpha_bar, LENGTHS, target) - found
        torch.testing.assert_close(noisy[0, :, :4], noise[0, :, :4] / 25, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(noisy[0, :, 4:259], noise[0, :, 4:259], rtol=1e-4, atol=1e-5)


def test_a_reward_at_x0_reads_the_very_motion(tmp_path, caplog):
    generator = load(fake_files(tmp_path, opt="diffusion_steps: 40"), options()).to(dtype=torch.float64)
    seen = []

    def remember(motion, alpha_bar):
        seen.append(motion.detach())
        return motion.square().sum(dim=(1, 2))

    reward = FunctionReward(remember)
    reward.normaliser = raw_normaliser().double()
    with caplog.at_level(logging.WARNING):
        sampler = RewardGuidedSampler(generator, guidance=GuidanceConfig(mu=1e-12, location="x0"), reward=reward)
        result = sampler.sample(TEXTS, LENGTHS, ["a", "b"])
    assert len(seen) == 40
    assert not caplog.records
    expected = zero_padding(reward.normaliser.normalise(result.features), LENGTHS)
    torch.testing.assert_close(seen[-1], expected, rtol=1e-6, atol=1e-6)
    with caplog.at_level(logging.WARNING):
        RewardGuidedSampler(generator, guidance=GuidanceConfig(mu=1.0, location="x_t"), reward=reward)
    assert "0.04 to 1.00 times the scale of the reward's" in caplog.text


def test_public_files_say_what_the_model_is(tmp_path):
    plain = load(fake_files(tmp_path / "a", opt=None), options())
    assert not plain.denoiser.architecture.quadratic
    assert (plain.skeleton, plain.evaluations, plain.latents) == ("humanml3d", 1, None)
    kit = load(
        fake_files(tmp_path / "b", 251, "no_eff: True\ndiffusion_steps: 500\nbatch_size: 128"), options(steps=50)
    )
    assert kit.denoiser.architecture.quadratic
    assert kit.skeleton == "kit"
    assert (kit.recipe.scheduler, kit.recipe.steps) == ("ddpm", 50)
    assert kit.scheduler.config.num_train_timesteps == 500
    levels = kit.scheduler.alphas_cumprod
    np.testing.assert_allclose([1 - levels[0], 1 - levels[-1] / levels[-2]], [2e-4, 0.04])


def test_statistics_of_the_data_set_serve_where_the_models_own_are_missing(tmp_path):
    checkpoint = fake_files(tmp_path)
    own = load(checkpoint, options()).normaliser
    meta = checkpoint.parent.parent / "meta"
    meta.rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match="set statistics to the folder"):
        load(checkpoint, options())
    for name, values in zip(("Mean", "Std"), raw_statistics(), strict=True):
        np.save(tmp_path / f"{name}.npy", values)
    made = load(checkpoint, options(statistics=tmp_path)).normaliser
    torch.testing.assert_close(made.std, own.std)
    torch.testing.assert_close(made.mean, own.mean)
    for name, values in (("Mean", own.mean), ("Std", own.std)):
        np.save(tmp_path / f"{name}.npy", values.numpy())
    with pytest.raises(DataError, match="these are an evaluator's or a generator's statistics, give the data set's"):
        load(checkpoint, options(statistics=tmp_path))


def test_statistics_that_were_not_scaled_are_refused(tmp_path):
    checkpoint = fake_files(tmp_path)
    np.save(checkpoint.parent.parent / "meta" / "std.npy", raw_statistics()[1])
    with pytest.raises(DataError, match=r"std\.npy: the contacts' deviation 0\.\d+ is above 0\.02, .*divided by 25"):
        load(checkpoint, options())
    np.save(checkpoint.parent.parent / "meta" / "std.npy", np.zeros(263))
    with pytest.raises(DataError, match=r"meta: Std\[0\] is 0"):
        load(checkpoint, options())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opt": "no_eff: maybe"}, r"opt\.txt: no_eff is 'maybe', neither True nor False"),
        ({"opt": "no_clip: True"}, r"opt\.txt: no_clip is 'True', so the model has a text encoder of its own"),
        ({"opt": "diffusion_steps: many"}, r"opt\.txt: diffusion_steps is 'many', not a number"),
        ({"opt": "diffusion_steps: 20"}, r"opt\.txt: diffusion_steps is 20, not a whole number above 20"),
        ({"opt": "feat_bias: nan"}, r"opt\.txt: feat_bias is nan, not a number of at least 1"),
    ],
)
def test_bad_options_are_one_line(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(fake_files(tmp_path, **changes), options())
    assert "\n" not in str(caught.value)


def test_other_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="1 of another shape"):
        load(fake_files(tmp_path / "a", **{"out.bias": torch.zeros(7)}), options())
    with pytest.raises(CheckpointError, match=r"1 surplus \('extra'\)"):
        load(fake_files(tmp_path / "b", extra=torch.zeros(7)), options())
    with pytest.raises(CheckpointError, match="its motions have 99 features, the published models' 263"):
        load(fake_files(tmp_path / "c", 99), options())
    torch.save({"encoder": {"weight": torch.zeros(2)}}, tmp_path / "other.tar")
    with pytest.raises(CheckpointError, match=r"other\.tar: is no MotionDiffuse model"):
        load(tmp_path / "other.tar", options())


def test_what_it_cannot_do_is_refused(tmp_path):
    checkpoint = fake_files(tmp_path)
    with pytest.raises(ConfigError, match=r"cfg_scale=2\.5: MotionDiffuse was never trained without text"):
        load(checkpoint, options(cfg_scale=2.5))
    generator = load(checkpoint, options(cfg_scale=1.0))
    with pytest.raises(FeatureSpecError, match="a motion of 197 frames: this generator makes at most 196"):
        generator.noise_shape(197)
    with pytest.raises(ConfigError, match="width=12: must be even and a multiple of heads=8"):
        MotionDiffuseArchitecture(width=12)
