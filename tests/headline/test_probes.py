"""Content rules and distances to training motions: on figures that are built to do something, and on real motions."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.headline.content import RULES, read_action
from benchmarks.headline.copying import STRIDE, Gallery, pose_vectors
from benchmarks.headline.probes import ContentRules, CopyDistance
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.guidance import DualAlignmentReward
from lightning_realign.inference.probes import Task
from lightning_realign.motion import load_skeleton, recover_joints
from lightning_realign.motion.mirror import mirror_joints
from lightning_realign.rewards import load_reward
from tests.support import random_joints, write_tiny_dataset
from tests.tiny_models import dataset_normaliser, use_hashed_text, write_reward

SKELETON = load_skeleton("humanml3d")
FRAMES = 80
SIDES = {"left": "right", "right": "left"}
# speed in m/s, its way in degrees (0 ahead, 90 left), net turn in degrees
WALKING = {
    "walk": (1.2, 0, 0),
    "walk-back": (0.7, 180, 0),
    "walk-left": (1.0, 35, 0),
    "walk-right": (1.0, -35, 0),
    "walk-turn-left": (1.2, 0, 90),
    "walk-turn-right": (1.2, 0, -90),
}


def figure(frames=FRAMES):
    """[T, 22, 3] a person who stands at the origin, facing +z, with hanging arms."""
    pose = np.zeros((22, 3))
    heights = {"pelvis": 0.95, "spine1": 1.05, "spine2": 1.15, "spine3": 1.25, "neck": 1.5, "head": 1.6}
    sides = {
        "hip": (0.1, 0.9),
        "knee": (0.1, 0.5),
        "ankle": (0.1, 0.08),
        "foot": (0.1, 0.02),
        "collar": (0.08, 1.42),
        "shoulder": (0.18, 1.42),
        "elbow": (0.2, 1.15),
        "wrist": (0.2, 0.9),
    }
    for name, height in heights.items():
        pose[SKELETON.index(name)] = 0, height, 0
    for name, (x, y) in sides.items():
        for side, sign in (("left", 1), ("right", -1)):
            pose[SKELETON.index(f"{side}_{name}")] = sign * x, y, 0.1 if name == "foot" else 0
    return np.repeat(pose[None], frames, axis=0)


def stepping(speed, way=0.0, turn=0.0, runs=False, frames=FRAMES):
    """A figure on the move: planted feet rest on the floor, the pelvis bobs as in walking or in running."""
    joints, time = figure(frames), np.arange(frames) / SKELETON.fps
    duty, period = (0.35, 0.7) if runs else (0.62, 1.0)
    direction = np.array([math.sin(math.radians(way)), 0, math.cos(math.radians(way))])
    spread = np.abs(np.sin(2 * np.pi * time / period))
    joints[..., 1] += 0.03 * (spread if runs else -spread)[:, None]
    for side, late in (("left", 0.0), ("right", 0.5)):
        cycle = (time / period + late + duty / 2) % 1
        stance, swing = speed * period * (duty / 2 - cycle), (cycle - duty) / (1 - duty)
        reach = np.where(cycle < duty, stance, speed * period * duty * (swing - 0.5))
        for name in ("ankle", "foot"):
            place = SKELETON.index(f"{side}_{name}")
            joints[:, place, 1] = figure(1)[0, place, 1] + np.where(cycle < duty, 0, 0.1 * np.sin(np.pi * swing))
            joints[:, place] += reach[:, None] * direction
    angles = np.radians(turn) * np.clip((time - 1) / 2, 0, 1)
    turned = rotated(joints, angles)
    path = rotated(np.repeat(direction[None, None] * speed / SKELETON.fps, frames, axis=0), angles)
    return turned + np.cumsum(path, axis=0)


def gesturing(raised, waves=False, frames=FRAMES):
    """A figure that lifts hands above its neck and lets them sink again, and waves them while they are up."""
    joints, share = figure(frames), np.arange(frames) / (frames - 1)
    lift = np.clip(3 * np.sin(np.pi * share), 0, 1)
    for side in raised:
        wrist = SKELETON.index(f"{side}_wrist")
        joints[:, wrist, 1] += lift * 0.9
        joints[:, wrist, 0] += lift * waves * 0.2 * np.sin(12 * np.pi * share)
    return joints


def rotated(joints, angle):
    """About the y axis, by one angle in radians or one for every frame."""
    cos, sin = (np.broadcast_to(f(angle), len(joints))[:, None] for f in (np.cos, np.sin))
    x, y, z = np.moveaxis(joints, -1, 0)
    return np.stack((x * cos + z * sin, y, z * cos - x * sin), axis=-1)


def mirrored(joints):
    return mirror_joints(torch.from_numpy(joints), SKELETON).numpy()


def swapped(content):
    return "-".join(SIDES.get(word, word) for word in content.split("-"))


def passes(content, joints):
    return all(RULES[content].verdicts(read_action(joints, SKELETON)).values())


def built(content):
    if content in WALKING:
        return stepping(*WALKING[content])
    if content in ("run", "dash"):
        return stepping(2.7, runs=True)
    sides = [side for side in SIDES if side in content] or list(SIDES)
    return gesturing(sides, waves=content.startswith("wave"))


def judge(joints, label, probe=None):
    return (probe or ContentRules()).look(torch.from_numpy(joints), SKELETON, Task("a", "any text", label))


@pytest.mark.parametrize("content", RULES)
def test_a_built_motion_meets_its_own_rule_and_no_other(content):
    motion = built(content)
    twins = {"run", "dash"} if content in ("run", "dash") else {content}
    assert {other for other in RULES if passes(other, motion)} == twins


@pytest.mark.parametrize("content", RULES)
def test_the_mirror_image_meets_the_rule_of_the_other_side(content):
    assert passes(swapped(content), mirrored(built(content)))
    assert passes(content, mirrored(built(content))) == (swapped(content) == content)


@pytest.mark.parametrize("content", RULES)
def test_where_it_stands_and_looks_does_not_matter(content):
    motion = built(content)
    here = read_action(motion, SKELETON)
    there = read_action(rotated(motion, 2.3) + np.array([4.0, 0.0, -7.0]), SKELETON)
    assert here.raised == there.raised
    assert here.to_and_fro == pytest.approx(there.to_and_fro)
    for name in ("turn", "speed", "running"):
        assert getattr(here, name) == pytest.approx(getattr(there, name), abs=1e-6), name
    # A figure that stands still goes no way.
    assert here.gait == "stand" or math.cos(math.radians(here.way - there.way)) == pytest.approx(1)


def test_backwards_in_time_it_walks_backwards_and_turns_to_the_other_side():
    assert passes("walk-back", stepping(1.0)[::-1])
    assert passes("walk", stepping(0.7, 180)[::-1])
    turned = read_action(stepping(1.2, 0, 90)[::-1], SKELETON)
    assert turned.turned == "right"
    assert turned.heading == "back"
    assert passes("raise-up-left-hand", gesturing(["left"])[::-1])


@pytest.mark.parametrize("turn", [-170, -90, -60, -30, 0, 30, 60, 90, 170, 270])
def test_the_turn_is_measured_whole(turn):
    action = read_action(stepping(1.2, 0, turn), SKELETON)
    assert action.turn == pytest.approx(turn, abs=2)
    side = "left" if turn > 0 else "right"
    assert action.turned == ("none" if abs(turn) < 45 else side if abs(turn) < 135 else None)


def test_running_slower_than_walking_is_still_running():
    slow, fast = read_action(stepping(1.4, runs=True), SKELETON), read_action(stepping(1.6), SKELETON)
    assert slow.speed < fast.speed
    assert (slow.gait, fast.gait) == ("run", "walk")


def test_a_hand_that_is_raised_in_walking_is_no_raised_hand():
    walking = stepping(1.2)
    walking[:, SKELETON.index("left_wrist"), 1] += 0.9
    assert read_action(walking, SKELETON).raised == (True, False)
    assert judge(walking, "raise-up-left-hand / normal")["semantic_hand"] == 0
    assert judge(walking, "walk / normal") == {"semantic_accuracy": 1, "semantic_gait": 1}


def test_its_figures_by_content():
    waves = gesturing(["left"], waves=True)
    assert judge(waves, "raise-up-left-hand / old") == {"semantic_accuracy": 0, "semantic_hand": 1, "semantic_wave": 0}
    assert judge(waves, "wave-left-hand / old") == {"semantic_accuracy": 1, "semantic_hand": 1, "semantic_wave": 1}
    left = stepping(1.2, 0, 90)
    expected = {"semantic_accuracy": 0, "semantic_turn": 0, "semantic_gait": 1}
    assert judge(left, "walk-turn-right / proud") == expected
    named = {name for content in RULES for name in judge(left, f"{content} / sad")}
    assert named == set(ContentRules.figures)
    for label in (None, "bow / sad", "punch / normal", '{"actions": []}'):
        assert judge(left, label) == {}


@pytest.mark.parametrize("content", RULES)
def test_a_motion_that_is_blown_up_does_nothing_right(content):
    motion = built(content)
    right = judge(motion, content)
    motion[3, 7, 1] = np.inf
    assert right == dict.fromkeys(right, 1.0)
    assert judge(motion, content) == dict.fromkeys(right, 0.0)


def test_a_skeleton_without_such_joints_is_refused():
    other = replace(SKELETON, joints=tuple(name.replace("wrist", "hand") for name in SKELETON.joints))
    with pytest.raises(ConfigError, match="left_wrist"):
        ContentRules().look(torch.from_numpy(stepping(1.2)), other, Task("a", "b", "walk / old"))


@pytest.fixture(scope="module")
def real(test_data):
    """Real training motions by content, at most twelve of each, evenly over the split."""
    folder = test_data / "bandai_namco"
    positions = np.load(folder / "positions.npz")["positions"]
    found = {}
    for item in json.loads((folder / "index.json").read_text()):
        if item["split"] == "train" and item["content"] in RULES:
            found.setdefault(item["content"], []).append(item)
    return {
        content: [
            positions[item["start"] : item["start"] + item["length"]] / 4000.0
            for item in items[:: -(-len(items) // 12)]
        ]
        for content, items in found.items()
    }


def test_real_motions_meet_their_rules_and_hardly_any_other(real):
    assert set(real) == set(RULES)
    actions = {content: [read_action(motion, SKELETON) for motion in found] for content, found in real.items()}
    pairs = {
        (rule, content): [all(RULES[rule].verdicts(action).values()) for action in actions[content]]
        for rule in RULES
        for content in RULES
    }
    same = ({"run", "dash"}, {"walk", "run"})
    right = [met for (rule, content), verdicts in pairs.items() if rule == content for met in verdicts]
    others = [
        met for (rule, content), x in pairs.items() if rule != content and {rule, content} not in same for met in x
    ]
    assert len(right) > 100
    assert np.mean(right) >= 0.95
    assert np.mean(others) <= 0.005


def test_mirrored_real_motions_meet_the_rule_of_the_other_side(real):
    motions = [(content, motion) for content in RULES if swapped(content) != content for motion in real[content]]
    assert np.mean([passes(swapped(content), mirrored(motion)) for content, motion in motions]) >= 0.95
    assert np.mean([passes(content, mirrored(motion)) for content, motion in motions]) <= 0.02


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
    train, scorer = motions(data, "train"), DualAlignmentReward(load_reward(reward))
    ids, seen = data.ids("train"), set()
    batch = data.drawn("train", ids, 0)
    for caption in data.caption_tokens("test"):
        whole = [torch.from_numpy(np.array(s.motion))[None] for s in data.samples("train", ids)]
        rewards = [scorer.score(x, torch.tensor([x.shape[1]]), [caption]).item() for x in whole]
        best = batch.ids[int(np.argmax(rewards))]
        label = data.labels[best]
        seen.add(best)
        # Only a label of the test split has a gallery.
        found = probe.look(train[best], SKELETON, Task("any", caption, label))
        assert found["distance_to_reference"] == pytest.approx(0, abs=1e-6)
        assert found.get("distance_to_training", 0) == pytest.approx(0, abs=1e-6)
        for other in set(ids) - {best}:
            found = probe.look(train[other], SKELETON, Task("any", caption, "walk"))
            assert found["distance_to_reference"] > 0.01
            assert (found["distance_to_training"] < 1e-6) == (data.labels[other] == "walk")
    assert len(seen) >= 1


def test_what_does_not_apply_is_left_out(training):
    probe, data, _ = training
    test, caption = motions(data, "test"), next(iter(data.caption_tokens("test")))
    for sample, joints in test.items():
        found = probe.look(joints, SKELETON, Task(sample, caption, data.labels.get(sample)))
        assert ("distance_to_training" in found) == (data.labels.get(sample) == "walk")
        assert min(found.values()) > 0
        joints[2, 4, 1] = math.nan
        assert probe.look(joints, SKELETON, Task(sample, caption, "walk")) == {}
    with pytest.raises(ConfigError, match=r"never heard.*prepare"):
        probe.look(joints, SKELETON, Task("one", "never heard", "walk"))


def test_neighbouring_captions_of_a_large_split_keep_their_order(training, monkeypatch):
    probe, data, _ = training
    whole = {caption: gallery.poses for caption, gallery in probe._references.items()}
    monkeypatch.setattr("benchmarks.headline.probes.ENCODED", 3)
    probe.prepare(data, "test")
    assert all(np.array_equal(whole[caption], gallery.poses) for caption, gallery in probe._references.items())
    assert list(whole) == list(probe._references)
