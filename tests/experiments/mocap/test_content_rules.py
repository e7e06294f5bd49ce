"""Content rules: on figures that are built to do something, and on real motions."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.mocap.measure.content import RULES, read_action
from experiments.mocap.measure.probes import ContentRules
from lightning_realign.errors import ConfigError
from lightning_realign.evaluation.probes import Task
from tests.helpers.built_figures import SKELETON, gesturing, mirrored, rotated, stepping

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
    return (probe or ContentRules()).measure(torch.from_numpy(joints), SKELETON, Task("a", "any text", label))


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
    assert named == set(ContentRules.metrics)
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
        ContentRules().measure(torch.from_numpy(stepping(1.2)), other, Task("a", "b", "walk / old"))


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
