from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_realign.data.formats import load_motion, read_captions, read_split
from lightning_realign.data.synthetic import Action, from_attributes, make_dataset, to_attributes
from lightning_realign.data.synthetic.body import load_body, to_joints
from lightning_realign.data.synthetic.captions import caption_lines
from lightning_realign.data.synthetic.dataset import make_motion
from lightning_realign.data.synthetic.grammar import VARIANTS, draw_actions
from lightning_realign.data.synthetic.moves import perform
from lightning_realign.data.synthetic.steps import Path as RootPath
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import extract_features, load_skeleton, recover_joints

SKELETONS = ("humanml3d", "kit")


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_layout_is_complete_and_readable(tmp_path, skeleton):
    make_dataset(tmp_path / "set", skeleton, 8, 2, 3, seed=5, progress=False)
    root, spec = tmp_path / "set", load_skeleton(skeleton)
    splits = [read_split(root / f"{split}.txt") for split in ("train", "val", "test")]
    assert [len(split) for split in splits] == [8, 2, 3]
    ids = read_split(root / "all.txt")
    assert ids == sorted(ids) == [identity for split in splits for identity in split]
    attributes = json.loads((root / "attributes.json").read_text())
    metadata = json.loads((root / "metadata.json").read_text())
    assert metadata["skeleton"] == skeleton and metadata["fps"] == spec.fps and metadata["unit"] == spec.unit
    assert list(attributes) == ids
    for identity in ids:
        features = load_motion(root / "new_joint_vecs" / f"{identity}.npy", spec.num_features)
        assert metadata["min_length"] <= len(features) < metadata["max_length"]
        joints = np.load(root / "new_joints" / f"{identity}.npy")
        np.testing.assert_array_equal(joints, recover_joints(torch.from_numpy(features), spec).numpy())
        captions = read_captions(root / "texts" / f"{identity}.txt")
        assert 3 <= len(captions) <= 4 and all(caption.is_whole for caption in captions)
        assert from_attributes(attributes[identity])
    for name in ("Mean", "Std"):
        assert np.load(root / f"{name}.npy").shape == (spec.num_features,)
    assert not [path for path in tmp_path.iterdir() if path.name != "set"]


def test_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_dataset(tmp_path / name, "kit", 6, 1, 2, seed=seed, progress=False)
    assert _files(tmp_path / "a") == _files(tmp_path / "b")
    assert _files(tmp_path / "a") != _files(tmp_path / "c")


def test_a_motion_does_not_depend_on_the_others(tmp_path):
    spec = load_skeleton("humanml3d")
    make_dataset(tmp_path / "set", "humanml3d", 5, 1, 1, seed=9, progress=False)
    alone = make_motion(spec, 9, "train", 4)
    assert (tmp_path / "set" / "texts" / "000004.txt").read_text().splitlines() == alone.captions
    stored = torch.from_numpy(np.load(tmp_path / "set" / "new_joint_vecs" / "000004.npy"))
    features = extract_features(torch.from_numpy(alone.joints.astype(np.float32)), spec)
    torch.testing.assert_close(recover_joints(stored, spec), recover_joints(features, spec), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"train": 0}, ConfigError, "train is 0"),
        ({"seed": -1}, ConfigError, "seed is -1"),
        ({"skeleton": "robot"}, ConfigError, "robot"),
    ],
)
def test_wrong_requests_leave_nothing_behind(tmp_path, change, error, words):
    arguments = {"skeleton": "kit", "train": 1, "val": 1, "test": 1, "seed": 0, "progress": False} | change
    with pytest.raises(error, match=words):
        make_dataset(tmp_path / "set", **arguments)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="already exists"):
        make_dataset(tmp_path / "set", "kit", 1, 1, 1, seed=0, progress=False)
    assert _files(tmp_path) == {"set/mine.txt": b"mine"}


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("lightning_realign.data.synthetic.dataset.save_array_atomic", fail)
    with pytest.raises(OSError, match="disk full"):
        make_dataset(tmp_path / "set", "kit", 1, 1, 1, seed=0, progress=False)
    assert not list(tmp_path.iterdir())


def test_the_draw_is_balanced():
    drawn = [draw_actions(0, "train", index) for index in range(1200)]
    lengths = Counter(len(actions) for actions in drawn)
    assert lengths == {1: 1000, 2: 200}
    families = Counter(action.family for actions in drawn for action in actions)
    assert set(families) == set(VARIANTS) and len(VARIANTS) >= 12
    assert min(families.values()) >= 55
    sides = Counter((action.family, action.side) for actions in drawn for action in actions)
    for family in ("walk", "turn", "raise", "wave", "kick", "punch"):
        left, right = sides[family, "left"], sides[family, "right"]
        assert abs(left - right) <= 0.25 * (left + right)
    assert all(first.family != second.family for first, second in (actions for actions in drawn if len(actions) == 2))
    singles = {actions[0] for actions in drawn if len(actions) == 1}
    assert singles == {action for variants in VARIANTS.values() for action in variants}


