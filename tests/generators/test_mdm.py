"""MDM against the public code's own numbers, and its files in the public format, good and bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixed_weights import fixed_input, fixed_state, golden, relative_error

from lightning_realign.errors import CheckpointError, ConfigError, DataError, FeatureSpecError
from lightning_realign.generators import load_generator
from lightning_realign.generators.base import LoadOptions
from lightning_realign.generators.mdm import MDMGenerator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.guidance.stepping import Walk
from lightning_realign.models.mdm import MotionDenoiser
from lightning_realign.types import TextFeatures

GOLDEN: Any = golden(Path(__file__).parent / "golden" / "mdm.json")
FRAMES, LENGTHS = 24, torch.tensor([24, 17])
# Per public form: features, size of a text, steps, arguments of the network, and what its args.json says.
FORMS: dict[str, tuple[int, int, int, dict[str, Any], dict[str, Any]]] = {
    "encoder": (263, 512, 1000, {}, {"arch": "trans_enc", "dataset": "humanml"}),
    "encoder_kit": (251, 512, 1000, {}, {"arch": "trans_enc", "dataset": "kit"}),
    "encoder_50": (
        263, 512, 50, {"mask_frames": True},
        {"arch": "trans_enc", "dataset": "humanml", "diffusion_steps": 50, "mask_frames": True},
    ),
    "decoder": (263, 512, 1000, {"kind": "decoder"}, {"arch": "trans_dec", "dataset": "humanml"}),
    "decoder_with_emb": (
        263, 512, 1000, {"kind": "decoder", "time_token": True},
        {"arch": "trans_dec", "dataset": "humanml", "emb_trans_dec": True, "text_encoder_type": "clip"},
    ),
    "decoder_bert_50": (
        263, 768, 50, {"kind": "decoder", "text": "tokens", "mask_frames": True},
        {"arch": "trans_dec", "dataset": "humanml", "diffusion_steps": 50, "mask_frames": True,
         "text_encoder_type": "bert", "emb_trans_dec": False, "use_ema": True},
    ),
}  # fmt: skip
SMALL, FULL = {"width": 64, "layers": 2}, {"width": 512, "layers": 8}


def network(form: str, sizes: dict[str, int], dtype: torch.dtype = torch.float64) -> MotionDenoiser:
    features, text, _, arguments, _ = FORMS[form]
    denoiser = MotionDenoiser(features, text, **arguments, **sizes)
    denoiser.load_state_dict(fixed_state({key: tuple(value.shape) for key, value in denoiser.state_dict().items()}))
    return denoiser.eval().to(dtype)


def text_of(form: str, dtype: torch.dtype = torch.float64) -> TextFeatures:
    """Text features of two captions; the public run has other values in the padding, which it masks."""
    sentence = fixed_input("mdm:sentence", 2, 512).to(dtype)
    tokens = fixed_input("mdm:tokens", 2, 6, 768).to(dtype) if FORMS[form][1] == 768 else torch.zeros(2, 6, 512)
    tokens[1, 4:] = 0.0
    return TextFeatures(tokens, torch.tensor([6, 4]), sentence)


@pytest.mark.parametrize("form", FORMS)
def test_the_network_computes_what_the_public_one_does(form):
    features, _, steps, _, _ = FORMS[form]
    denoiser, t = network(form, FULL, torch.float32), torch.tensor([7, 931 if steps == 1000 else 43])
    none, every = torch.tensor([False, False]), torch.tensor([True, True])
    for dtype, limit in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
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


def public_weights(form: str, sizes: dict[str, int] = SMALL) -> dict[str, torch.Tensor]:
    """A state dict as the public training stores it: with both position tables, here of an older size."""
    table = torch.full((60, 1, sizes["width"]), 7.0)
    tables = {f"{place}sequence_pos_encoder.pe": table for place in ("", "embed_timestep.")}
    return network(form, sizes, torch.float32).state_dict() | tables


def public_file(
    folder: Path, form: str, sizes: dict[str, int] = SMALL, arguments: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """A checkpoint with args.json and the data set's statistics, in the public formats."""
    features, _, _, _, given = FORMS[form]
    weights: dict[str, Any] = public_weights(form, sizes)
    if given.get("use_ema"):
        weights = {"model": {key: value + 1 for key, value in weights.items()}, "model_avg": weights}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights, folder / "model000200000.pt")
    told = given if arguments is None else arguments
    told = {"latent_dim": sizes["width"], "layers": sizes["layers"], "cond_mask_prob": 0.1, **told, **changes}
    (folder / "args.json").write_text(json.dumps(told), encoding="utf-8")
    np.save(folder / "Mean.npy", fixed_input("mdm:mean", features).numpy())
    np.save(folder / "Std.npy", 0.5 + fixed_input("mdm:std", features).abs().numpy())
    return folder / "model000200000.pt"


