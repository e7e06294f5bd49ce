"""The public consistency models: parity with their own networks and sampling loops, their recipes, guided runs."""

from __future__ import annotations

import pytest
import torch
from diffusers.schedulers.scheduling_lcm import LCMScheduler

from lightning_realign.diffusion.steps import make_steps
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.generators.base import LoadOptions
from lightning_realign.generators.motionlcm import (
    MOTIONLCM,
    MOTIONLCM_V2,
    ConsistencyGenerator,
    consistency_recipe,
    load_motionlcm,
    load_motionlcm_v2,
    spaced_timesteps,
)
from lightning_realign.models.denoiser import guidance_embedding
from lightning_realign.settings.sampling import SamplingConfig
from tests.helpers.fixed_weights import fixed_input, relative_error
from tests.helpers.published_latents import (
    LENGTHS,
    TEXTS,
    expected,
    forward,
    options,
    published_shapes,
    shapes,
    start,
    write_hollow,
    write_published,
    write_statistics,
)

LOADERS = {"motionlcm": load_motionlcm, "motionlcm_v2": load_motionlcm_v2}
PUBLISHED = {"motionlcm": MOTIONLCM, "motionlcm_v2": MOTIONLCM_V2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_statistics(tmp_path_factory.mktemp("motionlcm"))


@pytest.fixture(scope="module", params=sorted(LOADERS))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def generators(family, folder):
    """By number of steps, of the weights of one published file, which is large and removed at once."""
    path = write_published(folder / f"{family}.ckpt", family)
    try:
        one = LOADERS[family](path, options(folder))
    finally:
        path.unlink()
    recipes = {
        steps: consistency_recipe(PUBLISHED[family], LoadOptions(SamplingConfig(steps=steps))) for steps in (2, 4)
    }
    more = {steps: ConsistencyGenerator(one.bundle, recipe, options(folder)) for steps, recipe in recipes.items()}
    return {1: one, **more}


def limit_of(family, limit):
    """`limit`, where this machine's float32 exponential gives the embedding of the golden runs bit by bit.

    Elsewhere a frequency may differ in its last bit, and thousands of times that in its angle: 4e-5 in an output.
    """
    found = guidance_embedding(torch.tensor([6.5]), 256)
    return limit if relative_error(found, expected(family)["embedding"]) < 1e-7 else 1e-4


def test_networks_are_the_published_ones(generators, family):
    golden, generator = expected(family), generators[1]
    for dtype in (torch.float32, torch.float64):
        generator.to(dtype=dtype)
        limit = limit_of(family, 1e-5 if dtype == torch.float32 else 1e-9)
        for name, output in forward(generator, torch.full((2,), 6.5)).items():
            assert relative_error(output, golden[str(dtype).removeprefix("torch.")][name]) < limit, name


@pytest.mark.parametrize("steps", [1, 2, 4])
@torch.no_grad()
def test_the_published_loop_with_given_noise(generators, family, steps):
    golden, generator = expected(family)["sampling"][str(steps)], generators[steps].to(dtype=torch.float64)
    recipe, x = generator.recipe, start(generator)
    assert (list(recipe.timesteps), recipe.cfg_scale) == (golden["timesteps"], golden["scale"])
    run = make_steps(generator.scheduler, recipe.scheduler, recipe.steps, timesteps=recipe.timesteps)
    cond = generator.condition(TEXTS)
    for index, timestep in enumerate(run.timesteps):
        noise = fixed_input(f"noise{index + 1}", *x.shape) if run.sigma[index] > 0 else None
        x = run.step(index, generator.denoise(x, timestep, cond, LENGTHS), x, noise).prev
    assert relative_error(x, golden["state"]) < limit_of(family, 1e-6)
    motion = generator.latents.decode(x, LENGTHS, 24)
    assert relative_error(motion, golden["motion"]) < limit_of(family, 1e-6)


def test_one_evaluation_whatever_the_scale(generators):
    generator = generators[1].to(dtype=torch.float32)
    calls = []
    handle = generator.bundle.denoiser.register_forward_hook(lambda _, args, output: calls.append(len(args[0])))
    x = start(generator).float()
    generator.denoise(x, 799, generator.condition(TEXTS), LENGTHS)
    handle.remove()
    assert (calls, generator.evaluations) == ([2], 1)


def test_keys_are_counted_as_in_the_public_networks(family):
    for part, (count, parameters) in expected(family)["keys"].items():
        own = {key: shape for key, shape in shapes(family).items() if key.startswith(f"{part}.")}
        assert (len(own), sum(torch.Size(shape).numel() for shape in own.values())) == (count, parameters)


@pytest.mark.parametrize("original", [50, 10])
def test_timesteps_are_spaced_as_diffusers_spaces_them(original):
    scheduler = LCMScheduler(original_inference_steps=original)
    for steps in range(1, original + 1):
        scheduler.set_timesteps(steps)
        assert spaced_timesteps(original, steps) == tuple(scheduler.timesteps.tolist())


def test_recipes(family):
    published = PUBLISHED[family]
    scales = {
        steps: consistency_recipe(published, LoadOptions(SamplingConfig(steps=steps))).cfg_scale
        for steps in (1, 2, 3, 4, 10)
    }
    assert scales == (
        dict.fromkeys(scales, 7.5) if family == "motionlcm" else {1: 8.0, 2: 12.5, 3: 12.5, 4: 13.5, 10: 13.5}
    )
    assert consistency_recipe(published, LoadOptions()).steps == 1
    assert (
        consistency_recipe(published, LoadOptions(SamplingConfig(steps=3, scheduler="lcm", cfg_scale=9.0))).cfg_scale
        == 9.0
    )
    bad = published.original + 1
    with pytest.raises(ConfigError, match=f"steps={bad}: need 1 to {published.original}"):
        consistency_recipe(published, LoadOptions(SamplingConfig(steps=bad)))
    with pytest.raises(ConfigError, match=r"scheduler='ddim'.*leave scheduler out"):
        consistency_recipe(published, LoadOptions(SamplingConfig(scheduler="ddim")))


@pytest.mark.parametrize("found", ["mld", "mld_star", "mldpp", "motionlcm", "motionlcm_v2"])
def test_files_of_another_family(tmp_path, folder, family, found):
    path = write_hollow(tmp_path / "some.ckpt", published_shapes(found))
    if found == family:
        assert LOADERS[family](path, options(folder)).recipe.scheduler == "lcm"
        return
    with pytest.raises(CheckpointError, match=f"holds the model of family '{found}' .*, not '{family}'"):
        LOADERS[family](path, options(folder))
