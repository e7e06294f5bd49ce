"""Distances to training motions, and which of them a motion may have copied."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from experiments.mocap.measure.copying import STRIDE, Gallery, pose_vectors
from experiments.mocap.measure.probes import CopyDistance
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.evaluation.probes import Task
from lightning_realign.motion import recover_joints
from lightning_realign.rewards import read_reward
from lightning_realign.rewards.reward import DualAlignmentReward
from tests.helpers.built_figures import SKELETON, mirrored, rotated
from tests.helpers.support import random_joints, write_tiny_dataset
from tests.helpers.tiny_models import dataset_normaliser, use_hashed_text, write_reward


def poses(frames, seed):
    return pose_vectors(random_joints(SKELETON, frames, np.random.default_rng(seed)).numpy(), SKELETON)


def test_the_distance_is_that_of_the_best_match_in_order():
    """Against a search through the matches, pose by pose, with joints apart measured one by one."""
    others = [poses(frames, seed) for seed, frames in enumerate((9, 14, 6))]
    motion = poses(12, 7)

    def best(other):
        points = [row.reshape(-1, 3) for row in motion[::STRIDE]]
        costs = [[math.sqrt(((a - b.reshape(-1, 3)) ** 2).sum()) for b in other] for a in points]
        reached = costs[0]
        for row in costs[1:]:
            reached = [cost + min(reached[: place + 1]) for place, cost in enumerate(row)]
        return min(reached) / len(points)

    np.testing.assert_allclose(Gallery.of(others).distances(motion), [best(other) for other in others], rtol=1e-9)


def test_a_shift_of_all_joints_in_height_is_the_distance():
    joints = random_joints(SKELETON, 30, np.random.default_rng(3)).numpy()
    gallery = Gallery.of([pose_vectors(joints, SKELETON)])
    raised = pose_vectors(joints + np.array([0, 5.0, 0]), SKELETON)
    assert gallery.distances(raised)[0] == pytest.approx(5, rel=0.05)


def test_copies_are_found_wherever_and_however_fast_they_go():
    joints = random_joints(SKELETON, 60, np.random.default_rng(5)).numpy()
    gallery = Gallery.of([poses(40, 6), pose_vectors(joints, SKELETON), poses(90, 8)])
    moved = rotated(joints, np.linspace(0, 3, 60)) + np.linspace([0, 0, 0], [5, 0, 2], 60)[:, None]
    for copy in (joints, joints[13:41], np.repeat(joints, 2, axis=0), joints[::2], moved):
        distances = gallery.distances(pose_vectors(copy, SKELETON))
        assert distances[1] < 1e-6
        assert min(distances[0], distances[2]) > 0.05
    assert gallery.distances(pose_vectors(joints[::-1], SKELETON))[1] > 0.02
    assert gallery.distances(pose_vectors(mirrored(joints), SKELETON))[1] > 0.05


@pytest.fixture
def training(tmp_path, monkeypatch, hashed_cache):
    """A tiny data set whose labels are two, one of them of no training motion; a prepared probe, and its reward."""
    use_hashed_text(monkeypatch, hashed_cache)
    root = write_tiny_dataset(tmp_path / "data", train=8, val=2, test=4)
    data = HumanML3DDataModule(root)
    ids = {split: (root / f"{split}.txt").read_text().split() for split in ("train", "val", "test")}
    labels = {sample: "walk" for sample in (*ids["train"][:5], *ids["test"][:2])}
    labels |= {sample: "dance" for sample in ids["train"][5:]} | {ids["test"][2]: "swim"}
    rows = (f"{sample},{label}" for sample, label in labels.items())
    (root / "labels.csv").write_text("\n".join(("name,content", *rows)) + "\n")
    reward = write_reward(tmp_path / "reward.ckpt", dataset_normaliser(root, "humanml3d"))
    probe = CopyDistance(str(reward), index_cache=str(tmp_path / "index"))
    probe.prepare(data, "test")
    return probe, data, reward


def motions(data, split):
    return {
        s.id: recover_joints(torch.from_numpy(np.array(s.motion)), SKELETON)
        for s in data.samples(split, data.ids(split))
    }


def test_a_training_motion_is_a_copy_of_itself(training):
    probe, data, reward = training
    train, scorer = motions(data, "train"), DualAlignmentReward(read_reward(reward))
    ids, seen = data.ids("train"), set()
    batch = data.drawn("train", ids, 0)
    for caption in data.caption_tokens("test"):
        whole = [torch.from_numpy(np.array(s.motion))[None] for s in data.samples("train", ids)]
        rewards = [scorer.score(x, torch.tensor([x.shape[1]]), [caption]).item() for x in whole]
        best = batch.ids[int(np.argmax(rewards))]
        label = data.labels[best]
        seen.add(best)
        # Only a label of the test split has a gallery.
        found = probe.measure(train[best], SKELETON, Task("any", caption, label))
        assert found["distance_to_reference"] == pytest.approx(0, abs=1e-6)
        assert found.get("distance_to_training", 0) == pytest.approx(0, abs=1e-6)
        for other in set(ids) - {best}:
            found = probe.measure(train[other], SKELETON, Task("any", caption, "walk"))
            assert found["distance_to_reference"] > 0.01
            assert (found["distance_to_training"] < 1e-6) == (data.labels[other] == "walk")
    assert len(seen) >= 1


def test_what_does_not_apply_is_left_out(training):
    probe, data, _ = training
    test, caption = motions(data, "test"), next(iter(data.caption_tokens("test")))
    for sample, joints in test.items():
        found = probe.measure(joints, SKELETON, Task(sample, caption, data.labels.get(sample)))
        assert ("distance_to_training" in found) == (data.labels.get(sample) == "walk")
        assert min(found.values()) > 0
        joints[2, 4, 1] = math.nan
        assert probe.measure(joints, SKELETON, Task(sample, caption, "walk")) == {}
    with pytest.raises(ConfigError, match=r"never heard.*prepare"):
        probe.measure(joints, SKELETON, Task("one", "never heard", "walk"))


def test_neighbouring_captions_of_a_large_split_keep_their_order(training, monkeypatch):
    probe, data, _ = training
    whole = {caption: gallery.poses for caption, gallery in probe._references.items()}
    monkeypatch.setattr("experiments.mocap.measure.probes.ENCODED", 3)
    probe.prepare(data, "test")
    assert all(np.array_equal(whole[caption], gallery.poses) for caption, gallery in probe._references.items())
    assert list(whole) == list(probe._references)