def load(path: Path, form: str, **settings: Any) -> MDMGenerator:
    settings.setdefault("statistics", path.parent)
    generator = load_generator("mdm", path, encode=lambda texts: text_of(form), **settings)
    assert isinstance(generator, MDMGenerator)
    return generator.to(dtype=torch.float64)


def small_state(generator: MDMGenerator, form: str) -> MDMGenerator:
    """The generator with states of 24 frames, as in the public run."""
    options = LoadOptions(encode=lambda texts: text_of(form))
    return MDMGenerator(generator.facts, generator.denoiser, generator.normaliser, options, max_frames=FRAMES)


@pytest.mark.parametrize("form", FORMS)
def test_a_public_file_is_told_apart(tmp_path, form):
    features, _, steps, arguments, _ = FORMS[form]
    generator = load(public_file(tmp_path, form), form)
    sizes = generator.denoiser.architecture
    assert {name: getattr(sizes, name) for name in arguments} == arguments
    assert (generator.skeleton, len(generator.normaliser.mean)) == ("kit" if features == 251 else "humanml3d", features)
    assert (generator.recipe.scheduler, generator.recipe.steps, generator.recipe.cfg_scale) == ("ddpm", steps, 2.5)
    assert (generator.facts.prediction, generator.facts.schedule.kind) == ("sample", "cosine")
    encoder = "distilbert-base-uncased" if form == "decoder_bert_50" else "clip-vit-base-patch32-22"
    assert generator.facts.text_encoder == encoder
    assert (generator.latents, generator.evaluations) == (None, 2)
    assert generator.noise_shape(60) == (60 if arguments.get("mask_frames") else 196, features)


@pytest.mark.parametrize("form", ["encoder", "decoder_bert_50"])
def test_guided_output_is_the_public_one(tmp_path, form):
    features, _, steps, _, _ = FORMS[form]
    generator = small_state(load(public_file(tmp_path, form, FULL), form), form)
    x, cond = fixed_input("mdm:x", 2, FRAMES, features), generator.condition(["a", "b"])
    outputs = [generator.denoise(x, t, cond, LENGTHS) for t in (7, 931 if steps == 1000 else 43)]
    assert relative_error(torch.stack([outputs[0][0], outputs[1][1]]), GOLDEN["forward"][form]["guided"]) < 1e-10


def assert_public_steps(generator: MDMGenerator, expected: dict[str, list[float]]) -> None:
    """Given the public run's start and noise, the states on the way down from its first step are its own."""
    walk = Walk(generator.scheduler, generator.recipe.scheduler, generator.recipe.steps)
    features = len(generator.normaliser.mean)
    x, cond = fixed_input("mdm:start", 2, FRAMES, features), generator.condition(["a", "b"])
    compared = 0
    for index in range(len(walk.timesteps) - 20 if len(walk.timesteps) > 50 else 0, len(walk.timesteps)):
        t = walk.timesteps[index]
        output = generator.denoise(x, t, cond, LENGTHS)
        x = walk.step(index, output, x, fixed_input(f"mdm:noise{t}", 2, FRAMES, features)).prev
        if str(t) in expected:
            assert relative_error(x, expected[str(t)]) < 1e-9
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
    generator = load_generator("mdm", path, statistics=tmp_path, encode=encode)
    sampler = RewardGuidedSampler(generator.to(dtype=torch.float64), 4, "ddpm", seed=3)
    both = sampler.sample(["a", "b"], LENGTHS, ids=["1", "2"]).features
    alone = sampler.sample(["b"], LENGTHS[1:], ids=["2"]).features
    assert both.shape == (2, 24, 263)
    torch.testing.assert_close(both[1, :17], alone[0], rtol=1e-6, atol=1e-6)
    assert (both[1, 17:] == 0).all()


def test_motions_longer_than_the_state_are_refused(tmp_path):
    generator = load(public_file(tmp_path, "encoder"), "encoder")
    assert generator.noise_shape(196) == (196, 263)
    with pytest.raises(FeatureSpecError, match="197 frames: this MDM model makes at most 196"):
        generator.noise_shape(197)


def test_averaged_weights_are_preferred_and_a_stored_text_encoder_is_left_out(tmp_path):
    path = public_file(tmp_path, "decoder_bert_50")
    expected = public_weights("decoder_bert_50")["embed_text.bias"]
    torch.testing.assert_close(load(path, "decoder_bert_50").denoiser.embed_text.bias, expected.double())
    weights = public_weights("encoder") | {"clip_model.token_embedding.weight": torch.zeros(3)}
    torch.save(weights, public_file(tmp_path, "encoder"))
    assert load(path, "encoder").denoiser.num_features == 263


