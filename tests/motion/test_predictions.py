"""Prediction files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_realign.errors import DataError
from lightning_realign.motion import load_skeleton, recover_joints
from lightning_realign.motion.predictions import Prediction, file_stem, read_prediction, write_predictions
from lightning_realign.types import GeneratedMotions


def prediction(skeleton: str, **settings) -> Prediction:
    spec, generator = load_skeleton(skeleton), torch.Generator().manual_seed(0)
    features = torch.randn(2, 12, spec.num_features, generator=generator)
    rewards = torch.tensor([[0.5, float("nan")], [0.25, float("nan")]])
    motions = GeneratedMotions(features, torch.tensor([12, 8]), torch.tensor([981, 1]), rewards)
    return Prediction(motions, ("a", "b"), ("walk", "läuft 走"), spec, mu=1.5, eta=0.0, seed=7, **settings)


@pytest.mark.parametrize(("skeleton", "fps", "unit"), [("humanml3d", 20.0, "metre"), ("kit", 12.5, "millimetre")])
def test_files_hold_everything_without_pickle(tmp_path, skeleton, fps, unit):
    given = prediction(skeleton)
    paths = write_predictions(given, tmp_path / "out")
    assert [path.name for path in paths] == ["a.npz", "b.npz"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.npz", "b.npz"}
    with np.load(paths[1], allow_pickle=False) as archive:
        fields = dict(archive)
    kept = given.motions.features[1, :8]
    np.testing.assert_array_equal(fields["features"], kept.numpy())
    np.testing.assert_allclose(fields["joints"], recover_joints(kept, given.skeleton).numpy(), rtol=1e-6)
    assert (fields["fps"].item(), fields["unit"].item(), fields["skeleton"].item()) == (fps, unit, skeleton)
    assert (fields["text"].item(), fields["mu"].item(), fields["seed"].item()) == ("läuft 走", 1.5, 7)
    assert fields["timesteps"].tolist() == [981, 1]
    np.testing.assert_array_equal(fields["rewards"], [0.25, np.nan])


def test_what_is_written_is_read(tmp_path):
    given = prediction("kit")
    read = read_prediction(write_predictions(given, tmp_path)[1])
    np.testing.assert_array_equal(read.joints, given.joints[1].numpy())
    assert (read.skeleton, read.fps, read.text) == (given.skeleton, 12.5, "läuft 走")
    np.testing.assert_array_equal(read.rewards, [0.25, np.nan])


@pytest.mark.parametrize("name", ["joints", "rewards"])
def test_fields_of_words_are_refused(tmp_path, name):
    path = write_predictions(prediction("kit"), tmp_path)[0]
    np.savez(path, **{**np.load(path), name: np.array(["one", "two"])})
    with pytest.raises(DataError, match=f"field '{name}' holds <U3, not numbers"):
        read_prediction(path)


def test_motions_that_are_no_numbers_are_counted():
    given = prediction("humanml3d")
    assert given.blown_up == 0
    given.motions.features[1, 3, 5] = float("nan")
    given.motions.features[0, 1, 3] = float("inf")
    assert prediction("humanml3d").blown_up == 0
    assert replace(given).blown_up == 2
    given.motions.features[:, 8:] = float("nan")
    given.motions.features[:, :8] = 0
    assert replace(given, motions=replace(given.motions, lengths=torch.tensor([8, 8]))).blown_up == 0


def test_replications_get_their_own_files(tmp_path):
    paths = write_predictions(prediction("humanml3d", replication=1, replications=3), tmp_path)
    assert [path.name for path in paths] == ["a_r1.npz", "b_r1.npz"]


def test_a_second_writing_replaces_the_first(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"half a file")
    write_predictions(prediction("humanml3d"), tmp_path)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive["joints"].shape == (12, 22, 3)


@pytest.mark.parametrize("sample", ["", ".", "..", "../a", "a/b", "/a", "a\\b"])
def test_ids_stay_in_the_folder(sample):
    with pytest.raises(DataError, match="cannot name a file"):
        file_stem(sample, 0, 1)
