"""BVH files with captions to a data set."""

import json

import numpy as np
import pytest

from lightning_realign.__main__ import main
from lightning_realign.data.build.build import build_from_source
from lightning_realign.data.build.bvh import BvhFolder
from lightning_realign.data.formats import read_captions
from lightning_realign.errors import ConfigError, DataError
from tests.helpers.bvh_files import BODY, bvh_text, stick_body, swaying_rows

NAMES = ["a1", "a2", "a3", "a4", "b1", "c1"]


def write_bvh_file(path, seed, frames=60, scale=1.0, names=BODY.joints):
    rows = swaying_rows(frames, BODY.num_joints, seed)
    rows[:, :3] *= scale
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(bvh_text(names, BODY.parents, stick_body(scale), rows, frame_time=0.033333))


def write_captions(root, split=True):
    rows = ["name,caption,split" if split else "name,caption"]
    for name in NAMES:
        own = {"a": "train", "b": "val", "c": "test"}[name[0]]
        rows += [f'{name}.bvh,"A person, who sways {name}."' + (f",{own}" if split else "")]
    rows += ["a1,sways#sway/VERB" + (",train" if split else "")]
    (root / "captions.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "recordings"
    for seed, name in enumerate(NAMES):
        write_bvh_file(root / ("more" if name == "c1" else ".") / f"{name}.bvh", seed, scale=100.0)
    write_captions(root)
    return root


def build(source, out):
    return build_from_source(source, out, progress=False)


def test_build(folder, tmp_path, capsys):
    out = tmp_path / "out"
    main(["data", "build", "--bvh", str(folder), "--out", str(out), "--min_length", "24"])
    first, second = capsys.readouterr().out.splitlines()
    assert "6 BVH files, mapping smpl_words, 0.01 m per unit, y up; splits given with the captions" in first
    assert "4 train, 1 val, 1 test motions; 0 left out" in second
    assert (out / "train.txt").read_text().split() == ["a1", "a2", "a3", "a4"]
    assert np.load(out / "new_joint_vecs" / "c1.npy").shape == (39, 263)
    captions = read_captions(out / "texts" / "a1.txt")
    assert [caption.text for caption in captions] == ["A person, who sways a1.", "sways"]
    assert captions[0].tokens == ("a/DET", "person/NOUN", "who/PRON", "sway/VERB")
    assert captions[1].tokens == ("sway/VERB",)
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["source"] == {"format": "BVH", "mapping": "smpl_words", "metres_per_unit": 0.01, "up": "y"}
    assert (metadata["fps"], metadata["min_length"]) == (20.0, 23)
    assert metadata["pos_tagger"] in ("given, else built-in", "given, else spacy en_core_web_sm")


def test_unit_and_axis_make_no_difference(folder, tmp_path):
    """The same motions in metres give the same features, but for the digits written."""
    build(BvhFolder(folder, min_length=24), tmp_path / "one")
    for path in folder.rglob("*.bvh"):
        path.unlink()
    for seed, name in enumerate(NAMES):
        write_bvh_file(folder / f"{name}.bvh", seed)
    build(BvhFolder(folder, min_length=24), tmp_path / "two")
    one, two = (np.load(tmp_path / name / "new_joint_vecs" / "a2.npy") for name in ("one", "two"))
    np.testing.assert_allclose(one, two, atol=2e-4)


def test_drawn_splits_depend_on_the_seed_alone(folder):
    write_captions(folder, split=False)
    splits = [BvhFolder(folder, seed=seed).splits for seed in (1, 1, 2, 3, 4)]
    assert splits[0] == splits[1]
    assert any(other != splits[0] for other in splits[2:])
    assert all(
        sorted(name for ids in split.values() for name in ids) == NAMES and len(split["val"]) == 1 for split in splits
    )


def test_given_lists_come_first(folder):
    for split, ids in (("train", NAMES[2:]), ("val", NAMES[:1]), ("test", NAMES[1:2])):
        (folder / f"{split}.txt").write_text("\n".join(ids) + "\n")
    assert BvhFolder(folder).splits["train"] == NAMES[2:]
    assert BvhFolder(folder, splits=folder).metadata.extra["splits"] == "given as lists"


def test_texts_folder(folder, tmp_path):
    (folder / "captions.csv").unlink()
    (folder / "texts").mkdir()
    for name in NAMES:
        (folder / "texts" / f"{name}.txt").write_text(f"sways {name}.#sway/VERB#0.0#0.0\n")
    source = BvhFolder(folder, min_length=24)
    assert source.captions("a1") == b"sways a1.#sway/VERB#0.0#0.0\n"
    assert build(source, tmp_path / "out").left_out == ()


def test_what_cannot_be_used_is_left_out_with_its_reason(folder, tmp_path):
    write_bvh_file(folder / "a2.bvh", 1, frames=30, scale=100.0)
    (folder / "a3.bvh").write_text("HIERARCHY\n")
    write_bvh_file(folder / "a4.bvh", 3, scale=100.0, names=[f"bone{number}" for number in range(22)])
    write_bvh_file(folder / "extra.bvh", 9, scale=100.0)
    with (folder / "captions.csv").open("a") as file:
        file.write("lost,a motion that is not here,train\n")
    report = build(BvhFolder(folder, min_length=24), tmp_path / "out")
    reasons = dict(report.left_out)
    assert report.splits["train"] == 1
    assert "20 frames; the minimum length is 24" in reasons["a2"]
    assert "cut short" in reasons["a3"]
    assert "misses 22 joints" in reasons["a4"]
    assert "BVH file is missing" in reasons["lost"]
    assert "no caption" in reasons["extra"]


CASES = {
    "no BVH file": lambda root: [path.unlink() for path in root.rglob("*.bvh")],
    "more than one folder": lambda root: write_bvh_file(root / "more" / "a1.bvh", 0),
    r"neither captions\.csv nor texts/": lambda root: (root / "captions.csv").unlink(),
    r"captions\.csv: the columns are": lambda root: (root / "captions.csv").write_text("id,text\na1,x\n"),
    "line 2: split is 'dev'": lambda root: (root / "captions.csv").write_text("name,caption,split\na1,x,dev\n"),
    "line 3: 'a1' is also in split 'train'": lambda root: (root / "captions.csv").write_text(
        "name,caption,split\na1,x,train\na1,y,val\n"
    ),
    "no motion is in split 'val'": lambda root: (root / "captions.csv").write_text("name,caption,split\na1,x,train\n"),
    "line 2: the caption is empty": lambda root: (root / "captions.csv").write_text("name,caption\na1,\n"),
    "drawing splits needs at least 3": lambda root: (root / "captions.csv").write_text("name,caption\na1,x\n"),
    "table has no caption": lambda root: (root / "captions.csv").write_text("name,caption\n"),
}


@pytest.mark.parametrize("reason", CASES)
def test_folders_that_cannot_be_used(folder, reason):
    CASES[reason](folder)
    with pytest.raises(DataError, match=reason):
        BvhFolder(folder)


def test_unmapped_rig_is_an_error(folder):
    for seed, path in enumerate(folder.rglob("*.bvh")):
        write_bvh_file(path, seed, names=[name.replace("left_knee", "LeftKneeJoint") for name in BODY.joints])
    with pytest.raises(DataError, match=r"misses 1 joints: left_knee from left_knee \(perhaps LeftKneeJoint\)"):
        BvhFolder(folder)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"up": "w"}, "up is 'w'"),
        ({"unit": "feet"}, "unit is 'feet'"),
        ({"min_length": 1}, "min_length is 1"),
        ({"skeleton": "kit"}, "no mapping is shipped"),
        ({"mapping": "smpl_words", "skeleton": "kit"}, "leave --skeleton out"),
    ],
)
def test_wrong_settings(folder, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        BvhFolder(folder, **settings)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("data build --out made", "needs a source"),
        ("data build --joints a --bvh b --out made", "both given"),
        ("data build --joints a --up z --out made", "up is for BVH files"),
        ("data build --bvh none --out made", "none: folder is missing"),
    ],
)
def test_one_line_on_the_command_line(tmp_path, monkeypatch, capsys, line, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_real_recordings(tmp_path, test_data):
    index = json.loads((test_data / "bandai_namco" / "index.json").read_text())
    rows = "".join(f'{entry["name"]},"{entry["captions"][0]}"\n' for entry in index)
    (tmp_path / "captions.csv").write_text(f"name,caption\n{rows}")
    source = BvhFolder(test_data / "bandai_namco" / "bvh", captions=tmp_path / "captions.csv", min_length=24)
    report = build(source, tmp_path / "out")
    assert report.splits == {"train": 19, "val": 1, "test": 4}
    assert report.left_out == ()
    assert source.metadata.extra["source"]["mapping"] == "bandai_namco"
    assert source.pos_tagger == "given"
