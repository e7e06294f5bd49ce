"""Mirror images: of joints, of features, of captions, and of whole data sets."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_realign.__main__ import main
from lightning_realign.data.build.build import build_from_joints
from lightning_realign.data.build.mirror import mirror_words
from lightning_realign.data.formats import read_captions
from lightning_realign.errors import ConfigError, DataError, FeatureSpecError
from lightning_realign.motion import extract_features, feature_statistics, load_skeleton, recover_joints
from lightning_realign.motion.mirror import mirror_features, mirror_joints, mirror_partners
from tests.helpers.support import random_joints

SKELETONS = ["humanml3d", "kit"]
SPLITS = {"train": ["a1", "a2", "a3"], "val": ["b1", "b2"], "test": ["c1", "M2"]}
CAPTION = "turns LEFT, clockwise, upright.#turn/VERB left/ADV clockwise/ADV upright/ADV#0.0#1.0\n"
MIRRORED = "turns RIGHT, counterclockwise, upright.#turn/VERB right/ADV counterclockwise/ADV upright/ADV#0.0#1.0\n"


def motion(skeleton, seed, frames=40):
    return random_joints(skeleton, frames, np.random.default_rng(seed))


@pytest.mark.parametrize("name", SKELETONS)
def test_partners_are_the_other_side(name):
    skeleton = load_skeleton(name)
    partners = mirror_partners(skeleton)
    swap = {"left": "right", "right": "left"}
    for joint, partner in enumerate(partners):
        side, _, rest = skeleton.joints[joint].partition("_")
        assert skeleton.joints[partner] == (f"{swap[side]}_{rest}" if side in swap else skeleton.joints[joint])
    assert tuple(partners[joint] for joint in skeleton.feet_left) == skeleton.feet_right


@pytest.mark.parametrize("name", SKELETONS)
def test_a_mirror_image_of_joints(name):
    skeleton = load_skeleton(name)
    joints = motion(skeleton, 0)
    image = mirror_joints(joints, skeleton)
    left, right = skeleton.feet_left[0], skeleton.feet_right[0]
    torch.testing.assert_close(image[:, right, 0], -joints[:, left, 0], rtol=0, atol=0)
    torch.testing.assert_close(image[:, right, 1:], joints[:, left, 1:], rtol=0, atol=0)
    assert torch.equal(mirror_joints(image, skeleton), joints)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(SKELETONS))
def test_features_of_the_image_are_the_reflected_features(seed, name):
    """Where bones keep their lengths, all 263 (251) channels are known from those of the original."""
    skeleton = load_skeleton(name)
    joints = motion(skeleton, seed, frames=30)
    features = extract_features(joints, skeleton, uniform=False)
    expected = extract_features(mirror_joints(joints, skeleton), skeleton, uniform=False)
    scale = max(skeleton.target_lengths)
    torch.testing.assert_close(mirror_features(features, skeleton), expected, rtol=1e-9, atol=1e-9 * max(scale, 1))
    assert torch.equal(mirror_features(mirror_features(features, skeleton), skeleton), features)


@pytest.mark.parametrize("name", SKELETONS)
def test_reflected_features_are_of_the_mirrored_motion(name):
    skeleton = load_skeleton(name)
    features = extract_features(motion(skeleton, 1), skeleton)
    recovered = recover_joints(mirror_features(features, skeleton), skeleton)
    torch.testing.assert_close(recovered, mirror_joints(recover_joints(features, skeleton), skeleton))


@pytest.mark.parametrize("clip", ["012314", "M010968"])
def test_published_clips(test_data, clip):
    """The features of a clip's mirror image are its own, reflected, but for the unequal sides of the skeleton."""
    skeleton, folder = load_skeleton("humanml3d"), test_data / "humanml3d_samples"
    joints = torch.from_numpy(np.load(folder / "new_joints" / f"{clip}.npy")).double()
    published = torch.from_numpy(np.load(folder / "new_joint_vecs" / f"{clip}.npy")).double()[: len(joints) - 1]
    image = extract_features(mirror_joints(joints, skeleton), skeleton, uniform=False)
    error = (mirror_features(published, skeleton) - image).abs()
    # Of the published clip's last frame only the features are left, not the joints.
    assert error[:-1].mean() < 1e-3
    assert error[:-1, dict(skeleton.blocks)["positions"]].max() < 0.02


def test_other_naming():
    skeleton = load_skeleton("humanml3d")
    for style in ("{0}{1}", "{2}_{1}", "{1}.{2}", "{3} {1}"):
        names = []
        for joint in skeleton.joints:
            side, _, rest = joint.partition("_")
            sided = style.format(side.title(), rest.title(), side[0].upper(), side.upper())
            names.append(sided if rest else side.title())
        renamed = dataclasses.replace(skeleton, joints=tuple(names))
        assert mirror_partners(renamed) == mirror_partners(skeleton)


