"""MARDM against the public code's own numbers, its files in the public format, and what guidance does to a draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_realign.errors import CheckpointError, ConfigError, DataError
from lightning_realign.generators import MaskedGenerator, load_generator
from lightning_realign.generators.mardm.denoising import DiffusionDenoising, FlowDenoising
from lightning_realign.generators.mardm.generator import MARDMGenerator, MARDMSettings
from lightning_realign.generators.masked import MaskedBatch
from lightning_realign.guidance import MaskedSampler
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from tests.generators.test_momask import noise_of, texts_of
from tests.helpers.fixed_weights import fixed_input, golden, relative_error
from tests.helpers.published_mardm import autoencoder, transformer, write_mardm

GOLDEN: Any = golden(Path(__file__).parent / "golden" / "mardm.json")
TEXT = fixed_input("mardm:text", 2, 512)
COUNTS = torch.tensor([7, 4])
PRECISIONS = ((torch.float32, 1e-5), (torch.float64, 1e-10))


class GivenStreams:
    """The order and the noise of the public run."""

    def __init__(self) -> None:
        self.drawn = 0

    def uniform(self) -> Tensor:
        return torch.special.ndtr(fixed_input("mardm:order", 2, 7))

    def normal(self, channels: int) -> Tensor:
        self.drawn += 1
        return fixed_input(f"mardm:noise:{self.drawn}", 2, 7, channels)


def made(kind: str = "SiT", steps: int | None = None, scale: float = 4.5, rounds: int = 3, size: str = "small"):
    method = {"SiT": FlowDenoising, "DDPM": DiffusionDenoising}[kind]
    settings = MARDMSettings(method() if steps is None else method(steps), scale, rounds)
    generator = MARDMGenerator(autoencoder(size), transformer(size), Normaliser(67), "humanml3d", settings)
    generator._encode = texts_of
    return generator


@pytest.mark.parametrize("features", [67, 64])
def test_the_autoencoder_computes_what_the_public_one_does(features):
    codec, expected = autoencoder("full", features), GOLDEN["forward"][f"ae_{features}"]
    motion = fixed_input(f"mardm:motion:{features}", 2, 24, features)
    for dtype, limit in PRECISIONS:
        codec.to(dtype)
        with torch.no_grad():
            codes = codec.encode(motion.to(dtype), torch.tensor([24, 24]))
            assert relative_error(codes, expected[0]) < limit
            assert relative_error(codec.decode(codes, torch.tensor([6, 6])), expected[1]) < limit


@pytest.mark.parametrize("size", ["small", pytest.param("full", marks=pytest.mark.slow)])
def test_the_networks_compute_what_the_public_ones_do(size):
    network, expected = transformer(size), GOLDEN["forward"][size]
    channels, width = network.mask_latent.shape[2], network.sizes.width
    for dtype, limit in PRECISIONS:
        network.to(dtype)
        codes, text = fixed_input(f"mardm:latents:{channels}", 2, 7, channels).to(dtype), TEXT.to(dtype)
        x, z = fixed_input(f"mardm:x:{channels}", 5, channels).to(dtype), fixed_input(f"mardm:z:{width}", 5, width)
        with torch.no_grad():
            for kind, heard in (("given", text), ("none", torch.zeros_like(text))):
                found = network(codes, heard, COUNTS)
                assert relative_error(found[0], expected[kind][0]) < limit
                assert relative_error(found[1, :4], expected[kind][1]) < limit
            for t in (0.37, 17.0):
                assert relative_error(network.head(x, t, z.to(dtype)), expected[f"head_{t:g}"]) < limit


@pytest.mark.parametrize(("kind", "steps", "rounds"), [("SiT", 10, 6), ("DDPM", 50, 3)])
def test_a_whole_generation_is_the_public_one(kind, steps, rounds):
    generator, streams = made(kind, steps, rounds=rounds).to(dtype=torch.float64), GivenStreams()
    expected = GOLDEN["generation"][kind]
    with torch.no_grad():
        codes = generator._codes(MaskedBatch(TEXT, COUNTS, 4 * COUNTS, streams, None))
        motion = generator.codec.decode(codes, COUNTS)
    assert streams.drawn == rounds * (1 if kind == "SiT" else 50)
    for row, count in enumerate(COUNTS.tolist()):
        assert relative_error(codes[row, :count], expected["codes"][row]) < 1e-6
        assert relative_error(motion[row, : 4 * count], expected["motions"][row]) < 1e-6
        assert not codes[row, count:].any()


def test_more_steps_of_the_midpoint_rule_come_near_the_published_solver():
    def error(steps: int) -> float:
        generator = made("SiT", steps, rounds=6).to(dtype=torch.float64)
        with torch.no_grad():
            codes = generator._codes(MaskedBatch(TEXT, COUNTS, 4 * COUNTS, GivenStreams(), None))
        return relative_error(codes[0], GOLDEN["generation"]["dopri5"]["codes"][0])

    coarse, fine = error(10), error(50)
    assert fine < 0.01 and fine < coarse / 3


@pytest.mark.parametrize("kind", ["SiT", "DDPM"])
def test_a_motion_depends_on_its_own_noise_text_and_length_alone(kind):
    generator = made(kind, 4).to(dtype=torch.float64)
    lengths, texts = torch.tensor([40, 22, 40]), ["a walks", "b jumps", "a walks"]
    together = generator.generate(texts, lengths, noise_of("xyz"))
    scale = together.abs().max()
    for row, length in enumerate(lengths.tolist()):
        alone = generator.generate(texts[row : row + 1], lengths[row : row + 1], noise_of("xyz"[row]))
        assert (together[row, :length] - alone[0]).abs().max() < 1e-7 * scale
        assert not together[row, length:].any()
    assert (together[0] - together[2]).abs().max() > 1e-3 * scale


class NearReward:
    """Minus the distance of the root's height to a goal; keeps what it has seen."""

    skeleton = "humanml3d"
    latents = None

    def __init__(self, goal: float) -> None:
        self.normaliser, self.goal, self.seen = Normaliser(263).double(), goal, []

    def prepare(self, captions, references, *, mu, eta):
        def evaluate(motion, lengths, alpha_bar):
            self.seen.append((tuple(motion.shape), alpha_bar))
            valid = torch.arange(motion.shape[1])[None] < lengths[:, None]
            return -mu * ((motion[..., 3] - self.goal).square() * valid).sum(dim=1)

        return evaluate


