"""MDM's networks and sampling against the public code's own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_realign.diffusion.steps import SchedulerSteps
from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.generators import load_generator
from lightning_realign.generators.base import LoadOptions
from lightning_realign.generators.mdm.generator import MDMGenerator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.models.published.mdm import MotionDenoiser
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import TextFeatures
from tests.helpers.fixed_weights import fixed_input, golden, relative_error
from tests.helpers.public_mdm import FORMS, FULL, SMALL, load, network, public_file, text_of

GOLDEN: Any = golden(Path(__file__).parent / "golden" / "mdm.json")
FRAMES, LENGTHS = 24, torch.tensor([24, 17])
# The position table is made in float32, whose sines differ between processors by 6e-8, and the outputs by up to 1e-6.
DOUBLE_LIMIT = 5e-6


@pytest.mark.parametrize("form", FORMS)
def test_the_network_computes_what_the_public_one_does(form):
    features, _, steps, _, _ = FORMS[form]
    denoiser, t = network(form, FULL, torch.float32), torch.tensor([7, 931 if steps == 1000 else 43])
    none, every = torch.tensor([False, False]), torch.tensor([True, True])
    for dtype, limit in ((torch.float32, 1e-5), (torch.float64, DOUBLE_LIMIT)):
        denoiser.to(dtype)
        x = fixed_input("mdm:x", 2, FRAMES, features).to(dtype)
        for kind, dropped in (("conditional", none), ("unconditional", every)):
            with torch.no_grad():
                output = denoiser(x, t, text_of(form, dtype), LENGTHS, dropped)
            assert relative_error(output, GOLDEN["forward"][form][kind]) < limit, (kind, dtype)


@pytest.mark.parametrize(("form", "hears"), [("encoder", True), ("decoder", True), ("encoder_50", False)])
def test_only_a_network_without_mask_hears_what_lies_beyond_a_length(form, hears):
    denoiser, text, t = network(form, SMALL), text_of(form), torch.tensor([30])
    x = fixed_input("mdm:x", 2, FRAMES, 263)
    changed = x.clone()
    changed[1, 17:] += 1.0
    outputs = [denoiser(motion, t, text, LENGTHS)[1, :17] for motion in (x, changed)]
    alone = denoiser(x[1:, :17], t, TextFeatures(text.tokens[1:], text.lengths[1:], text.sentence[1:]), LENGTHS[1:])
    for other in (outputs[1], alone[0]):
        assert torch.allclose(outputs[0], other, rtol=1e-9, atol=1e-10) is not hears


def test_dropping_the_text_of_one_motion_leaves_the_other_alone():
    denoiser, text, t = network("decoder_bert_50", SMALL), text_of("decoder_bert_50"), torch.tensor([30])
    x = fixed_input("mdm:x", 2, FRAMES, 263)
    kept, dropped = (denoiser(x, t, text, LENGTHS, mask) for mask in (None, torch.tensor([True, False])))
    torch.testing.assert_close(kept[1], dropped[1])
    assert not torch.allclose(kept[0], dropped[0], atol=1e-3)


def test_the_token_of_an_older_decoder_holds_the_text(tmp_path):
    """That of humanml-decoder-with-emb-512, whose args.json knows one text encoder only."""
    arguments = {"arch": "trans_dec", "dataset": "humanml", "emb_trans_dec": True}
    denoiser = load(public_file(tmp_path, "decoder_with_emb", arguments=arguments), "decoder_with_emb").denoiser
    x, text = fixed_input("mdm:x", 2, FRAMES, 263), text_of("decoder_with_emb").sentence
    table = denoiser.positions[:, None]
    memory = denoiser.embed_timestep["time_embed"](table[[30, 30], 0])[None] + denoiser.embed_text(text)[None]
    sequence = torch.cat([memory, denoiser.input_process["poseEmbedding"](x.transpose(0, 1))])
    sequence = sequence + table[: FRAMES + 1]
    layer = torch.nn.TransformerDecoderLayer(64, 4, 1024, activation="gelu")
    public = torch.nn.TransformerDecoder(layer, 2).double().eval()
    public.load_state_dict(denoiser.seqTransDecoder.state_dict())
    expected = denoiser.output_process["poseFinal"](public(sequence, memory)[1:]).transpose(0, 1)
    found = denoiser(x, torch.tensor([30]), text, LENGTHS)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    newer = network("decoder_with_emb", SMALL)(x, torch.tensor([30]), text, LENGTHS)
    assert not torch.allclose(newer, found, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "decoder", "text_in_token": True}, "needs time_token=True"),
        ({"kind": "gru"}, "kind='gru'"),
        ({"text": "tokens"}, "needs kind='decoder'"),
        ({"time_token": True}, "needs kind='decoder'"),
        ({"width": 30}, "multiple of heads=4"),
        ({"layers": 0}, "layers=0"),
    ],
)
def test_networks_that_do_not_exist(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MotionDenoiser(263, 512, **arguments)


def test_inputs_that_do_not_fit():
    denoiser, t = MotionDenoiser(6, 8, width=8, layers=1, max_tokens=10), torch.tensor([1])
    with pytest.raises(FeatureSpecError, match=r"model expects \[B, T, 6\]"):
        denoiser(torch.zeros(1, 4, 7), t, torch.zeros(1, 8), torch.tensor([4]))
    with pytest.raises(FeatureSpecError, match=r"expects \[1, L, 8\]"):
        denoiser(torch.zeros(1, 4, 6), t, torch.zeros(1, 9), torch.tensor([4]))
    with pytest.raises(FeatureSpecError, match="10 frames exceeds the position table's 9"):
        denoiser(torch.zeros(1, 10, 6), t, torch.zeros(1, 8), torch.tensor([10]))
    reader = MotionDenoiser(6, 8, kind="decoder", text="tokens", width=8, layers=1)
    with pytest.raises(FeatureSpecError, match="reads the tokens"):
        reader(torch.zeros(1, 4, 6), t, torch.zeros(1, 8), torch.tensor([4]))


def small_state(generator: MDMGenerator, form: str) -> MDMGenerator:
    """The generator with states of 24 frames, as in the public run."""
    options = LoadOptions(encode=lambda texts: text_of(form))
    return MDMGenerator(generator.spec, generator.denoiser, generator.normaliser, options, state_frames=FRAMES)


@pytest.mark.parametrize("form", ["encoder", "decoder_bert_50"])
def test_guided_output_is_the_public_one(tmp_path, form):
    features, _, steps, _, _ = FORMS[form]
    generator = small_state(load(public_file(tmp_path, form, FULL), form), form)
    x, cond = fixed_input("mdm:x", 2, FRAMES, features), generator.condition(["a", "b"])
    outputs = [generator.denoise(x, t, cond, LENGTHS) for t in (7, 931 if steps == 1000 else 43)]
    assert relative_error(torch.stack([outputs[0][0], outputs[1][1]]), GOLDEN["forward"][form]["guided"]) < DOUBLE_LIMIT


def assert_public_steps(generator: MDMGenerator, expected: dict[str, list[float]]) -> None:
    """Given the public run's start and noise, the states on the way down from its first step are its own."""
    steps = SchedulerSteps(generator.scheduler, generator.recipe.scheduler, generator.recipe.steps)
    features = len(generator.normaliser.mean)
    x, cond = fixed_input("mdm:start", 2, FRAMES, features), generator.condition(["a", "b"])
    compared = 0
    for index in range(len(steps.timesteps) - 20 if len(steps.timesteps) > 50 else 0, len(steps.timesteps)):
        t = steps.timesteps[index]
        output = generator.denoise(x, t, cond, LENGTHS)
        x = steps.step(index, output, x, fixed_input(f"mdm:noise{t}", 2, FRAMES, features)).prev
        if str(t) in expected:
            assert relative_error(x, expected[str(t)]) < DOUBLE_LIMIT
            compared += 1
    assert compared == len(expected) > 3


