"""Motions from prompts, in a folder without any data set."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.inference.prompt import check_prompts, frames_of
from lightning_realign.motion import load_skeleton
from lightning_realign.rewards.index import RewardIndex, index_path, load_or_build_index, reward_fingerprint
from tests.helpers.settings import prompts

FAST = {"steps": 3, "cfg_scale": 2.0}


@pytest.fixture
def alone(bench, tmp_path, monkeypatch):
    """A folder that holds two checkpoints and nothing else, as the working directory."""
    folder = tmp_path / "alone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, path in (("generator.ckpt", bench.generator), ("reward.ckpt", bench.reward)):
        shutil.copy(path, folder / name)
    return folder


def features(path):
    with np.load(path, allow_pickle=False) as archive:
        return archive["features"]


def test_prompts_become_files(alone):
    files = prompts(
        ["a person walks", "a person jumps"], alone / "generator.ckpt", alone / "out", seconds=2.0, samples=2,
        reward=alone / "reward.ckpt", mu=2.0, **FAST,
    )  # fmt: skip
    assert len({path.name for path in files}) == 4
    assert set((alone / "out").iterdir()) == set(files)
    for path, text in zip(files, ["a person walks"] * 2 + ["a person jumps"] * 2, strict=True):
        with np.load(path, allow_pickle=False) as archive:
            assert archive["text"].item() == text
            assert archive["joints"].shape == (40, 22, 3)
            assert np.isfinite(archive["rewards"]).all()


def test_a_prompt_gives_the_same_motion_whatever_else_is_asked(alone):
    one = prompts(["a person walks"], alone / "generator.ckpt", alone / "a", **FAST)
    two = prompts(["a person bows", "a person walks"], alone / "generator.ckpt", alone / "b", **FAST)
    np.testing.assert_allclose(features(one[0]), features(two[1]), atol=2e-4)
    twice = prompts(["a person walks"] * 2, alone / "generator.ckpt", alone / "c", **FAST)
    assert np.abs(features(twice[0]) - features(twice[1])).max() > 1e-3


def test_eta_needs_an_index_and_takes_or_finds_one(alone, bench, tmp_path, monkeypatch):
    settings = {"reward": alone / "reward.ckpt", "eta": 2.0, **FAST}
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=f"{tmp_path / 'cache' / 'index'}: no index of reward"):
        prompts(["a person walks"], alone / "generator.ckpt", alone / "out", **settings)
    with pytest.raises(DataError, match="no such retrieval index"):
        prompts(["a person walks"], alone / "generator.ckpt", alone / "out", index=alone / "none", **settings)
    bundle, data = load_reward(bench.reward), HumanML3DDataModule(bench.data)
    load_or_build_index(bundle, data, tmp_path, progress=False)
    index = index_path(reward_fingerprint(bundle), data, tmp_path)
    guided = prompts(["a person walks"], alone / "generator.ckpt", alone / "out", index=index, **settings)
    plain = prompts(["a person walks"], alone / "generator.ckpt", alone / "plain", **FAST)
    assert np.abs(features(guided[0]) - features(plain[0])).max() > 1e-3
    cached = index_path(reward_fingerprint(bundle), data)
    cached.parent.mkdir(parents=True)
    shutil.copy(index, cached)
    found = prompts(["a person walks"], alone / "generator.ckpt", alone / "found", **settings)
    np.testing.assert_array_equal(features(found[0]), features(guided[0]))
    with np.load(found[0], allow_pickle=False) as archive:
        assert archive["reference"].item() in RewardIndex.load(index, reward_fingerprint(bundle)).ids
    shutil.copy(index, cached.with_name(cached.name.replace(data.fingerprint, "another")))
    with pytest.raises(ConfigError, match="index of several data sets"):
        prompts(["a person walks"], alone / "generator.ckpt", alone / "out", **settings)


def test_window_norm_and_device_reach_the_sampler(alone):
    settings = {"reward": alone / "reward.ckpt", "mu": 20.0, "device": "cpu", **FAST}

    def run(name, **more):
        return np.load(prompts(["a person walks"], alone / "generator.ckpt", alone / name, **settings, **more)[0])

    assert np.isfinite(run("all")["rewards"]).tolist() == [True, True, True]
    assert np.isfinite(run("late", start=0.7)["rewards"]).tolist() == [False, True, True]
    assert np.isfinite(run("early", stop=0.5)["rewards"]).tolist() == [True, True, False]
    assert np.isfinite(run("some", every=2)["rewards"]).tolist() == [True, False, True]
    distances = [np.abs(run(name, **more)["features"] - run("still", max_norm=1e-30)["features"]).max() for name, more
                 in (("weak", {"max_norm": 1e-3}), ("strong", {}))]  # fmt: skip
    assert distances[0] < distances[1]
    assert np.abs(run("noise", ddim_eta=1.0)["features"] - run("all")["features"]).max() > 1e-3
    with pytest.raises(ConfigError, match="device is 'nowhere'"):
        prompts(["a"], alone / "generator.ckpt", alone / "out", device="nowhere")


def test_motions_that_blow_up_are_counted(alone):
    with pytest.warns(RuntimeWarning, match="1 of 1 motions have joints that are NaN or infinite"):
        prompts(
            ["a person walks"], alone / "generator.ckpt", alone / "out",
            reward=alone / "reward.ckpt", mu=1e38, scale="constant", **FAST,
        )  # fmt: skip


@pytest.mark.parametrize(("seconds", "frames"), [(4.0, 80), (4.05, 80), (4.15, 84), (9.8, 196), (0.2, 4)])
def test_length_is_a_multiple_of_four(seconds, frames):
    assert frames_of(seconds, load_skeleton("humanml3d")) == frames


@pytest.mark.parametrize("seconds", [0.0, -1.0, 10.0, float("nan"), float("inf"), 1e300])
def test_impossible_lengths_are_refused(seconds):
    with pytest.raises(ConfigError, match=r"give 0\.2 to 9\.8 seconds"):
        frames_of(seconds, load_skeleton("humanml3d"))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [([], "no text"), (["  "], "prompt 1 is empty"), (["fine", "x" * 501], "prompt 2 has 501 characters")],
)
def test_unusable_prompts_are_refused(prompts, message):
    with pytest.raises(ConfigError, match=message):
        check_prompts(prompts)


def test_guidance_needs_a_reward_and_samples_are_counted(alone):
    with pytest.raises(ConfigError, match="reward path is not set"):
        prompts(["walk"], alone / "generator.ckpt", alone / "out", mu=1.0)
    with pytest.raises(ConfigError, match="samples is 0"):
        prompts(["walk"], alone / "generator.ckpt", alone / "out", samples=0)
    assert not (alone / "out").exists()