def test_without_args_json_only_what_was_published_in_one_version_is_loaded(tmp_path):
    for form in ("decoder_bert_50", "encoder_kit"):
        path = public_file(tmp_path / form, form)
        told = load(path, form).facts, load(path, form).denoiser.architecture
        (path.parent / "args.json").unlink()
        generator = load(path, form)
        assert (generator.facts, generator.denoiser.architecture) == told
    path = public_file(tmp_path, "encoder")
    (tmp_path / "args.json").unlink()
    with pytest.raises(CheckpointError, match=r"no args\.json beside it"):
        load(path, "encoder")


def test_settings_of_a_user_replace_the_published_ones(tmp_path):
    path = public_file(tmp_path, "encoder")
    recipe = load(path, "encoder", steps=50, scheduler="ddim", cfg_scale=1.0).recipe
    assert (recipe.scheduler, recipe.steps, recipe.cfg_scale) == ("ddim", 50, 1.0)
    path = public_file(tmp_path, "encoder", cond_mask_prob=0)
    assert load(path, "encoder").evaluations == 1
    with pytest.raises(ConfigError, match=r"cfg_scale=2\.5, but it was never trained without text"):
        load(path, "encoder", cfg_scale=2.5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"arch": "trans_dec"}, CheckpointError, "arch is 'trans_dec', but the weights of model000200000.pt are of"),
        ({"text_encoder_type": "bert"}, CheckpointError, "text_encoder_type is 'bert'"),
        ({"dataset": "kit"}, CheckpointError, "dataset is 'kit'"),
        ({"latent_dim": 512}, CheckpointError, "latent_dim is 512, but .* of 64"),
        ({"layers": 8}, CheckpointError, "layers is 8, but .* of 2"),
        ({"noise_schedule": "linear"}, ConfigError, "noise_schedule is 'linear'; only .* 'cosine'"),
        ({"context_len": 20}, ConfigError, "context_len is 20"),
        ({"unconstrained": True}, ConfigError, "unconstrained is True"),
        ({"diffusion_steps": "50"}, ConfigError, "diffusion_steps is '50', not an integer of 1 to 5000"),
        ({"diffusion_steps": 0}, ConfigError, "diffusion_steps is 0"),
        ({"mask_frames": 1}, ConfigError, "mask_frames is 1, neither true nor false"),
        ({"cond_mask_prob": None}, ConfigError, "cond_mask_prob is None"),
    ],
)
def test_args_json_of_something_else(tmp_path, change, error, message):
    with pytest.raises(error, match=message) as caught:
        load(public_file(tmp_path, "encoder", **change), "encoder")
    assert str(tmp_path / "args.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_args_json(tmp_path):
    path = public_file(tmp_path, "encoder")
    (tmp_path / "args.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="is not valid JSON"):
        load(path, "encoder")


def without(weights: dict[str, torch.Tensor], *parts: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights.items() if not any(part in key for part in parts)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: without(weights, "layers.1.norm2"), r"2 missing \('seqTransEncoder.layers.1.norm2.weight'"),
        (lambda weights: weights | {"gru.weight": torch.zeros(2)}, r"1 surplus \('gru.weight'\)"),
        (lambda weights: weights | {"embed_text.bias": torch.zeros(2)}, r"of another shape \('embed_text.bias'"),
        (lambda weights: without(weights, "seqTransEncoder"), "no text-to-motion transformer of MDM"),
        (lambda weights: {}, "no weights 'model_avg' or 'model', but nothing"),
        (
            lambda weights: weights | {"seqTransEncoder.layers.0.linear1.weight": torch.tensor(1.0)},
            "no text-to-motion transformer of MDM",
        ),
        (lambda weights: without(weights, "embed_text"), "no text-to-motion transformer of MDM"),
        (lambda weights: weights | {"embed_text.weight": torch.zeros(64, 5)}, "texts have 5 features"),
        (lambda weights: weights | {"input_process.poseEmbedding.weight": torch.zeros(64, 150)}, "motions have 150"),
        (lambda weights: {"model": weights, "model_avg": {"step": 3}}, "has no weights 'model_avg' or 'model'"),
    ],
)
def test_weights_of_something_else(tmp_path, change, message):
    path = public_file(tmp_path, "encoder")
    torch.save(change(public_weights("encoder")), path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path, "encoder")
    assert str(path) in str(caught.value)


def test_statistics_are_asked_for(tmp_path):
    path = public_file(tmp_path, "encoder")
    with pytest.raises(ConfigError, match="set statistics to the folder"):
        load(path, "encoder", statistics=None)
    np.save(tmp_path / "Mean.npy", np.zeros(251))
    with pytest.raises(DataError, match=r"needs \(263,\)"):
        load(path, "encoder")
