"""The latent diffusion generator behind the `Generator` protocol, and the conversion between normalisations."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_realign.checkpoints.diffusion import diffusion_spec
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.generators import load_generator
from lightning_realign.generators.base import LoadOptions, Recipe, convert_normalisation
from lightning_realign.generators.latent import LatentDiffusionGenerator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.settings.sampling import SamplingConfig
from tests.helpers.guided_toys import FEATURES, normaliser_of, tiny_diffusion, toy_encoder

LENGTHS = torch.tensor([12, 7, 9])


@pytest.mark.parametrize("alpha_bar", [1.0, 0.5, 0.01])
def test_conversion_commutes_with_noising(alpha_bar):
    """Noise then convert = convert then noise, the noise being scaled by s_source / s_target."""
    source, target = normaliser_of(FEATURES, 1), normaliser_of(FEATURES, 2)
    random = torch.Generator().manual_seed(0)
    raw, noise = (torch.randn(4, 9, FEATURES, generator=random, dtype=torch.float64) for _ in range(2))

    def noised(clean, scale):
        return math.sqrt(alpha_bar) * clean + math.sqrt(1 - alpha_bar) * scale * noise

    found = convert_normalisation(noised(source.normalise(raw), 1.0), alpha_bar, source, target)
    expected = noised(target.normalise(raw), source.std.double() / target.std.double())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # statistics are kept in float32


def test_conversion_to_itself_is_exact():
    statistics = normaliser_of(FEATURES, 1)
    x = torch.randn(4, 9, FEATURES)
    assert torch.equal(convert_normalisation(x, 0.3, statistics, statistics), x)


def test_to_motion_of_a_clean_latent_is_the_features_normalised():
    generator = LatentDiffusionGenerator(tiny_diffusion(), Recipe(cfg_scale=1.0), LoadOptions(encode=toy_encoder))
    target = normaliser_of(FEATURES, 9)
    latent = torch.randn(3, 2, 8, requires_grad=True)
    motion = generator.to_motion(latent, 1.0, LENGTHS, target)
    features = generator.features(latent, LENGTHS)
    padding = torch.arange(12)[None] >= LENGTHS[:, None]
    assert motion.shape == features.shape == (3, 12, FEATURES)
    assert (motion[padding] == 0).all()
    assert (features[padding] == 0).all()
    torch.testing.assert_close(motion[~padding], target.normalise(features)[~padding], rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(motion.square().sum(), latent)
    assert (gradient != 0).all()


def test_features_undo_the_standardisation_of_latents():
    bundle = tiny_diffusion()
    generator = LatentDiffusionGenerator(bundle, Recipe(cfg_scale=1.0), LoadOptions(encode=toy_encoder))
    latent = torch.randn(3, 2, 8)
    standardised = (latent - bundle.latents.statistics.mean) / bundle.latents.statistics.std
    expected = bundle.normaliser.denormalise(bundle.latents.vae.decode(latent, LENGTHS, 12))
    mask = (torch.arange(12)[None] < LENGTHS[:, None])[..., None]
    torch.testing.assert_close(generator.features(standardised, LENGTHS), expected * mask, rtol=1e-4, atol=1e-5)


def test_classifier_free_guidance_of_one_doubled_batch():
    texts = ["a person walks", "a person runs", ""]
    x = torch.randn(3, 2, 8)
    outputs = {}
    for scale in (0.0, 1.0, 2.0, 7.5):
        generator = LatentDiffusionGenerator(tiny_diffusion(), Recipe(cfg_scale=scale), LoadOptions(encode=toy_encoder))
        outputs[scale] = generator.denoise(x, 501, generator.condition(texts), LENGTHS)
    conditional, unconditional = outputs[1.0], outputs[0.0]
    for scale in (2.0, 7.5):
        expected = unconditional + scale * (conditional - unconditional)
        torch.testing.assert_close(outputs[scale], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(conditional[2], unconditional[2], rtol=1e-5, atol=1e-6)  # the empty caption
    assert not torch.allclose(conditional[0], unconditional[0])


def test_scale_one_needs_no_unconditional_half():
    generator = LatentDiffusionGenerator(tiny_diffusion(), Recipe(cfg_scale=1.0), LoadOptions(encode=toy_encoder))
    assert generator.condition(["a", "b"]).shape == (2, 8)
    assert LatentDiffusionGenerator(tiny_diffusion(), Recipe(cfg_scale=2.0), LoadOptions(encode=toy_encoder)).condition(
        ["a", "b"]
    ).shape == (4, 8)


def write_checkpoint(path):
    bundle = tiny_diffusion()
    parts = bundle.modules
    state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    spec = diffusion_spec(
        bundle.latents,
        bundle.denoiser,
        bundle.schedule,
        skeleton="humanml3d",
        text_encoder="all-MiniLM-L6-v2",
        fingerprint="f",
    )
    torch.save({"state_dict": state, "lightning_realign": spec}, path)
    return bundle


def test_a_loaded_generator_samples_as_the_one_saved(tmp_path):
    bundle = write_checkpoint(tmp_path / "model.ckpt")
    loaded = load_generator(tmp_path / "model.ckpt", sampling=SamplingConfig(cfg_scale=2.0))
    assert (loaded.skeleton, loaded.dtype, loaded.noise_shape(40)) == ("humanml3d", torch.float32, (2, 8))
    again = LatentDiffusionGenerator(loaded.bundle, Recipe(cfg_scale=2.0), LoadOptions(encode=toy_encoder))
    original = LatentDiffusionGenerator(bundle, Recipe(cfg_scale=2.0), LoadOptions(encode=toy_encoder))
    motions = [
        RewardGuidedSampler(g, SamplingConfig(steps=5)).sample(["walk", "run", "jump"], LENGTHS)
        for g in (again, original)
    ]
    assert torch.equal(motions[0].features, motions[1].features)


def test_wrong_names_files_and_scales(tmp_path):
    with pytest.raises(ConfigError, match="generator family='gan' is unknown; use one of own, mld"):
        load_generator(tmp_path / "model.ckpt", family="gan")
    with pytest.raises(CheckpointError, match=r"none\.ckpt"):
        load_generator(tmp_path / "none.ckpt")
    with pytest.raises(ConfigError, match="cfg_scale=nan"):
        LatentDiffusionGenerator(tiny_diffusion(), Recipe(cfg_scale=math.nan))
