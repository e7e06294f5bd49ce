"""Skeleton specs: reading, mistakes, and how a spec travels."""

import json
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from lightning_realign.errors import ConfigError
from lightning_realign.motion import (
    load_skeleton,
    skeleton_label,
    skeleton_names,
    skeleton_of_reference,
    skeleton_reference,
)
from lightning_realign.motion.mirror import mirror_features
from lightning_realign.motion.skeleton.joint_names import joint_side
from lightning_realign.motion.skeleton.parse import parse_spec
from lightning_realign.motion.skeleton.spec import read_skeleton, skeleton_yaml
from tests.helpers.own_skeletons import STUDIO as SPEC
from tests.helpers.own_skeletons import random_skeleton, random_spec, write_spec


def test_a_spec_of_names_and_vectors(tmp_path):
    skeleton = load_skeleton(str(write_spec(tmp_path / "studio.yaml", SPEC)))
    assert skeleton.name == "studio" and skeleton.num_features == 131 and skeleton.fps == 30.0
    assert skeleton.parents == (-1, 0, 0, 0, 1, 2, 4, 5, 3, 3, 3)
    assert skeleton.chains == ((0, 1, 4, 6), (0, 2, 5, 7), (0, 3, 8), (3, 9), (3, 10))
    assert skeleton.raw_offsets[9] == pytest.approx((0.6, 0.8, 0.0))
    assert skeleton.face == (2, 1, 10, 9)
    assert not skeleton.published_facing


@pytest.mark.parametrize("seed", range(30))
def test_a_spec_written_is_the_same_when_read(seed, tmp_path):
    skeleton = random_skeleton(seed)
    reference = skeleton_reference(skeleton)
    assert skeleton_of_reference(reference) == load_skeleton(reference) == skeleton
    assert skeleton_reference(skeleton_of_reference(reference)) == reference
    assert "\n" not in reference
    (tmp_path / "copy.yaml").write_text(skeleton_yaml(skeleton))
    assert read_skeleton(tmp_path / "copy.yaml") == skeleton


@pytest.mark.parametrize("name", skeleton_names())
def test_shipped_skeletons_travel_by_name(name):
    skeleton = load_skeleton(name)
    assert skeleton_reference(skeleton) == skeleton_label(name) == name
    changed = replace(skeleton, name="mine", fps=25.0)
    assert skeleton_of_reference(skeleton_reference(changed)) == changed


@pytest.mark.parametrize("name", skeleton_names())
def test_chains_follow_from_parents_and_names(name):
    """The published chains, but for their order."""
    skeleton = load_skeleton(name)
    spec = json.loads(skeleton_reference(replace(skeleton, name="mine")))
    del spec["chains"]
    again = parse_spec(spec | {"parents": list(skeleton.parents)}, "spec", "")
    assert sorted(again.chains) == sorted(skeleton.chains) and again.chain_parents == skeleton.chain_parents


def test_own_skeletons_of_one_name_are_told_apart(tmp_path):
    one, other = (replace(random_skeleton(1), name="mine", fps=fps) for fps in (20.0, 25.0))
    labels = [skeleton_label(skeleton_reference(skeleton)) for skeleton in (one, other)]
    assert labels[0] != labels[1] and all(label.startswith("mine#") and len(label) == 13 for label in labels)


def _without(*fields):
    return {name: value for name, value in SPEC.items() if name not in fields}


def _entry(field, place, value):
    return SPEC | {field: [*SPEC[field][:place], value, *SPEC[field][place + 1 :]]}


