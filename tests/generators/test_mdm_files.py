"""MDM's files in the public formats, good and bad."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_realign.errors import CheckpointError, ConfigError, DataError
from tests.helpers.public_mdm import FORMS, load, public_file, public_weights


@pytest.mark.parametrize("form", FORMS)
def test_a_public_file_is_told_apart(tmp_path, form):
    features, _, steps, arguments, _ = FORMS[form]
    generator = load(public_file(tmp_path, form), form)
    sizes = generator.denoiser.architecture
    assert {name: getattr(sizes, name) for name in arguments} == arguments
    assert (generator.skeleton, len(generator.normaliser.mean)) == ("kit" if features == 251 else "humanml3d", features)
    assert (generator.recipe.scheduler, generator.recipe.steps, generator.recipe.cfg_scale) == ("ddpm", steps, 2.5)
    assert (generator.spec.prediction, generator.spec.schedule.kind) == ("sample", "cosine")
    encoder = "distilbert-base-uncased" if form == "decoder_bert_50" else "clip-vit-base-patch32-22"
    assert generator.spec.text_encoder == encoder
    assert (generator.latents, generator.evaluations) == (None, 2)
    assert generator.noise_shape(60) == (60 if arguments.get("mask_frames") else 196, features)


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
        told = load(path, form).spec, load(path, form).denoiser.architecture
        (path.parent / "args.json").unlink()
        generator = load(path, form)
        assert (generator.spec, generator.denoiser.architecture) == told
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