@pytest.mark.parametrize(("kind", "steps"), [("SiT", 8), ("DDPM", 50)])
def test_guidance_moves_the_decoded_motion_to_the_reward(kind, steps):
    generator, texts, lengths = made(kind, steps, 1.0, 2).to(dtype=torch.float64), ["a", "b"], torch.tensor([24, 16])
    # A random noise prediction makes no motion at all: the head's output is held near nothing.
    generator.transformer.head.final_layer.linear.weight.mul_(0.01)
    plain = MaskedSampler(generator).sample(texts, lengths, ["x", "y"])
    heights = [plain.features[row, :length, 3].mean().item() for row, length in enumerate(lengths.tolist())]
    goal = max(heights) + 1.0
    reward = NearReward(goal)
    config = GuidanceConfig(mu=0.05, location="x0", start=0.8)
    guided = MaskedSampler(generator, guidance=config, reward=reward).sample(texts, lengths, ["x", "y"])

    def distance(motions) -> Tensor:
        return torch.stack([(m[:n, 3] - goal).square().mean() for m, n in zip(motions.features, lengths, strict=True)])

    assert (distance(guided) < distance(plain)).all()
    assert {level for _, level in reward.seen} == {1.0}
    assert {shape for shape, _ in reward.seen} == {(2, 24, 263)}
    evaluations = 2 * sum(config.filled().guided_steps(steps)) * (2 if kind == "SiT" else 1)
    assert len(reward.seen) == evaluations
    alone = MaskedSampler(generator, guidance=config, reward=NearReward(goal)).sample(["b"], lengths[1:], ["y"])
    torch.testing.assert_close(alone.features[0], guided.features[1, :16], rtol=1e-6, atol=1e-6)
    off = MaskedSampler(generator, guidance=GuidanceConfig(location="x0"), reward=reward)
    assert torch.equal(off.sample(texts, lengths, ["x", "y"]).features, plain.features)


def test_only_codes_that_are_being_denoised_are_moved():
    generator, steps, moved = made("SiT", 2, 1.0, 4), [], []

    def guide(step, clean, features_of):
        with torch.enable_grad():
            leaf = clean.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(features_of(leaf)[..., :67].square().sum(), leaf)
        steps.append(step)
        moved.append(int(gradient.any(dim=2).sum()))

    generator.generate(["a"], torch.tensor([40]), noise_of("a"), guide)
    # Two steps of two evaluations in each of four rounds, but for the one at t = 0.
    assert steps == [0, 1, 1] * 4
    # Of 10 codes all, then the cosines of 30, 60 and 90 degrees, and at least one.
    assert moved == [10] * 3 + [9] * 3 + [5] * 3 + [1] * 3


def test_what_cannot_guide_is_refused():
    generator, reward = made("SiT", 4), NearReward(0.0)
    with pytest.raises(ConfigError, match="set scale to score and location to x0"):
        MaskedSampler(generator, guidance=GuidanceConfig(mu=1.0), reward=reward)
    with pytest.raises(ConfigError, match="needs a reward"):
        MaskedSampler(generator, guidance=GuidanceConfig(mu=1.0, location="x0"))
    with pytest.raises(ConfigError, match="holds none of the 4 steps"):
        MaskedSampler(generator, guidance=GuidanceConfig(mu=1.0, location="x0", start=0.1), reward=reward)


