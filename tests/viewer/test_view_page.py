"""The viewer's page: what it holds, what it loads (nothing), and which motions stand side by side."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lightning_realign.__main__ import main
from lightning_realign.data.synthetic import to_attributes
from lightning_realign.data.synthetic.dataset import make_motion
from lightning_realign.errors import DataError
from lightning_realign.motion import load_skeleton
from lightning_realign.viewer import write_page
from lightning_realign.viewer.body import LEFT, RIGHT, body_plan
from lightning_realign.viewer.packing import pack, unpack
from tests.helpers.own_skeletons import random_skeleton
from tests.helpers.shown_motions import synthetic_joints, write_shown
from tests.helpers.support import random_joints


def content_of(page):
    """The data in a page."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    return json.loads(found)


@pytest.mark.parametrize("reach", [0.5, 5.0, 100.0])
def test_packing_keeps_a_millimetre(reach):
    random = np.random.default_rng(0)
    joints = np.cumsum(random.normal(size=(60, 22, 3)), axis=0)
    joints *= reach / np.ptp(joints, axis=(0, 1)).max()
    assert np.abs(unpack(pack(joints), 60) - joints).max() < 1e-3


@pytest.mark.parametrize("joints", [np.zeros((1, 22, 3)), np.ones((5, 22, 3))], ids=["one frame", "no extent"])
def test_packing_of_still_motions(joints):
    assert np.array_equal(unpack(pack(joints), len(joints)), joints)


def test_the_page_loads_nothing(tmp_path):
    page = write_page([write_shown(tmp_path / "a.npz", synthetic_joints(0))], tmp_path / "a.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"<(?:script|img|iframe|source)[^>]*\ssrc=|<link[^>]*href=\"(?!data:)|@import|url\(", page)
    assert set(re.findall(r"https?://[\w./-]+", page)) <= {"http://www.w3.org/1999/xhtml", "http://www.w3.org/2000/svg"}
    assert not re.search(r"\bfetch\(|XMLHttpRequest|importScripts|WebSocket", page.replace(".fetch(", ""))


def test_a_hundred_motions_are_small(tmp_path):
    for index in range(100):
        joints = synthetic_joints(index % 10)
        write_shown(tmp_path / f"{index}.npz", np.resize(joints, (120, 22, 3)) + index * 0.01)
    page = write_page([tmp_path], tmp_path / "view.html")
    assert page.stat().st_size < 6e6
    assert len(content_of(page)["motions"]) == 100


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!-- <script>", "@@THREE@@ \u2028 & \"'"])
def test_captions_are_only_text(text, tmp_path):
    page = write_page([write_shown(tmp_path / "a.npz", synthetic_joints(0), text)], tmp_path / "a.html")
    assert content_of(page)["motions"][0]["caption"] == text
    harmless = write_page([write_shown(tmp_path / "a.npz", synthetic_joints(0), "walk")], tmp_path / "b.html")
    for token in ("<script", "</script", "<!--", "alert(1)</"):
        assert page.read_text().count(token) == harmless.read_text().count(token), token


def test_a_title_is_only_text(tmp_path):
    page = write_page([write_shown(tmp_path / "a.npz", synthetic_joints(0))], tmp_path / "<b>&.html")
    assert "<title>&lt;b&gt;&amp;</title>" in page.read_text()


def test_pairs_of_folders(tmp_path):
    for system, names in (("guided", "ab"), ("unguided", "bac"), ("other", "b")):
        for name in names:
            write_shown(tmp_path / system / f"{name}.npz", synthetic_joints(0), f"caption {name}")
    content = content_of(write_page([tmp_path], tmp_path / "view.html"))
    motions = content["motions"]
    shown = [[(motions[place]["name"], motions[place]["system"]) for place in group] for group in content["groups"]]
    assert sorted(shown) == [
        [("a", "unguided"), ("a", "guided")],
        [("b", "unguided"), ("b", "guided"), ("b", "other")],
        [("c", "unguided")],
    ]


def test_a_file_given_twice_is_shown_once(tmp_path):
    file = write_shown(tmp_path / "a.npz", synthetic_joints(0))
    assert len(content_of(write_page([file, tmp_path, file], tmp_path / "view.html"))["motions"]) == 1


def test_rewards_steps_and_toes(tmp_path):
    joints = synthetic_joints(0)
    joints[:, :, 0] += np.linspace(0, 10, len(joints))[:, None]  # drags the standing body along
    rewards = np.array([np.nan, 0.25, np.inf, 0.5])
    file = write_shown(tmp_path / "a.npz", joints, rewards=rewards, trace=np.stack([joints] * 4))
    (motion,) = content_of(write_page([file], tmp_path / "a.html"))["motions"]
    assert motion["rewards"] == [None, 0.25, None, 0.5]
    assert len(motion["trace"]) == 4 and motion["frames"] == len(joints)
    np.testing.assert_allclose(unpack(motion["trace"][3], len(joints)), joints, atol=1e-3)
    assert [len(toe) for toe in motion["toes"]] == [len(joints) - 1] * 2
    assert any("2" in toe for toe in motion["toes"])


