"""ReMoDiffuse: network, mixture and sampling against the public code's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.diffusion.steps import make_steps
from lightning_realign.generators import Recipe
from lightning_realign.generators.network import GeneratorSpec
from lightning_realign.generators.remodiffuse.database import DatabaseForm, RetrievalDatabase
from lightning_realign.generators.remodiffuse.generator import Branch, ReMoDiffuseGenerator, coin, published_timesteps
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.inference.counting import CountingGenerator
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.types import zero_padding
from tests.helpers.fixed_weights import fixed_input, golden, relative_error
from tests.helpers.guided_toys import FunctionReward
from tests.helpers.published_remodiffuse import FRAMES, TEXTS, arrays, generator_of, network, options, raw_statistics

GOLDEN = golden(Path(__file__).parent / "golden" / "remodiffuse.json")
LENGTHS = torch.tensor([24, 17])
READS = {"both": (True, True), "text": (True, False), "retr": (False, True), "none": (False, False)}


@pytest.mark.parametrize("features", [263, 251])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-9)])
def test_a_forward_is_the_public_one(tmp_path, features, dtype, tolerance):
    """With and without caption and retrieved motions, and mixed, for two motions of other lengths and timesteps."""
    generator = generator_of(tmp_path, features, getattr(torch, dtype))
    cond, x = generator.condition(TEXTS), fixed_input(f"x{features}", 2, FRAMES, features).to(generator.dtype)
    found, steps = generator.retrieved(cond, LENGTHS), torch.tensor([987, 57])
    for name, reads in READS.items():
        output = generator.denoiser(x, steps, cond.text, found, LENGTHS, torch.tensor([reads, reads]))
        assert relative_error(zero_padding(output, LENGTHS), GOLDEN[f"{name}_{features}_{dtype}"]) < tolerance
    for name, steps in zip(("mixed", "mixed_reversed"), GOLDEN["mixed_at"], strict=True):
        output = torch.cat([generator.denoise(x, t, cond, LENGTHS)[row : row + 1] for row, t in enumerate(steps)])
        assert relative_error(zero_padding(output, LENGTHS), GOLDEN[f"{name}_{features}_{dtype}"]) < tolerance


def test_a_forward_at_the_published_size_is_the_public_one(tmp_path):
    module = network(width=512, layers=4, max_frames=196)
    assert sum(parameter.numel() for parameter in module.parameters()) == 47_228_935
    assert len(module.state_dict()) == 241
    np.savez(tmp_path / "database.npz", **arrays(263, 512, 196))
    stored = RetrievalDatabase(tmp_path / "database.npz", DatabaseForm(512, 512, 196, 263))
    recipe = Recipe("ddim", 50, 7.5, published_timesteps())
    spec = GeneratorSpec("humanml3d", NoiseSchedule("linear", 1e-4, 0.02), "sample", "clip-vit-base-patch32", recipe)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        generator = ReMoDiffuseGenerator(spec, module.to(dtype), stored, Normaliser(263), options())
        x, cond = fixed_input("x263", 2, FRAMES, 263).to(dtype), generator.condition(TEXTS)
        output = torch.cat([generator.denoise(x, t, cond, LENGTHS)[row : row + 1] for row, t in enumerate((987, 57))])
        assert relative_error(zero_padding(output, LENGTHS), GOLDEN[f"published_{str(dtype)[6:]}"]) < tolerance


def test_steps_are_the_public_ones(tmp_path):
    """20 steps from pure noise, the last 10, and all 50; the first are coarse, the last fine."""
    generator = generator_of(tmp_path)
    recipe = generator.recipe
    assert list(recipe.timesteps) == GOLDEN["timesteps"] == list(published_timesteps())
    assert (recipe.scheduler, recipe.steps, recipe.cfg_scale) == ("ddim", 50, 7.5)
    walk = make_steps(generator.scheduler, recipe.scheduler, recipe.steps, timesteps=recipe.timesteps)
    for name, indices in (("first", range(20)), ("last", range(40, 50)), ("all", range(50))):
        x, cond = fixed_input("start", 2, FRAMES, 263), generator.condition(TEXTS)
        for index in indices:
            x = walk.step(index, generator.denoise(x, walk.timesteps[index], cond, LENGTHS), x, None).prev
        assert relative_error(zero_padding(x, LENGTHS), GOLDEN[f"steps_{name}"]) < 1e-6


def test_a_motion_does_not_depend_on_its_batch(tmp_path):
    generator = generator_of(tmp_path)
    sampler = RewardGuidedSampler(generator)
    both = sampler.sample(TEXTS, torch.tensor([17, 24]), ["a", "b"])
    alone = sampler.sample(TEXTS[:1], torch.tensor([17]), ["a"])
    torch.testing.assert_close(both.features[:1, :17], alone.features, rtol=1e-9, atol=1e-9)
    assert (both.features[0, 17:] == 0).all()
    assert both.timesteps.tolist() == list(published_timesteps())


def test_a_reward_at_x0_reads_the_very_motion(tmp_path):
    generator, seen = generator_of(tmp_path), []

    def remember(motion, alpha_bar):
        seen.append(motion.detach())
        return motion.square().sum(dim=(1, 2))

    reward = FunctionReward(remember)
    reward.normaliser = Normaliser(263).double()
    reward.normaliser.set(*raw_statistics())
    config = GuidanceConfig(mu=1e-12, location="x0")
    result = RewardGuidedSampler(generator, guidance=config, reward=reward).sample(TEXTS, LENGTHS, ["a", "b"])
    assert len(seen) == 50
    expected = zero_padding(reward.normaliser.normalise(result.features), LENGTHS)
    torch.testing.assert_close(seen[-1], expected, rtol=1e-6, atol=1e-6)


def test_one_condition_serves_any_lengths(tmp_path):
    generator = generator_of(tmp_path)
    cond, x = generator.condition(TEXTS), fixed_input("x263", 2, FRAMES, 263)
    for lengths in ([24, 17], [4, 24], [24, 17]):
        wanted = generator.denoise(x, 57, generator.condition(TEXTS), torch.tensor(lengths))
        assert torch.equal(generator.denoise(x, 57, cond, torch.tensor(lengths)), wanted)
    assert len(cond.found) == 2
    one, other = (cond.found[key].features for key in ((24, 17), (4, 24)))
    assert not torch.equal(one[0], other[0])


def mixed(branches: tuple[Branch, ...], row: int) -> dict[str, float]:
    """The coefficients of a sample's outputs by what they read."""
    names = {reads: name for name, reads in READS.items()}
    return {names[tuple(branch.reads[row].tolist())]: branch.coefficient for branch in branches}


