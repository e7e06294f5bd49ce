"""The benchmarks of data on tiny sizes: that they run, and compare the same work."""

import json

import numpy as np
import pytest

from benchmarks import data, extraction
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError


@pytest.fixture(scope="module")
def look_alike(tmp_path_factory):
    root = tmp_path_factory.mktemp("benchmark") / "set"
    data.write_look_alike(root, data.some_of(data.drawn_ids(), 400))
    return root


def test_ids_have_the_sizes_of_the_published_lists(test_data, monkeypatch):
    monkeypatch.setenv("REALIGN_TEST_DATA", str(test_data))
    real, drawn = data.real_ids(), data.drawn_ids()
    assert {split: len(ids) for split, ids in real.items()} == {split: len(ids) for split, ids in drawn.items()}
    assert len({name for ids in drawn.values() for name in ids}) == 29_228


def test_both_ways_have_the_same_clips_and_captions(look_alike):
    module = HumanML3DDataModule(look_alike)
    module.setup("fit")
    for split in ("train", "val"):
        entries, peers = module._split(split).entries, data._read_all(str(look_alike), split)
        assert len(entries) == len(peers)
        whole = {entry.id: entry for entry in entries if entry.id in peers}
        assert len(whole) > 0.9 * len((look_alike / f"{split}.txt").read_text().split())
        for name, entry in whole.items():
            assert np.array_equal(entry.motion, peers[name]["motion"])
            assert [caption.text for caption in entry.captions] == [text["caption"] for text in peers[name]["text"]]
            assert [list(caption.tokens) for caption in entry.captions] == [t["tokens"] for t in peers[name]["text"]]
    frames = [len(entry.motion) for entry in module._split("train").entries]
    assert 125 < np.mean(frames) < 155


def test_benchmark_prints_every_figure_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("REALIGN_TEST_DATA", raising=False)
    monkeypatch.setattr(data, "apart", lambda task, *values: task(*values))
    data.main(["--clips", "200", "--repeats", "1", "--batches", "2", "--steps", "0", "--folder", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "160 train, 10 val, 30 test clips" in printed
    for word in ("packed", "unpacked", "as published", "batches/s"):
        assert word in printed
    assert not list(tmp_path.iterdir())


def test_processes_are_fresh():
    assert data.apart(int, "7") == 7


def write_checkout(folder, function):
    folder.mkdir()
    cells = [
        "import numpy as np\nt2m_raw_offsets, t2m_kinematic_chain = np.zeros((22, 3)), []",
        "class Skeleton:\n    def __init__(self, *_): pass\n    def get_offsets_joints(self, pose): return pose",
        function,
        "raise SystemError('cells after the function are not run')",
    ]
    notebook = {"cells": [{"source": [cell]} for cell in cells]}
    (folder / "motion_representation.ipynb").write_text(json.dumps(notebook))
    return folder


def test_peer_is_run_and_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("REALIGN_TEST_DATA", raising=False)
    monkeypatch.setattr(extraction, "MOTIONS", 2)
    monkeypatch.syspath_prepend(str(tmp_path))
    function = "def process_file(joints, threshold): return (np.zeros((len(joints) - 1, 263)),)"
    checkout = write_checkout(tmp_path / "checkout", function)
    golden = tmp_path / "golden.json"
    extraction.main(["--peer", str(checkout), "--repeats", "1", "--golden", str(golden)])
    printed = capsys.readouterr().out
    assert "2 clips" in printed
    assert "largest difference" in printed
    assert json.loads(golden.read_text()) == {f"synthetic {place}": [0.0] * 4 for place in range(2)}


@pytest.mark.parametrize("notebook", [None, "x = 1"])
def test_checkout_without_the_function(tmp_path, notebook):
    folder = tmp_path / "checkout"
    if notebook is not None:
        folder = tmp_path / "other"
        folder.mkdir()
        (folder / "motion_representation.ipynb").write_text(json.dumps({"cells": [{"source": [notebook]}]}))
    with pytest.raises(ConfigError, match=r"give (the folder of )?a checkout"):
        extraction.load_peer(folder, extraction.uniform_pose())