@pytest.mark.parametrize(("kind", "scale", "expected"), [("SiT", 4.5, 3 * 2 * 9), ("SiT", 1.0, 27), ("DDPM", 4.5, 30)])
def test_evaluations_are_those_of_all_networks(kind, scale, expected):
    generator, calls = made(kind, 4, scale), []
    heads = 2 if scale != 1 else 1
    generator.transformer.register_forward_hook(lambda *_: calls.append(1))
    generator.transformer.head.register_forward_hook(lambda *_: calls.extend([1] * heads))
    generator.generate(["a"], torch.tensor([24]), noise_of("a"))
    assert len(calls) == generator.evaluations == expected


@pytest.mark.parametrize(("name", "steps"), [("MARDM_SiT_XL", 25), ("MARDM_DDPM_XL", 50)])
def test_public_folders_load(tmp_path, name, steps):
    folder = write_mardm(tmp_path, name)
    generator = load_generator(folder, family="mardm", encode=texts_of)
    assert isinstance(generator, MaskedGenerator)
    assert (generator.skeleton, generator.denoising_steps, generator.settings.cfg_scale) == ("humanml3d", steps, 4.5)
    assert generator.settings.rounds == 18
    for key, value in transformer("small").state_dict().items():
        assert torch.equal(generator.transformer.state_dict()[key], value), key
    assert generator.normaliser.std.min() >= 0.5
    few = load_generator(folder, family="mardm", sampling=SamplingConfig(steps=2, cfg_scale=1.0), encode=texts_of)
    assert (few.denoising_steps, few.settings.cfg_scale) == (2, 1.0)
    assert few.generate(["a"], torch.tensor([21]), noise_of("a")).shape == (1, 21, 263)


def test_kit_and_the_data_sets_own_statistics(tmp_path):
    folder = write_mardm(tmp_path / "kit", features=64)
    generator = load_generator(folder, family="mardm", sampling=SamplingConfig(steps=2), encode=texts_of)
    assert (generator.skeleton, generator.settings.cfg_scale) == ("kit", 2.5)
    assert generator.generate(["a"], torch.tensor([8]), noise_of("a")).shape == (1, 8, 251)
    for name in ("eval_mean.npy", "eval_std.npy"):
        (tmp_path / "kit" / name).unlink()
    with pytest.raises(ConfigError, match=r"copy eval_mean\.npy and eval_std\.npy"):
        load_generator(folder, family="mardm")
    with pytest.raises(DataError, match=r"Mean\.npy"):
        load_generator(folder, family="mardm", statistics=tmp_path)
    mean, std = np.arange(251.0), np.linspace(1, 2, 251)
    np.save(tmp_path / "Mean.npy", mean), np.save(tmp_path / "Std.npy", std)
    again = load_generator(folder, family="mardm", statistics=tmp_path)
    np.testing.assert_allclose(again.normaliser.mean, mean[:64])
    np.testing.assert_allclose(again.normaliser.std, std[:64], rtol=1e-6)


def test_bad_folders_are_told(tmp_path):
    with pytest.raises(CheckpointError, match="has no folder 'model'"):
        load_generator(tmp_path, family="mardm")
    folder = write_mardm(tmp_path / "t2m")
    with pytest.raises(ConfigError, match="scheduler='ddim'"):
        load_generator(folder, family="mardm", sampling=SamplingConfig(scheduler="ddim"))
    with pytest.raises(ConfigError, match="sampling steps is 0"):
        load_generator(folder, family="mardm", sampling=SamplingConfig(steps=0))
    other = folder.rename(folder.with_name("mine"))
    with pytest.raises(ConfigError, match="name must tell the kind of denoising"):
        load_generator(other, family="mardm")
    folder = other.rename(folder)
    content = torch.load(folder / "model/latest.tar", weights_only=True)
    del content["ema_mardm"]["mask_latent"]
    torch.save(content, folder / "model/latest.tar")
    with pytest.raises(CheckpointError, match=r"do not fit: 1 missing \('mask_latent'\)"):
        load_generator(folder, family="mardm")
    torch.save({"ae": {"a": torch.zeros(1)}}, tmp_path / "t2m/AE/model/latest.tar")
    with pytest.raises(CheckpointError, match=r"AE/model/latest\.tar: holds no network that reads motions"):
        load_generator(folder, family="mardm")


def test_reconstruction_keeps_lengths_and_does_not_depend_on_the_batch():
    generator = made().to(dtype=torch.float64)
    motion, lengths = fixed_input("mardm:motion:263", 2, 24, 263), torch.tensor([22, 13])
    together, alone = generator.reconstruct(motion, lengths), generator.reconstruct(motion[1:, :13], lengths[1:])
    assert together.shape == (2, 22, 263)
    assert not together[1, 13:].any()
    torch.testing.assert_close(together[1:, :13], alone)