MISTAKES = [
    (["joints"], "the skeleton spec has no fields; write"),
    (SPEC | {"raw_ofsets": []}, "unknown field 'raw_ofsets'; perhaps 'raw_offsets' is meant"),
    (SPEC | {7: 1}, "unknown field '7'; choose from name"),
    (_without("face"), "field 'face' is missing; add it"),
    (_without("parents"), "field 'parents' is missing; add it, one parent per joint, or 'chains'"),
    (SPEC | {"name": "a b"}, "name is 'a b'; write letters"),
    (SPEC | {"name": "kit"}, "name is 'kit', that of a skeleton shipped; choose another name"),
    (SPEC | {"unit": "cm"}, "unit is 'cm'; write metre or millimetre"),
    (SPEC | {"fps": 0}, "fps is 0; write a number above 0"),
    (SPEC | {"fps": "fast"}, "fps is 'fast'; write a number"),
    (SPEC | {"fps": float("nan")}, "fps is nan; write a number"),
    (SPEC | {"min_length": 1}, "min_length is 1; write a whole number of frames from 2 up"),
    (SPEC | {"min_length": 20.5}, "min_length is 20.5; write a whole number"),
    (SPEC | {"contact_threshold": -1}, "contact_threshold is -1; write a number above 0, the squared displacement"),
    (SPEC | {"published_facing": "yes"}, "published_facing is 'yes'; write true or false"),
    (SPEC | {"joints": "hips"}, "joints is 'hips'; write a list of names, the root first"),
    (_entry("joints", 3, False), "joints has the entry False; write a name without blanks, quoted"),
    (_entry("joints", 3, "my chest"), "joints has the entry 'my chest'; write a name without blanks"),
    (_entry("joints", 3, "head"), "joints has 'head' twice; give every joint a name of its own"),
    (SPEC | {"parents": SPEC["parents"][:-1]}, "parents has 10 entries; write 11, the parent of each joint"),
    (_entry("parents", 0, 0), "parents, of the root 'hips', is 0; write -1"),
    (_entry("parents", 3, "head"), "parents, of joint 'chest', is 'head'; list every parent before its children"),
    (_entry("parents", 4, 4), "parents, of joint 'LeftFoot', is 4; list every parent before"),
    (
        _entry("parents", 4, "LeftLegg"),
        "is 'LeftLegg'; name one of `joints`: 'LeftLeg' perhaps, or a number",
    ),
    (_entry("parents", 4, 11), "parents, of joint 'LeftFoot', is 11; name one of `joints`: a number from 0 to 10"),
    (SPEC | {"chains": [[0, 1]]}, "chains lack the joint 'RightLeg'; add it to a chain"),
    (SPEC | {"chains": [[1, 4]]}, "chain 1 of chains is ['LeftLeg', 'LeftFoot']; begin a chain at the root or"),
    (SPEC | {"chains": [[0, 1], [0, 1]]}, "'LeftLeg' is in a chain already; keep it in one of them"),
    (SPEC | {"chains": [[0, 4, 1]]}, "list 'LeftFoot' before its child in `joints`"),
    (SPEC | {"chains": [[0]]}, "chains is [[0]]; write a list of chains"),
    (
        SPEC | {"chains": [[0, 1, 4, 6], [0, 2, 5, 7], [0, 3, 8, 9], [3, 10]]},
        "parents has 'chest' for joint 'LeftArm', chains have 'head'; correct one, or leave chains out",
    ),
    (SPEC | {"raw_offsets": SPEC["raw_offsets"] + [0]}, "raw_offsets has 12 entries; write 11, the direction of each"),
    (_entry("raw_offsets", 0, "+y"), "raw_offsets, of the root, is '+y'; write '0'"),
    (_entry("raw_offsets", 3, "up"), "raw_offsets, of joint 'chest', is 'up'; write one of +x, -x"),
    (_entry("raw_offsets", 3, "0"), "raw_offsets, of joint 'chest', is '0'; write one of +x, -x"),
    (_entry("raw_offsets", 3, [0, 0, 0]), "raw_offsets, of joint 'chest', is [0, 0, 0]; write a vector with a length"),
    (_entry("raw_offsets", 3, [0, "a", 0]), "raw_offsets, of joint 'chest', is 'a'; write a number"),
    (SPEC | {"face": SPEC["face"][:3]}, "face has 3 entries; write 4, right hip, left hip, right shoulder, left"),
    (SPEC | {"face": "RightLeg"}, "face is 'RightLeg'; write a list of 4, right hip"),
    (_entry("face", 2, "RightShoulder"), "face (right shoulder) is 'RightShoulder'; name one of `joints`"),
    (_entry("face", 2, "hips"), "name 4 different joints other than the root: right hip"),
    (_entry("face", 2, "LeftArm"), "name 4 different joints other than the root: right hip"),
    (SPEC | {"l_idx": ["RightFoot"]}, "l_idx has 1 entries; write 2, leg joint, leg joint"),
    (SPEC | {"feet_left": ["LeftFoot", "LeftFoot"]}, "name 2 different joints other than the root: ankle, toe"),
    (
        SPEC | {"feet_left": SPEC["feet_right"], "feet_right": SPEC["feet_left"]},
        "feet_right is 'LeftFoot'; it is not below 'RightLeg', the hip of that side in `face`; correct one of them",
    ),
    (_entry("target_lengths", 0, 0.1), "target_lengths, of joint 'hips', is 0.1; write 0: the root has no bone"),
    (
        _entry("target_lengths", 5, 0),
        "target_lengths, of joint 'RightFoot', is 0; write the length of its bone",
    ),
    (_entry("target_lengths", 5, None), "target_lengths, of joint 'RightFoot', is None; write a number"),
]


