import numpy as np
import pytest
import torch

from lightning_realign.errors import DataError
from lightning_realign.motion import Normaliser, feature_statistics, load_skeleton

SKELETON = load_skeleton("humanml3d")
SIZE = SKELETON.num_features


def motions(seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(1000, random.uniform(0.1, 3), (frames, SIZE)).astype(np.float32) for frames in (7, 40, 1, 90)]


def test_statistics_are_those_of_all_frames():
    clips = motions()
    mean, std = feature_statistics(clips, SKELETON)
    frames = np.concatenate(clips).astype(np.float64)
    np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-12)
    for _, block in SKELETON.blocks:
        np.testing.assert_allclose(std[block], frames.std(axis=0)[block].mean(), rtol=1e-9)


def test_statistics_do_not_depend_on_order_or_type():
    clips = motions()
    mean, std = feature_statistics(clips, SKELETON)
    again = feature_statistics([torch.from_numpy(clip) for clip in reversed(clips)], SKELETON)
    np.testing.assert_allclose(again[0], mean, rtol=1e-12)
    np.testing.assert_allclose(again[1], std, rtol=1e-10)


def test_constant_block_gets_unit_deviation():
    clips = motions()
    contacts = dict(SKELETON.blocks)["contacts"]
    for clip in clips:
        clip[:, contacts] = 1
    _, std = feature_statistics(clips, SKELETON)
    assert (std[contacts] == 1).all()
    Normaliser(SIZE).set(np.zeros(SIZE), std)


@pytest.mark.parametrize(
    ("clips", "message"), [([], "no motion"), ([np.zeros((3, 5))], "motion 0"), ([np.full((3, SIZE), np.nan)], "NaN")]
)
def test_statistics_refuse_broken_motions(clips, message):
    with pytest.raises(DataError, match=message):
        feature_statistics(clips, SKELETON)


def test_normalise_and_back():
    normaliser = Normaliser(SIZE)
    features = torch.from_numpy(np.stack([motions(1)[1], motions(2)[1]]))
    assert torch.equal(normaliser.normalise(features), features)
    identity = normaliser.fingerprint()
    mean, std = feature_statistics(features.numpy(), SKELETON)
    normaliser.set(mean, std)
    normalised = normaliser.normalise(features)
    assert normalised.mean().abs() < 1e-3
    torch.testing.assert_close(normaliser.denormalise(normalised), features)
    assert normaliser.fingerprint() != identity
    copy = Normaliser(SIZE)
    copy.load_state_dict(normaliser.state_dict(), strict=True)
    assert copy.fingerprint() == normaliser.fingerprint()
    assert torch.equal(copy.normalise(features), normalised)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (np.zeros(251), np.ones(251), r"Mean has shape \(251,\), not \(263,\)"),
        (np.zeros(SIZE), np.ones((SIZE, 1)), "Std has shape"),
        (np.zeros(SIZE), np.zeros(SIZE), r"Std\[0\] is 0"),
        (np.zeros(SIZE), np.where(np.arange(SIZE) == 7, np.nan, 1), r"Std\[7\] is nan"),
        (np.where(np.arange(SIZE) == 9, np.inf, 1), np.ones(SIZE), r"Mean\[9\] is inf"),
    ],
)
def test_bad_statistics_are_refused_and_change_nothing(mean, std, message):
    normaliser = Normaliser(SIZE)
    with pytest.raises(DataError, match=message):
        normaliser.set(mean, std)
    assert torch.equal(normaliser.std, torch.ones(SIZE))
    assert torch.equal(normaliser.mean, torch.zeros(SIZE))
