"""MoMask against the public code's own numbers, its files in the public format, and what a motion depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_realign.checkpoints.convert import convert
from lightning_realign.diffusion.noise import sample_generator
from lightning_realign.errors import CheckpointError, ConfigError, DataError
from lightning_realign.generators import MaskedGenerator, load_generator
from lightning_realign.generators.masked import RandomStreams
from lightning_realign.generators.momask.generator import MoMaskGenerator
from lightning_realign.generators.momask.tokens import TokenSampling, _chosen, draw_tokens
from lightning_realign.models.published.residual_vq import NO_TOKEN
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import TextFeatures
from tests.helpers.fixed_weights import fixed_input, golden, relative_error
from tests.helpers.published_momask import NAMES, SIZES, networks, parts, write_momask

GOLDEN: Any = golden(Path(__file__).parent / "golden" / "momask.json")
TEXT = fixed_input("momask:text", 2, 512)
COUNTS = torch.tensor([6, 4])
PRECISIONS = ((torch.float32, 1e-5), (torch.float64, 1e-10))


def texts_of(captions) -> TextFeatures:
    """A sentence of each caption, a function of it alone."""
    sentences = torch.stack([fixed_input(f"momask:{caption}", 512) for caption in captions]).float()
    return TextFeatures(torch.zeros(len(captions), 1, 512), torch.ones(len(captions), dtype=torch.long), sentences)


def made(name: str = "small", settings: TokenSampling | None = None) -> MoMaskGenerator:
    generator = MoMaskGenerator(parts(name), Normaliser(SIZES[name][0]), settings)
    generator._encode = texts_of
    return generator


def noise_of(ids) -> list[torch.Generator]:
    return [sample_generator(1234, name) for name in ids]


@pytest.mark.parametrize("name", ["full", "full_kit", "small"])
def test_the_autoencoder_computes_what_the_public_one_does(name):
    expected, features = GOLDEN["forward"][name], SIZES[name][0]
    wanted, lengths = torch.tensor(expected["tokens"]), torch.tensor([24, 24])
    codec, motion = networks(name)["codec"], fixed_input(f"momask:motion:{features}", 2, 24, features)
    partial = wanted.clone()
    partial[1, 4:], partial[0, :, 4:] = NO_TOKEN, NO_TOKEN
    for dtype, limit in PRECISIONS:
        codec.to(dtype)
        with torch.no_grad():
            assert torch.equal(codec.encode(motion.to(dtype), lengths), wanted)
            assert relative_error(codec.decode(wanted, torch.tensor([6, 6])), expected["motion"]) < limit
            assert relative_error(codec.decode(partial, torch.tensor([6, 6])), expected["partial"]) < limit


@pytest.mark.parametrize("name", ["full", "small"])
def test_the_transformers_compute_what_the_public_ones_do(name):
    expected, (_, tokens, sizes, _) = GOLDEN["forward"][name], SIZES[name]
    both = networks(name)
    masked, residual = both["masked"], both["residual"]
    ids = torch.tensor(expected["tokens"])[..., 0]
    ids[:, ::2] = masked.mask
    ids[1, 4:] = masked.pad
    history = fixed_input(f"momask:history:{sizes.code_size}", 2, 6, sizes.code_size)
    assert masked.mask == tokens
    for dtype, limit in PRECISIONS:
        text, none = TEXT.to(dtype), torch.zeros_like(TEXT, dtype=dtype)
        masked.to(dtype), residual.to(dtype)

        def check(key, evaluate, text=text, none=none, limit=limit):
            with torch.no_grad():
                given, without = evaluate(text), evaluate(none)
            scale = int(key.rsplit("_", 1)[1])
            logits = without + scale * (given - without)
            # A difference of two outputs, scaled up, has as many times their rounding.
            assert relative_error(logits[0], expected[key][0]) < scale * limit, key
            assert relative_error(logits[1, :4], expected[key][1]) < scale * limit, key

        for scale in (1, 4):
            check(f"masked_{scale}", lambda heard: masked(ids, heard, COUNTS))
        for layer in (1, 3, 5):
            for scale in (1, 5):
                check(
                    f"residual_{layer}_{scale}",
                    lambda heard, layer=layer, dtype=dtype: residual(layer, history.to(dtype), heard, COUNTS),
                )


@pytest.mark.parametrize("kind", ["top_1", "noise"])
@pytest.mark.parametrize("name", ["small", pytest.param("full", marks=pytest.mark.slow)])
def test_a_whole_generation_draws_the_public_tokens(name, kind):
    expected = GOLDEN["generation"][f"{name}_{kind}"]
    kept = {"noise": 0.1, "top_1": 0.01 if name == "small" else 0.001}[kind]
    both, counts, calls = networks(name), torch.tensor([11, 7]), iter(range(1, 16))
    masked, residual, codec = (both[part].double() for part in ("masked", "residual", "codec"))

    def noise(choices: int) -> torch.Tensor:
        return fixed_input(f"momask:gumbel:{next(calls)}", 2, 11, choices)

    tokens = draw_tokens(masked, residual, TEXT, counts, noise, TokenSampling(kept=kept))
    assert tokens.tolist() == expected["tokens"]
    assert next(calls, None) is None
    with torch.no_grad():
        motion = codec.decode(tokens, counts)
    for row, count in enumerate(counts.tolist()):
        assert relative_error(motion[row, : 4 * count], expected["motions"][row]) < 1e-10
        assert not motion[row, 4 * count :].any()


def test_a_motion_depends_on_its_own_noise_text_and_length_alone():
    generator, texts = made(), ["a walks", "b jumps", "c sits", "a walks"]
    lengths = torch.tensor([40, 22, 28, 40])
    together = generator.generate(texts, lengths, noise_of("wxyz"))
    for row, length in enumerate(lengths.tolist()):
        alone = generator.generate(texts[row : row + 1], lengths[row : row + 1], noise_of("wxyz"[row]))
        torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-5, atol=1e-5)
        assert not together[row, length:].any()
    swapped = generator.generate(texts[::-1], lengths.flip(0), noise_of("zyxw"))
    torch.testing.assert_close(swapped.flip(0), together, rtol=1e-5, atol=1e-5)
    # The first and last differ in their noise alone.
    assert (together[0] - together[3]).abs().max() > 0.01
    other = generator.generate(["b jumps"], torch.tensor([40]), noise_of("w"))
    assert (other[0] - together[0]).abs().max() > 0.01


def test_the_noise_is_gumbel_and_of_each_sample():
    noise = RandomStreams(noise_of("ab"), [40, 10], torch.device("cpu")).gumbel
    first, second = noise(500), noise(500)
    assert first.shape == (2, 40, 500)
    assert not torch.equal(first, second)
    assert not first[1, 10:].any()
    # Mean: Euler's constant. Variance: pi^2 / 6.
    assert first[0].mean().item() == pytest.approx(0.5772, abs=0.03)
    assert first[0].var().item() == pytest.approx(1.6449, abs=0.06)
    assert torch.equal(RandomStreams(noise_of("b"), [10], torch.device("cpu")).gumbel(500)[0], first[1, :10])


def test_draws_follow_the_softmax_of_the_likeliest():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -9.0, -9.0, -9.0, -9.0, -9.0, -9.0]).double()
    noise = RandomStreams(noise_of("a"), [20_000], torch.device("cpu")).gumbel
    drawn = _chosen(logits.expand(1, 20_000, 10), noise, 0.3)
    shares = torch.bincount(drawn.flatten(), minlength=10) / 20_000
    torch.testing.assert_close(shares[:3].double(), logits[:3].softmax(dim=0), atol=0.015, rtol=0)
    assert not shares[3:].any()


def test_reconstruction_keeps_lengths_and_does_not_depend_on_the_batch():
    generator = made()
    generator.normaliser.set(fixed_input("momask:mean", 263), 0.5 + fixed_input("momask:std", 263).abs())
    motion, lengths = fixed_input("momask:motion:263", 2, 24, 263).float(), torch.tensor([22, 13])
    together = generator.reconstruct(motion, lengths)
    alone = generator.reconstruct(motion[1:, :13], lengths[1:])
    assert together.shape == (2, 22, 263)
    assert not together[1, 13:].any()
    torch.testing.assert_close(together[1:, :13], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("steps", "scale", "expected"), [(10, 4.0, 30), (3, 4.0, 16), (3, 1.0, 13)])
def test_evaluations_are_those_of_both_transformers(steps, scale, expected):
    generator, seen = made(settings=TokenSampling(steps, scale)), []
    for network in (generator.parts.masked, generator.parts.residual):
        network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[-1].shape[0]))
    generator.generate(["a", "b"], torch.tensor([24, 24]), noise_of("ab"))
    assert sum(seen) / 2 == generator.evaluations == expected


def test_public_folders_load(tmp_path):
    folder = write_momask(tmp_path)
    generator = load_generator(folder, family="momask", encode=texts_of)
    assert isinstance(generator, MaskedGenerator)
    assert generator.skeleton == "humanml3d"
    assert generator.settings == TokenSampling(10, 4.0, 5.0, 0.1)
    assert generator.normaliser.std.min() >= 0.5
    assert generator.parts.masked.token_emb.weight.dtype == torch.float64
    assert generator.dtype == torch.float32
    expected = made()
    expected.normaliser.set(generator.normaliser.mean, generator.normaliser.std)
    for name, module in (("masked", expected.parts.masked), ("codec", expected.parts.codec)):
        for key, value in module.state_dict().items():
            assert torch.equal(getattr(generator.parts, name).state_dict()[key], value), key
    lengths = torch.tensor([24])
    drawn = generator.generate(["a"], lengths, noise_of("a"))
    torch.testing.assert_close(drawn, expected.generate(["a"], lengths, noise_of("a")))
    faster = load_generator(folder, family="momask", sampling=SamplingConfig(steps=2, cfg_scale=1.0), encode=texts_of)
    assert faster.settings == TokenSampling(2, 1.0, 5.0, 0.1)
    converted = folder / NAMES["codec"] / "model" / "net_best_fid.safetensors"
    convert(converted.with_suffix(".tar"), converted)
    converted.with_suffix(".tar").unlink()
    again = load_generator(folder, family="momask", encode=texts_of)
    assert torch.equal(again.generate(["a"], lengths, noise_of("a")), drawn)


def test_kit_has_its_own_recipe(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "small_kit", (251, *SIZES["small"][1:]))
    generator = load_generator(write_momask(tmp_path, "small_kit"), family="momask", encode=texts_of)
    assert (generator.skeleton, generator.settings.cfg_scale) == ("kit", 2.0)
    assert generator.generate(["a"], torch.tensor([8]), noise_of("a")).shape == (1, 8, 251)


def test_bad_folders_are_told(tmp_path):
    with pytest.raises(CheckpointError, match="is no folder"):
        load_generator(tmp_path / "none", family="momask")
    with pytest.raises(CheckpointError, match=r"exactly one folder rvq_\*/model, has none"):
        load_generator(tmp_path, family="momask")
    folder = write_momask(tmp_path / "t2m")
    with pytest.raises(ConfigError, match="scheduler='ddim': MoMask draws tokens"):
        load_generator(folder, family="momask", sampling=SamplingConfig(scheduler="ddim"))
    with pytest.raises(ConfigError, match="sampling steps is 0"):
        load_generator(folder, family="momask", sampling=SamplingConfig(steps=0))
    options = folder / NAMES["residual"] / "opt.txt"
    options.write_text("share_weight: False\n")
    with pytest.raises(ConfigError, match=r"opt.txt: share_weight is False; only networks trained with True"):
        load_generator(folder, family="momask")
    options.write_text("n_heads: many\n")
    with pytest.raises(ConfigError, match="n_heads is 'many'"):
        load_generator(folder, family="momask")
    options.unlink()
    load_generator(folder, family="momask")
    (folder / NAMES["codec"] / "meta" / "std.npy").unlink()
    with pytest.raises(DataError, match=r"std\.npy"):
        load_generator(folder, family="momask")


def test_weights_of_another_training_are_refused(tmp_path):
    folder = write_momask(tmp_path)
    path = folder / NAMES["masked"] / "model" / "latest.tar"
    content = torch.load(path, weights_only=True)
    content["t2m_transformer"]["clip_model.visual.proj"] = torch.zeros(2)
    torch.save(content, path)
    load_generator(folder, family="momask")
    weight = content["t2m_transformer"].pop("cond_emb.bias")
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"latest.tar: its weights do not fit: 1 missing \('cond_emb.bias'\)"):
        load_generator(folder, family="momask")
    content["t2m_transformer"] |= {"cond_emb.bias": weight, "token_emb.weight": torch.zeros(514, 32)}
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="1 of another shape"):
        load_generator(folder, family="momask")
    torch.save({"vq_model": {"a": torch.zeros(1)}}, folder / NAMES["codec"] / "model" / "net_best_fid.tar")
    with pytest.raises(CheckpointError, match="holds no residual VQ-VAE"):
        load_generator(folder, family="momask")