@pytest.mark.parametrize(("spec", "message"), MISTAKES)
def test_mistakes_name_file_field_value_and_remedy(spec, message, tmp_path):
    path = write_spec(tmp_path / "mine.yaml", spec)
    with pytest.raises(ConfigError) as error:
        load_skeleton(str(path))
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300 + len(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"joints: [a, b", r"is no YAML \(line 1\); write one"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"", "has no fields"),
        (None, "cannot be read .*; check the path"),
    ],
)
def test_unreadable_files(content, message, tmp_path):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{path}: the skeleton spec {message}"):
        load_skeleton(str(path))


@pytest.mark.parametrize("name", ["smplx", "folder/mine", "mine.yml.txt"])
def test_unknown_names(name):
    with pytest.raises(ConfigError, match=f"skeleton is '{name}'; choose one of humanml3d, kit, or give the path"):
        load_skeleton(name)


@pytest.mark.parametrize("reference", ["{", '{"a": 1}', "{}", "/etc/passwd.yaml", "mine.yaml"])
def test_references_never_read_files_and_are_checked(reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_spec(tmp_path / "mine.yaml", SPEC)
    with pytest.raises(ConfigError, match="skeleton"):
        skeleton_of_reference(reference)


def test_the_documented_spec(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "skeletons.md").read_text()
    (tmp_path / "mine.yaml").write_text(textwrap.dedent(text[text.index("    name: studio") : text.index("| field")]))
    skeleton = load_skeleton(str(tmp_path / "mine.yaml"))
    assert skeleton.name == "studio" and skeleton.num_joints == 11 and skeleton.raw_offsets[0] == (0.0, 0.0, 0.0)


def test_sides_by_name():
    for left, right in (("left_hip", "right_hip"), ("LeftHip", "RightHip"), ("L_Hip", "R_Hip"), ("hip.l", "hip.r")):
        assert (joint_side(left), joint_side(right)) == ("left", "right")
    assert {joint_side(name) for name in ("head", "pelvis", "lower", "relief", "spine1")} == {"middle"}


def test_mirroring_features_needs_the_same_chains_on_both_sides():
    spec = _without("parents") | {"chains": [[0, 1, 4, 6], [0, 2, 5, 7], [0, 3, 9], [3, 10], [3, 8]]}
    skeleton = parse_spec(spec, "spec", "odd")
    with pytest.raises(ConfigError, match=r"the chains of .*Arm.* begin differently; give both sides the same chains"):
        mirror_features(torch.zeros(3, skeleton.num_features), skeleton)


def test_random_specs_are_valid_yaml(tmp_path):
    spec = random_spec(0)
    assert yaml.safe_load(write_spec(tmp_path / "a.yaml", spec).read_text()) == spec