def test_motions_of_a_data_set_are_real(tmp_path):
    (tmp_path / "new_joints").mkdir()
    (tmp_path / "texts").mkdir()
    np.save(tmp_path / "new_joints" / "a.npy", synthetic_joints(0))
    (tmp_path / "texts" / "a.txt").write_text("a man runs.#a/DET man/NOUN run/VERB#0.0#0.0\n")
    (motion,) = content_of(write_page([tmp_path / "new_joints"], tmp_path / "view.html"))["motions"]
    assert (motion["system"], motion["caption"], motion["fps"]) == ("real", "a man runs.", 20.0)


def test_the_oracle_judges(tmp_path):
    spec = load_skeleton("humanml3d")
    asked = {"a": make_motion(spec, 0, "test", 0).actions, "c": make_motion(spec, 0, "test", 1).actions}
    assert asked["a"] != asked["c"]
    attributes = {name: to_attributes(actions) for name, actions in asked.items()}
    (tmp_path / "attributes.json").write_text(json.dumps(attributes))
    for name in ("a_r1", "b", "c"):
        write_shown(tmp_path / "motions" / f"{name}.npz", synthetic_joints(0))
    motions = content_of(write_page([tmp_path / "motions"], tmp_path / "v.html", tmp_path))["motions"]
    right, unknown, wrong = (motion["verdict"] for motion in motions)
    assert right == {"text": "does what was asked", "right": True} and unknown is None
    assert wrong["right"] is False and wrong["text"].startswith("asked for ")


def test_motions_that_are_not_finite_are_left_out(tmp_path):
    good, bad = synthetic_joints(0), synthetic_joints(0)
    bad[3, 2, 1] = np.nan
    files = [write_shown(tmp_path / f"{name}.npz", joints) for name, joints in (("good", good), ("bad", bad))]
    content = content_of(write_page(files, tmp_path / "view.html"))
    assert [motion["name"] for motion in content["motions"]] == ["good"]
    assert content["leftOut"] == [str(files[1])]
    with pytest.raises(DataError, match=r"bad\.npz: the joints are NaN or infinite"):
        write_page(files[1:], tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"joints": np.zeros((4, 21, 3))}, r"joints have shape \(4, 21, 3\), not \[T, 22, 3\]"),
        ({"joints": np.zeros((0, 22, 3))}, r"joints have shape \(0, 22, 3\)"),
        ({"trace": np.zeros((3, 5, 22, 3))}, r"field 'trace' has shape \(3, 5, 22, 3\)"),
        ({"trace": np.array("none")}, "field 'trace' holds <U4, not numbers"),
    ],
)
def test_broken_files_are_named(fields, message, tmp_path):
    file = write_shown(tmp_path / "a.npz", synthetic_joints(0), **fields)
    with pytest.raises(DataError, match=rf"a\.npz: {message}"):
        write_page([file], tmp_path / "view.html")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("name", ["humanml3d", "kit"])
def test_the_body_fits_the_skeleton(name):
    skeleton = load_skeleton(name)
    plan = body_plan(skeleton, synthetic_joints(0, name) * skeleton.metres_per_unit)
    capsules, count = plan["capsules"], skeleton.num_joints + len(plan["points"])
    ends = [end for start, stop, *_ in capsules for end in (start, stop)]
    assert all(0 <= end < count for end in ends)
    assert all(0 < radius < 0.2 for _, _, *radii, _, _ in capsules for radius in radii)
    sides = [side for *_, side, _ in capsules]
    assert sides.count(LEFT) == sides.count(RIGHT) > 6
    for place, point in enumerate(plan["points"]):  # each from those before it
        used = [*point["mix"], *(end for start, stop, _ in point["along"] for end in (start, stop))]
        assert max(used) < skeleton.num_joints + place
    joined = {joint for joint in range(skeleton.num_joints) if joint in ends}
    assert {*skeleton.feet_left, *skeleton.feet_right, *skeleton.face} <= joined


@pytest.mark.parametrize("seed", range(20))
def test_a_body_for_any_skeleton(seed):
    skeleton = random_skeleton(seed)
    joints = random_joints(skeleton, 5, np.random.default_rng(seed)).numpy()
    plan = body_plan(skeleton, joints * skeleton.metres_per_unit)
    assert 0 < plan["scale"] < np.inf
    assert {skeleton.feet_left[1], skeleton.feet_right[1]} <= {end for row in plan["capsules"] for end in row[:2]}


def test_the_tool_says_where_the_page_is(tmp_path, capsys, monkeypatch):
    write_shown(tmp_path / "motions" / "a.npz", synthetic_joints(0))
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    main(["view", str(tmp_path / "motions"), "--open"])
    page = tmp_path / "motions" / "view.html"
    assert capsys.readouterr().out.split() == [str(page)]
    assert page.is_file() and opened == [page.as_uri()]
    main(["view", str(tmp_path / "motions" / "a.npz"), "--out", str(tmp_path / "other.html")])
    assert (tmp_path / "other.html").is_file() and len(opened) == 1