def test_attributes_survive_json():
    actions = (Action("turn", "left", angle=90), Action("walk", "backward", speed="slow"))
    assert from_attributes(json.loads(json.dumps(to_attributes(actions)))) == actions


@pytest.mark.parametrize(
    "attributes", [{}, {"actions": [{"kind": "walk"}]}, {"actions": [{"family": "fly"}]}, {"actions": 3}]
)
def test_malformed_attributes_are_refused(attributes):
    with pytest.raises(DataError):
        from_attributes(attributes)


def test_captions_say_what_the_attributes_say():
    rng = np.random.default_rng(0)
    words = {1: {"once", "one"}, 2: {"twice", "two"}, 3: {"three"}}
    for family, variants in VARIANTS.items():
        for action in variants:
            lines = caption_lines((action,), rng, 4)
            assert len(set(lines)) == len(lines) >= 3, family
            for line in lines:
                text, tokens, start, end = line.rsplit("#", 3)
                assert (start, end) == ("0.0", "0.0") and "{" not in line and "|" not in line and "  " not in line
                assert all(token.count("/") == 1 for token in tokens.split())
                said = set(text.rstrip(".").replace(",", "").split())
                assert action.count is None or words[action.count] & said
                assert action.angle is None or {str(action.angle), {90: "quarter", 180: "half"}[action.angle]} & said
                if action.side in ("left", "right"):
                    assert action.side in said and {"left": "right", "right": "left"}[action.side] not in said


def test_tokens_are_lemmas_with_tags():
    lines = caption_lines((Action("walk", "forward", speed="slow"),), np.random.default_rng(1), 4)
    assert any("walk/VERB" in line for line in lines)
    assert not any("walks/" in line for line in lines)


@pytest.mark.parametrize("skeleton", SKELETONS)
@pytest.mark.parametrize("family", list(VARIANTS))
def test_bodies_keep_their_bones_and_stand_on_the_ground(skeleton, family):
    body = load_body(skeleton)
    spec = body.skeleton
    joints = to_joints(perform((VARIANTS[family][-1],), spec.fps, np.random.default_rng(2)), body, spec.fps)
    parents = list(spec.parents[1:])
    bones = np.linalg.norm(joints[:, 1:] - joints[:, parents], axis=-1)
    np.testing.assert_allclose(bones, np.broadcast_to(spec.target_lengths[1:], bones.shape), rtol=1e-3)
    assert joints[..., 1].min() > -1e-3 * body.scale
    assert np.abs(np.diff(joints, axis=0)).max() < 12 / spec.fps * body.scale  # nothing faster than 12 m/s


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_extraction_leaves_motions_as_they_are(skeleton):
    body = load_body(skeleton)
    spec = body.skeleton
    joints = to_joints(perform((Action("kick", "left"),), spec.fps, np.random.default_rng(3)), body, spec.fps)
    recovered = recover_joints(extract_features(torch.from_numpy(joints), spec), spec).numpy()
    offset = joints[0, 0] * (1, 0, 1)
    assert np.abs(recovered[..., 1] - (joints[:-1, :, 1] - joints[..., 1].min())).max() < 1e-5 * body.scale
    distances = np.linalg.norm(recovered - recovered[0, 0] * (1, 0, 1), axis=-1)
    np.testing.assert_allclose(distances, np.linalg.norm(joints[:-1] - offset, axis=-1), atol=1e-4 * body.scale)


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_standing_feet_do_not_slide(skeleton):
    body = load_body(skeleton)
    spec = body.skeleton
    rng = np.random.default_rng(4)
    speeds = []
    for action in (a for family in ("walk", "run", "turn", "squat") for a in VARIANTS[family]):
        joints = to_joints(perform((action,), spec.fps, rng), body, spec.fps) / body.scale
        for toe in (spec.feet_left[1], spec.feet_right[1]):
            down = (joints[1:, toe, 1] < 0.005) & (joints[:-1, toe, 1] < 0.005)
            assert down.mean() > 0.2
            speeds.append(np.linalg.norm(np.diff(joints[:, toe][:, [0, 2]], axis=0), axis=-1)[down] * spec.fps)
    slides = np.concatenate(speeds)
    assert slides.mean() < 0.005 and (slides > 0.05).mean() < 0.01  # metres per second


def test_root_path_covers_its_distance():
    path = RootPath.along(0.2, 2.4, 0.4, (0.0, 1.5, 0.0))
    assert path.at(10.0)[1] == pytest.approx(1.5 * (2.4 - 0.4), rel=0.01)
    assert path.at(0.1)[1] == 0.0
