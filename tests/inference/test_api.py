"""The Python API: load, generate, save."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import lightning_realign
from lightning_realign import GuidanceConfig, Motion, Pipeline, RewardSource, SamplingConfig
from lightning_realign.checkpoints.hub import export_model
from lightning_realign.errors import ConfigError
from lightning_realign.motion.predictions import read_prediction

TEXTS = ["a person walks", "a person jumps"]
FAST = SamplingConfig(steps=3, cfg_scale=2.0)
GUIDANCE = GuidanceConfig(mu=5.0, location="x0")


def load(bench, **more):
    return Pipeline.from_pretrained(bench.generator, reward=bench.reward, sampling=FAST, device="cpu", **more)


def test_generate_guided_and_save(bench, tmp_path):
    motions = load(bench).generate(TEXTS, seconds=2.0, samples=2, guidance=GUIDANCE)
    assert [motion.text for motion in motions] == [TEXTS[0]] * 2 + [TEXTS[1]] * 2
    assert len({motion.name for motion in motions}) == 4
    motion = motions[0]
    assert isinstance(motion, Motion)
    assert repr(motion) == "Motion('a person walks', 40 frames at 20 fps, skeleton 'humanml3d')"
    assert motion.features.shape == (40, 263) and motion.joints.shape == (40, 22, 3)
    assert motion.rewards.isfinite().all()
    files = [motion.save(tmp_path / f"walk{suffix}") for suffix in (".npz", ".bvh", ".glb")]
    assert [file.read_bytes()[:4] for file in files] == [b"PK\x03\x04", b"HIER", b"glTF"]
    np.testing.assert_array_equal(read_prediction(files[0]).joints, motion.joints.numpy())
    with pytest.raises(ConfigError, match=r"walk\.fbx: a motion is saved as \.npz, \.bvh, \.glb"):
        motion.save(tmp_path / "walk.fbx")
    assert not (tmp_path / "walk.fbx").exists()


def test_guidance_of_a_call_is_of_that_call_alone(bench):
    pipeline = load(bench, guidance=None)
    (before,) = pipeline.generate(TEXTS[0], seconds=1.0)
    (guided,) = pipeline.generate(TEXTS[0], seconds=1.0, guidance=GUIDANCE)
    (after,) = pipeline.generate(TEXTS[0], seconds=1.0)
    assert torch.equal(before.features, after.features)
    assert before.rewards.isnan().all() and not torch.equal(before.features, guided.features)
    (alone,) = load(bench, guidance=GUIDANCE).generate(TEXTS[0], seconds=1.0)
    assert torch.equal(alone.features, guided.features)


def test_checkpoint_folder_and_source_are_the_same(bench, tmp_path):
    folder = export_model(bench.reward, tmp_path / "reward")
    made = [
        Pipeline.from_pretrained(bench.generator, reward=reward, sampling=FAST, guidance=GUIDANCE, device="cpu")
        .generate(TEXTS[0], seconds=1.0)[0]
        .features
        for reward in (bench.reward, folder, RewardSource(str(folder)))
    ]
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])


def test_mistakes_are_said_before_anything_is_loaded(bench):
    with pytest.raises(ConfigError, match=r"reward path is not set, but mu=5\.0"):
        Pipeline.from_pretrained("nowhere.ckpt", guidance=GUIDANCE, device="cpu")
    with pytest.raises(ConfigError, match="samples is 0"):
        load(bench).generate(TEXTS, samples=0)


def test_public_names_exist_and_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in lightning_realign.__all__:
            assert getattr(lightning_realign, name) is not None
    assert set(dir(lightning_realign)) == set(lightning_realign.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        lightning_realign.Nothing  # noqa: B018
