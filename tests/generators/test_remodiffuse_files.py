"""ReMoDiffuse's checkpoints and statistics in the public form, good and bad."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_realign.checkpoints.convert import convert
from lightning_realign.errors import CheckpointError, ConfigError, FeatureSpecError
from lightning_realign.generators import LoadOptions
from lightning_realign.generators.remodiffuse.generator import load
from lightning_realign.types import TextFeatures
from tests.helpers.published_remodiffuse import TEXTS, generator_of, options, raw_statistics, write_remodiffuse


def test_public_files_say_what_the_model_is(tmp_path):
    kit = generator_of(tmp_path, 251, steps=10)
    assert (kit.skeleton, kit.latents, kit.recipe.cfg_scale) == ("kit", None, 5.0)
    assert (kit.recipe.steps, kit.recipe.timesteps) == (10, None)
    assert (kit.spec.prediction, kit.scheduler.config.num_train_timesteps) == ("sample", 1000)
    levels = kit.scheduler.alphas_cumprod
    np.testing.assert_allclose([1 - levels[0], 1 - levels[-1] / levels[-2]], [1e-4, 0.02])


def test_files_may_lie_beside_the_checkpoint(tmp_path):
    checkpoint = write_remodiffuse(tmp_path / "tree")
    tree = load(checkpoint, options())
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in [checkpoint, *(tmp_path / "tree/data").rglob("*.np?")]:
        path.rename(flat / path.name)
    found = load(flat / "latest.pth", options())
    assert found.normaliser.fingerprint() == tree.normaliser.fingerprint()
    assert found.database.path == flat / "t2m_text_train.npz"


def test_a_converted_checkpoint_is_the_same(tmp_path):
    checkpoint = write_remodiffuse(tmp_path)
    converted = checkpoint.with_suffix(".safetensors")
    convert(checkpoint, converted)
    one, other = (load(path, options()).denoiser.state_dict() for path in (checkpoint, converted))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_statistics_of_the_data_set_serve_where_the_models_own_are_missing(tmp_path):
    checkpoint = write_remodiffuse(tmp_path)
    own = load(checkpoint, options()).normaliser
    (tmp_path / "data/datasets/human_ml3d").rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match="set statistics to the folder"):
        load(checkpoint, options())
    for name, values in zip(("Mean", "Std"), raw_statistics(), strict=True):
        np.save(tmp_path / f"{name}.npy", values)
    made = load(checkpoint, options(statistics=tmp_path)).normaliser
    torch.testing.assert_close(made.std, own.std)


def test_other_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"1 surplus \('extra'\)"):
        load(write_remodiffuse(tmp_path / "a", **{"model.extra": torch.zeros(7)}), options())
    with pytest.raises(CheckpointError, match=r"latest\.pth: is no ReMoDiffuse model"):
        load(write_remodiffuse(tmp_path / "b", extra=torch.zeros(7)), options())
    with pytest.raises(CheckpointError, match="its motions have 99 features, the published models' 263"):
        load(write_remodiffuse(tmp_path / "c", 99), options())
    torch.save({"state_dict": {"model.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: is no ReMoDiffuse model"):
        load(tmp_path / "other.pth", options())


def test_what_it_cannot_do_is_refused(tmp_path):
    generator = generator_of(tmp_path)
    with pytest.raises(FeatureSpecError, match="a motion of 25 frames: this generator makes at most 24"):
        generator.noise_shape(25)
    wrong = TextFeatures(torch.zeros(2, 77, 384), torch.tensor([77, 77]), torch.zeros(2, 384))
    other = load(tmp_path / "logs/remodiffuse/latest.pth", LoadOptions(encode=lambda texts: wrong))
    with pytest.raises(ConfigError, match="ReMoDiffuse reads those of 'clip-vit-base-patch32'"):
        other.condition(TEXTS)
