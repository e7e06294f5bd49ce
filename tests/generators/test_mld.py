"""The public MLD models: parity with their own networks and sampling loops, and the files that are refused."""

from __future__ import annotations

import os
import re

import pytest
import torch

from lightning_realign.checkpoints.convert import convert
from lightning_realign.diffusion.steps import make_steps
from lightning_realign.errors import CheckpointError, ConfigError, DataError
from lightning_realign.generators import load_generator
from lightning_realign.generators.base import LoadOptions
from lightning_realign.generators.mld import FORMS, load_mld, load_mld_star, load_mldpp
from tests.helpers.fixed_weights import fixed_tensor, relative_error
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

LOADERS = {"mld": load_mld, "mld_star": load_mld_star, "mldpp": load_mldpp}


class Payload:
    """An object that runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_statistics(tmp_path_factory.mktemp("mld"))


@pytest.fixture(scope="module", params=sorted(LOADERS))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def generator(family, folder):
    """Loaded from a published file, which is large and removed at once."""
    path = write_published(folder / f"{family}.ckpt", family)
    try:
        return LOADERS[family](path, options(folder))
    finally:
        path.unlink()


def test_networks_are_the_published_ones(generator, family):
    golden = expected(family)
    for dtype in (torch.float32, torch.float64):
        generator.to(dtype=dtype)
        limit = 1e-5 if dtype == torch.float32 else 1e-9
        for name, output in forward(generator).items():
            assert relative_error(output, golden[str(dtype).removeprefix("torch.")][name]) < limit, name


@torch.no_grad()
def sampled(generator, count):
    """The state after `count` steps of the generator's own recipe, from the golden noise."""
    generator.to(dtype=torch.float64)
    recipe, x = generator.recipe, start(generator)
    steps = make_steps(generator.scheduler, recipe.scheduler, recipe.steps, timesteps=recipe.timesteps)
    cond = generator.condition(TEXTS)
    for index, timestep in enumerate(steps.timesteps[:count]):
        x = steps.step(index, generator.denoise(x, timestep, cond, LENGTHS), x, None).prev
    return steps, x


def test_twenty_steps_of_the_published_loop(generator, family):
    golden = expected(family)["sampling"]
    steps, x = sampled(generator, 20)
    assert list(steps.timesteps) == golden["timesteps"]
    assert relative_error(x, golden["states"]["20"]) < 1e-6


@pytest.mark.slow
def test_the_whole_published_loop(generator, family):
    _, x = sampled(generator, 50)
    assert relative_error(x, expected(family)["sampling"]["states"]["50"]) < 1e-6


def test_what_is_loaded(generator, family):
    recipe, form = generator.recipe, FORMS[family]
    assert (recipe.scheduler, recipe.steps, recipe.cfg_scale) == ("ddim", 50, 7.5)
    assert (generator.skeleton, generator.evaluations) == ("humanml3d", 2)
    assert generator.spec.text_encoder == ("clip-vit-large-patch14" if family == "mld" else "sentence-t5-large")
    assert generator.noise_shape(60) == (form.vae.latent_tokens, form.vae.latent_size)
    assert (generator.latents.statistics.std == 1).all()
    assert not any(p.requires_grad for module in generator.bundle.modules.values() for p in module.parameters())
    with torch.no_grad():
        motion = generator.features(start(generator).to(generator.dtype), LENGTHS)
        back = generator.reconstruct(motion, LENGTHS)
    assert motion.shape == back.shape == (2, 24, 263)
    assert (motion[1, 17:] == 0).all()
    assert motion.isfinite().all()


def test_keys_are_counted_as_in_the_public_networks(family):
    golden, extra = expected(family)["keys"], {"denoiser.mem_pos.pe": (500, 1, 256)} if family == "mld" else {}
    for part, (count, parameters) in golden.items():
        own = {key: shape for key, shape in {**shapes(family), **extra}.items() if key.startswith(f"{part}.")}
        assert (len(own), sum(torch.Size(shape).numel() for shape in own.values())) == (count, parameters)


def test_python_objects_are_refused_then_converted(folder, tmp_path):
    trap = tmp_path / "ran"
    path = write_published(tmp_path / "mld.ckpt", "mld", hyper_parameters={"datamodule": Payload(trap)}, epoch=1999)
    converted = tmp_path / "mld.safetensors"
    with pytest.raises(CheckpointError, match="convert it with `python -m lightning_realign convert"):
        load_mld(path, options(folder))
    report = convert(path, converted)
    path.unlink()
    assert report.kept == len(published_shapes("mld"))
    generator = load_generator(converted, family="mld", statistics=folder)
    converted.unlink()
    assert not trap.exists()
    weight = generator.bundle.denoiser.emb_proj[1].weight
    assert torch.equal(weight, fixed_tensor("denoiser.emb_proj.1.weight", (256, 768)))


def without(keys, start):
    return {key: shape for key, shape in keys.items() if not key.startswith(start)}


def wrong_files():
    """Family asked for, weights of the file, what the message must name."""
    for found in FORMS:
        for asked in LOADERS:
            if found != asked:
                yield asked, published_shapes(found), f"holds the model of family {found!r}"
    whole = published_shapes("mldpp")
    control = {"controlnet.controlnet_cond_embedding.0.weight": (256, 32)}
    yield "mldpp", {**whole, **control}, "ControlNet.*'motionlcm_v2'"
    yield "mldpp", without(whole, "denoiser."), r"no denoiser\.\* weights.*a VAE alone"
    yield "mld", without(published_shapes("mld"), "vae."), r"no vae\.\* weights"
    yield "mldpp", {**whole, "router.weight": (2,)}, r"1 surplus \('router.weight'\)"
    yield "mldpp", without(whole, "vae.decoder.norm."), r"2 missing \('vae.decoder.norm.weight'"
    yield "mldpp", {**whole, "vae.skel_embedding.weight": (256, 100)}, "motions have 100 features"
    yield "mldpp", {**whole, "denoiser.query_pos.pe": (9, 1, 256)}, r"\(9, 1, 256\), needs \(500, 1, 256\)"


@pytest.mark.parametrize(("asked", "keys", "message"), list(wrong_files()))
def test_files_of_another_form(tmp_path, folder, asked, keys, message):
    path = write_hollow(tmp_path / "some.ckpt", keys)
    with pytest.raises(CheckpointError, match=message) as error:
        LOADERS[asked](path, options(folder))
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_statistics_are_needed(tmp_path, folder):
    path = write_hollow(tmp_path / "some.ckpt", published_shapes("mldpp"))
    with pytest.raises(ConfigError, match=re.escape(str(path)) + ".*statistics"):
        load_mldpp(path, LoadOptions())
    with pytest.raises(DataError, match=r"Mean\.npy"):
        load_mldpp(path, LoadOptions(statistics=tmp_path))
    assert load_mldpp(path, options(folder, steps=20, cfg_scale=12.5)).recipe.cfg_scale == 12.5