def test_mixtures(tmp_path):
    generator = generator_of(tmp_path)
    captions = [f"caption {number}" for number in range(400)]
    for t in (101, 500, 999):
        branches, scale = generator.branches(t, captions), 1 + 6.5 * t / 1000
        found = [mixed(branches, row) for row in range(len(captions))]
        for caption, coefficients in zip(captions, found, strict=True):
            names = ("both", "retr") if coin(caption, t) else ("text", "none")
            assert coefficients == pytest.approx({names[0]: scale, names[1]: 1 - scale})
        assert 160 < sum("both" in coefficients for coefficients in found) < 240
    for t in (0, 100):
        fine = mixed(generator.branches(t, captions), 7)
        assert fine == pytest.approx({"both": 0.52351, "text": -0.28419, "retr": 2.39872, "none": -1.63804})
    assert generator.evaluations == 4
    plain = generator_of(tmp_path / "plain", cfg_scale=1.0)
    assert [mixed(plain.branches(t, captions), 3) for t in (0, 999)] == [{"both": 1.0}] * 2
    assert plain.evaluations == 1


def test_only_what_is_mixed_is_evaluated(tmp_path):
    generator, sizes = generator_of(tmp_path, dtype=torch.float32), []
    handle = generator.denoiser.register_forward_hook(lambda _, args, output: sizes.append(len(args[0])))
    counting = CountingGenerator(generator)
    RewardGuidedSampler(counting).sample(TEXTS, LENGTHS, ["a", "b"])
    handle.remove()
    assert sizes == [4] * 42 + [8] * 8
    assert counting.calls == sum(sizes) / len(TEXTS)


def test_golden_numbers_are_of_both_sides_of_the_coin():
    assert {coin(caption, t) for caption in TEXTS for t in published_timesteps()[:20]} == {True, False}
