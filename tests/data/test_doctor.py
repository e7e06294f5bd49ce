import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_realign.__main__ import main
from lightning_realign.data import HumanML3DDataModule, KITMLDataModule
from lightning_realign.data.check.doctor import examine, quarantine
from lightning_realign.data.packed.packed import pack
from lightning_realign.data.skeletons import find_skeleton
from lightning_realign.data.synthetic import make_dataset
from lightning_realign.files.atomic import write_lines_atomic
from lightning_realign.motion import extract_features, recover_joints


@pytest.fixture(scope="module", params=["humanml3d", "kit"])
def clean(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("clean") / request.param
    make_dataset(root, request.param, 12, 2, 3, 3, progress=False)
    return root


@pytest.fixture
def fresh(clean, tmp_path):
    return Path(shutil.copytree(clean, tmp_path / "set"))


class Clip:
    """One test motion of a data set, to be spoiled."""

    def __init__(self, root):
        self.root = root
        self.id = (root / "test.txt").read_text().split()[1]
        self.path = root / "new_joint_vecs" / f"{self.id}.npy"
        self.text = root / "texts" / f"{self.id}.txt"
        self.skeleton = find_skeleton(root)
        self.blocks = dict(self.skeleton.blocks)

    def save(self, change):
        motion = np.load(self.path)
        np.save(self.path, change(motion))

    def shift(self, height):
        """Raise root and joints by a number of leg lengths."""
        leg = sum(self.skeleton.target_lengths[joint] for joint in self.skeleton.l_idx)

        def change(motion):
            motion[:, 3] += height * leg
            motion[:, self.blocks["positions"]].reshape(len(motion), -1, 3)[..., 1] += height * leg
            return motion

        self.save(change)

    def joints(self, change):
        """Extract the motion anew, from its joints, changed."""
        joints = recover_joints(torch.from_numpy(np.load(self.path)).double(), self.skeleton)
        np.save(self.path, extract_features(change(joints), self.skeleton).float().numpy())


def put(motion, place, value):
    motion[place] = value
    return motion


def swapped_joints(skeleton):
    """The order of joints with hips, shoulders, ankles and toes exchanged."""
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.face
    pairs = [(right_hip, left_hip), (right_shoulder, left_shoulder)]
    pairs += list(zip(skeleton.feet_right, skeleton.feet_left, strict=True))
    order = list(range(skeleton.num_joints))
    for one, other in pairs:
        order[one], order[other] = other, one
    return order


def swap_features(clip):
    def change(motion):
        places = motion[:, clip.blocks["positions"]].reshape(len(motion), -1, 3)
        order = [joint - 1 for joint in swapped_joints(clip.skeleton)[1:]]
        motion[:, clip.blocks["positions"]] = places[:, order].reshape(len(motion), -1)
        return motion

    clip.save(change)


DEFECTS = {
    "missing motions": (2, lambda clip: clip.path.unlink()),
    "missing captions": (2, lambda clip: clip.text.unlink()),
    "unreadable motion": (2, lambda clip: clip.path.write_bytes(clip.path.read_bytes()[:500])),
    "wrong shape": (2, lambda clip: clip.save(lambda motion: motion[:, :-1])),
    "NaN or infinite features": (2, lambda clip: clip.save(lambda motion: put(motion, (3, 5), np.nan))),
    "wrong type": (1, lambda clip: clip.save(lambda motion: motion.astype(np.float16))),
    "too short": (0, lambda clip: clip.save(lambda motion: motion[:10])),
    "too long": (0, lambda clip: clip.save(lambda motion: np.concatenate([motion] * 9)[:300])),
    "root jumps": (1, lambda clip: clip.save(lambda motion: put(motion, (7, 1), motion[0, 3] * 3))),
    "frozen": (
        1,
        lambda clip: clip.save(lambda motion: put(np.repeat(motion[:1], 60, 0), (slice(None), [0, 1, 2]), 0)),
    ),
    "floating": (1, lambda clip: clip.shift(0.5)),
    "sunken": (1, lambda clip: clip.shift(-0.5)),
    "left and right swapped": (1, swap_features),
    "captions without tokens": (2, lambda clip: clip.text.write_text("a person walks##0.0#0.0\n")),
    "malformed captions": (2, lambda clip: clip.text.write_text("a person walks\n")),
    "no captions": (2, lambda clip: clip.text.write_text("\n")),
    "duplicate captions": (0, lambda clip: clip.text.write_text("he walks#he/PRON#0.0#0.0\n" * 2)),
    "tags beyond the clip": (1, lambda clip: clip.text.write_text("he walks#he/PRON walk/VERB#0.0#80.0\n")),
    "ids in two splits": (2, lambda clip: (clip.root / "train.txt").open("a").write(f"{clip.id}\n")),
}


def named(report):
    """The findings about motions, as {kind: ids}."""
    return {finding.kind: finding.ids for finding in report.findings if finding.ids}


def test_a_clean_set_passes(fresh):
    report = examine(fresh)
    assert named(report) == {}
    assert report.exit_code == 0
    assert {finding.kind for finding in report.findings} == {"licence", "source"}
    assert report.counts["test"]["listed"] == report.counts["test"]["usable"] == 3


@pytest.mark.parametrize("kind", DEFECTS)
def test_each_defect_is_named_once(fresh, kind):
    code, seed = DEFECTS[kind]
    clip = Clip(fresh)
    seed(clip)
    report = examine(fresh)
    assert named(report) == {kind: (clip.id,)}
    assert report.exit_code == code
    assert all("\n" not in finding.detail for finding in report.findings)


def test_sides_swapped_before_extraction(fresh):
    clip = Clip(fresh)
    clip.joints(lambda joints: joints)
    assert named(examine(fresh)) == {}
    clip.joints(lambda joints: joints[:, swapped_joints(clip.skeleton)])
    assert named(examine(fresh)) == {"left and right swapped": (clip.id,)}


def test_a_quarantined_id_may_stand_in_two_splits(fresh):
    clip = Clip(fresh)
    (fresh / "train.txt").open("a").write(f"{clip.id}\n")
    assert quarantine(examine(fresh)) == 1
    assert named(examine(fresh)) == {"quarantined": (clip.id,)} and examine(fresh).exit_code == 0


def test_surplus_files(fresh):
    clip = Clip(fresh)
    np.save(fresh / "new_joint_vecs" / "extra.npy", np.load(clip.path))
    (fresh / "texts" / "other.txt").write_text(clip.text.read_text())
    assert named(examine(fresh)) == {"surplus motions": ("extra",), "surplus captions": ("other",)}


def test_lists_and_statistics_of_the_whole_set(fresh):
    skeleton = find_skeleton(fresh)
    mean = np.load(fresh / "Mean.npy")
    mean[dict(skeleton.blocks)["root_height"]] *= 2
    np.save(fresh / "Mean.npy", mean)
    (finding,) = (item for item in examine(fresh).findings if item.severity == "warning")
    assert finding.kind == "statistics differ"
    assert "root_height" in finding.detail
    assert "rotations" not in finding.detail
    np.save(fresh / "Std.npy", np.zeros(skeleton.num_features))
    (fresh / "val.txt").unlink()
    assert [f.kind for f in examine(fresh).findings if f.severity == "error"] == ["split list val.txt", "statistics"]


def test_tags_within_the_clip_and_reversed_ones(fresh):
    clip = Clip(fresh)
    clip.text.write_text("he walks#he/PRON walk/VERB#0.5#1.5\n")
    assert named(examine(fresh)) == {}
    clip.text.write_text("he walks#he/PRON walk/VERB#1.5#0.5\n")
    assert named(examine(fresh)) == {"tags beyond the clip": (clip.id,)}


def warnings(report):
    return [(finding.kind, finding.detail) for finding in report.findings if finding.severity == "warning"]


def test_statistics_of_an_evaluator(fresh, tmp_path):
    """Its deviations of root and contacts are divided by 25; anything else is not of these motions."""
    skeleton = find_skeleton(fresh)
    mean, std = np.load(fresh / "Mean.npy"), np.load(fresh / "Std.npy")
    for name, block in skeleton.blocks:
        std[block] /= 25 if name.startswith("root") or name == "contacts" else 1
    (tmp_path / "meta").mkdir()
    np.save(tmp_path / "meta" / "mean.npy", mean)
    np.save(tmp_path / "meta" / "std.npy", std)
    assert warnings(examine(fresh, tmp_path / "meta")) == []
    # A common mistake: the evaluator's files in the place of the data set's.
    np.save(fresh / "Std.npy", std)
    ((kind, detail),) = warnings(examine(fresh))
    assert kind == "statistics differ"
    assert "an evaluator's" in detail
    std[dict(skeleton.blocks)["rotations"]] *= 2
    np.save(tmp_path / "meta" / "std.npy", std)
    kinds = dict(warnings(examine(fresh, tmp_path / "meta")))
    assert "rotations" in kinds["evaluator statistics"]
    assert "root_" not in kinds["evaluator statistics"]
    (tmp_path / "meta" / "std.npy").unlink()
    findings = examine(fresh, tmp_path / "meta").findings
    assert [finding.kind for finding in findings if finding.severity == "error"] == ["evaluator statistics"]


def test_a_damaged_pack_is_found(fresh):
    pack(fresh, find_skeleton(fresh).num_features)
    assert examine(fresh).exit_code == 0
    path = fresh / "packed" / "val.npy"
    path.write_bytes(path.read_bytes()[:-4] + b"1234")
    assert [f.kind for f in examine(fresh).findings if f.severity == "error"] == ["packed val"]


def run(*args):
    try:
        main(["data", "doctor", *args])
    except SystemExit as exit_:
        return exit_.code
    return 0


def test_commands(fresh, capsys):
    assert run(str(fresh)) == 0
    assert "result: nothing wrong" in capsys.readouterr().out
    DEFECTS["root jumps"][1](Clip(fresh))
    assert run(str(fresh), "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["exit_code"] == 1
    assert [item["kind"] for item in report["findings"] if item["severity"] == "warning"] == ["root jumps"]
    assert run(str(fresh / "texts")) == 2
    assert "is not a data set's folder" in capsys.readouterr().err


def test_quarantine(fresh, capsys):
    root, clip = fresh, Clip(fresh)
    kind = {"humanml3d": HumanML3DDataModule, "kit": KITMLDataModule}[clip.skeleton.name]
    before = kind(root).fingerprint
    clip.text.write_text("no tokens##0#0\n")
    assert run(str(root), "--quarantine") == 2
    assert "quarantine: 1 motions" in capsys.readouterr().out
    assert (root / "quarantine.txt").read_text() == f"{clip.id}\tcaptions without tokens\n"
    module = kind(root)
    module.setup("test")
    assert [(item.id, item.kind, item.reason) for item in module.left_out["test"]] == [
        (clip.id, "quarantined", "captions without tokens")
    ]
    assert clip.id not in [entry.id for entry in module._split("test").entries]
    assert module.fingerprint != before
    assert run(str(root), "--quarantine") == 0
    assert named(examine(root)) == {"quarantined": (clip.id,)}
    assert (root / "quarantine.txt").read_text().count("\n") == 1


def test_the_skeleton_comes_from_the_statistics_without_metadata(fresh):
    skeleton = find_skeleton(fresh)
    (fresh / "metadata.json").unlink()
    assert find_skeleton(fresh) == skeleton
    write_lines_atomic(fresh / "metadata.json", ["{}"])
    assert find_skeleton(fresh) == skeleton