@pytest.mark.parametrize("form", ["encoder", "encoder_50", "decoder_bert_50"])
def test_steps_are_those_of_the_public_loop(tmp_path, form):
    """The last 20 of 1000 steps, or all 50."""
    assert_public_steps(small_state(load(public_file(tmp_path, form), form), form), GOLDEN["steps"][form])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["encoder", "decoder_bert_50"])
def test_steps_are_those_of_the_public_loop_at_full_size(tmp_path, form):
    generator = load(public_file(tmp_path, form, FULL), form)
    assert_public_steps(small_state(generator, form), GOLDEN["steps_full_size"][form])


@pytest.mark.parametrize("form", ["encoder", "encoder_50"])
def test_a_motion_does_not_depend_on_its_batch(tmp_path, form):
    text = text_of(form)
    rows = {"a": 0, "b": 1}

    def encode(texts):
        chosen = [rows[caption] for caption in texts]
        return TextFeatures(text.tokens[chosen], text.lengths[chosen], text.sentence[chosen])

    path = public_file(tmp_path, form, diffusion_steps=4)
    generator = load_generator(path, family="mdm", statistics=tmp_path, encode=encode)
    sampler = RewardGuidedSampler(generator.to(dtype=torch.float64), SamplingConfig(steps=4, scheduler="ddpm", seed=3))
    both = sampler.sample(["a", "b"], LENGTHS, ids=["1", "2"]).features
    alone = sampler.sample(["b"], LENGTHS[1:], ids=["2"]).features
    assert both.shape == (2, 24, 263)
    torch.testing.assert_close(both[1, :17], alone[0], rtol=1e-6, atol=1e-6)
    assert (both[1, 17:] == 0).all()


def test_motions_longer_than_the_state_are_refused(tmp_path):
    generator = load(public_file(tmp_path, "encoder"), "encoder")
    assert generator.noise_shape(196) == (196, 263)
    with pytest.raises(FeatureSpecError, match="197 frames: this generator makes at most 196"):
        generator.noise_shape(197)