def test_skeletons_without_two_sides_are_refused():
    skeleton = load_skeleton("humanml3d")
    single = dataclasses.replace(skeleton, joints=("pelvis", "left_leg", *skeleton.joints[2:]))
    with pytest.raises(ConfigError, match="'left_leg' has 0 counterparts"):
        mirror_partners(single)
    parents = (*skeleton.parents[:4], 2, *skeleton.parents[5:])
    with pytest.raises(ConfigError, match="no mirror images"):
        mirror_partners(dataclasses.replace(skeleton, parents=parents))
    with pytest.raises(FeatureSpecError, match="263"):
        mirror_features(torch.zeros(3, 251), skeleton)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("left", "right"),
        ("RIGHT, Left", "LEFT, Right"),
        ("left-handed; leftwards", "right-handed; rightwards"),
        ("right/ADJ hand/NOUN", "left/ADJ hand/NOUN"),
        ("clockwise", "counterclockwise"),
        ("Counterclockwise", "Clockwise"),
        ("upright leftover bright alright righteous", "upright leftover bright alright righteous"),
        ("right away, a right angle, all right", "right away, a right angle, all right"),
        ("right/ADV away/ADV", "right/ADV away/ADV"),
        ("crosses left over right", "crosses right over left"),
        ("walks right.", "walks left."),
        ("anti-clockwise counter clockwise anticlockwise", "clockwise clockwise clockwise"),
        ("counter/ADJ clockwise/ADV", "clockwise/ADV"),
        ("clock wise", "counterclockwise"),
        ("his rigth arm", "his left arm"),
    ],
)
def test_words(text, expected):
    assert mirror_words(text) == expected


WORDS = "left right Left RIGHT leftward rightwards left-hand clockwise Counterclockwise upright leftover all away angle"
TEXTS = st.lists(st.sampled_from([*WORDS.split(), "a/DET", "walks", ",", "#", "\n"]), max_size=25).map(" ".join)


@given(TEXTS)
def test_words_swapped_twice_are_the_same(text):
    assert mirror_words(mirror_words(text)) == text


@given(st.lists(st.sampled_from(["anti-clockwise", "counter", "clockwise", "clock", "wise", "rigth", "left"])))
def test_other_spellings_settle_after_one_swap(words):
    once = mirror_words(", ".join(words))
    assert mirror_words(mirror_words(once)) == once


@given(st.text(max_size=80))
def test_any_other_text_stays(text):
    if not any(word in text.lower() for word in ("left", "right", "clock", "ri", "le")):
        assert mirror_words(text) == text


@pytest.fixture
def source(tmp_path):
    root, skeleton = tmp_path / "source", load_skeleton("humanml3d")
    for folder in ("joints", "texts"):
        (root / folder).mkdir(parents=True)
    for split, ids in SPLITS.items():
        (root / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for seed, name in enumerate(ids):
            np.save(root / "joints" / f"{name}.npy", motion(skeleton, seed).float().numpy())
            (root / "texts" / f"{name}.txt").write_text(CAPTION)
    (root / "metadata.json").write_text(json.dumps({"min_length": 24, "name": "mine"}))
    return root


def test_build(tmp_path, source):
    """Every motion has its image in its own split, with its caption, and both are in Mean and Std."""
    skeleton, out = load_skeleton("humanml3d"), tmp_path / "out"
    main(["data", "build", "--joints", str(source), "--out", str(out), "--mirror"])
    for split, ids in SPLITS.items():
        listed = (out / f"{split}.txt").read_text().split()
        assert sorted(listed) == sorted([*ids, *(f"M{name}" for name in ids)])
        for name in ids:
            joints = torch.from_numpy(np.load(source / "joints" / f"{name}.npy"))
            expected = extract_features(mirror_joints(joints, skeleton), skeleton).numpy()
            np.testing.assert_array_equal(np.load(out / "new_joint_vecs" / f"M{name}.npy"), expected)
            np.testing.assert_array_equal(
                np.load(out / "new_joint_vecs" / f"{name}.npy"), extract_features(joints, skeleton).numpy()
            )
            assert (out / "texts" / f"{name}.txt").read_text() == CAPTION
            assert (out / "texts" / f"M{name}.txt").read_text() == MIRRORED
            assert read_captions(out / "texts" / f"M{name}.txt")[0].end == 1.0
    training = [np.load(out / "new_joint_vecs" / f"{m}{name}.npy") for name in SPLITS["train"] for m in ("", "M")]
    np.testing.assert_allclose(np.load(out / "Mean.npy"), feature_statistics(training, skeleton)[0], rtol=1e-6)
    # Over both sides, turns and steps to the side are 0 on average, but for legs of unequal length.
    assert abs(np.load(out / "Mean.npy")[:2]).max() < 1e-3
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["motions"] == {"train": 6, "val": 4, "test": 4}
    assert metadata["mirrored"].startswith("M<id> is the mirror image")
    assert metadata["pos_tagger"] == "given"


def test_tokens_of_an_earlier_build_keep_their_note(tmp_path, source):
    (source / "metadata.json").write_text(json.dumps({"min_length": 24, "pos_tagger": "built-in"}))
    build_from_joints(source, tmp_path / "out", progress=False)
    assert json.loads((tmp_path / "out" / "metadata.json").read_text())["pos_tagger"] == "built-in"


def test_an_unusable_motion_has_no_image(tmp_path, source):
    np.save(source / "joints" / "a1.npy", np.zeros((40, 21, 3), np.float32))
    (source / "texts" / "a2.txt").write_text("no tokens##0.0#0.0\n")
    np.save(source / "joints" / "Ma3.npy", np.zeros((40, 22, 3), np.float32))  # an earlier image, in no list
    report = build_from_joints(source, tmp_path / "out", progress=False, mirror=True)
    assert [name for name, _ in report.left_out] == ["a1", "Ma1", "a2", "Ma2"]
    assert (tmp_path / "out" / "train.txt").read_text().split() == ["a3", "Ma3"]


def test_motions_that_are_mirrored_already_are_refused(tmp_path, source):
    np.save(source / "joints" / "Ma1.npy", np.load(source / "joints" / "a1.npy"))
    (source / "val.txt").write_text("b1\nMa1\n")
    with pytest.raises(DataError, match=r"'Ma1' is there beside 'a1'.* leave --mirror out"):
        build_from_joints(source, tmp_path / "out", progress=False, mirror=True)
