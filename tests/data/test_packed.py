import json
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch

from lightning_realign.__main__ import main
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.data.formats import Caption
from lightning_realign.data.packed.packed import pack, verify_packed
from lightning_realign.errors import DataError
from lightning_realign.files.atomic import write_lines_atomic, write_text_atomic
from tests.helpers.support import write_tiny_dataset

D = 263


@pytest.fixture
def fresh(tmp_path):
    return write_tiny_dataset(tmp_path / "set", train=9, val=3, test=4)


def batches(root, **settings):
    """Everything the loaders yield in three epochs, and what was left out."""
    module = HumanML3DDataModule(root, batch_size=3, **settings)
    module.setup()
    found = []
    for epoch in range(3):
        loader = module.train_dataloader()
        loader.sampler.set_epoch(epoch)
        found += list(loader)
    for loader in (module.val_dataloader(), module.test_dataloader(), module.gallery_dataloader()):
        found += list(loader)
    return found, module.left_out, module.fingerprint


def assert_same(first, second):
    assert first[1:] == second[1:]
    assert len(first[0]) == len(second[0])
    for one, other in zip(first[0], second[0], strict=True):
        assert torch.equal(one.motion, other.motion)
        assert torch.equal(one.lengths, other.lengths)
        assert (one.ids, one.captions, one.attributes) == (other.ids, other.captions, other.attributes)


def spoil(root):
    """Motions to leave out, parts of motions, a caption with '#', and attributes."""
    names = (root / "train.txt").read_text().split()
    (root / "new_joint_vecs" / f"{names[0]}.npy").unlink()
    np.save(root / "new_joint_vecs" / f"{names[1]}.npy", np.full((50, D), np.nan, dtype=np.float32))
    np.save(root / "new_joint_vecs" / f"{names[2]}.npy", np.zeros((20, D), dtype=np.float32))
    captions = [Caption("a # sign", ("a/DET",)), Caption("a part", ("part/NOUN",), 0.0, 2.25), Caption("é", ("é/X",))]
    write_lines_atomic(root / "texts" / f"{names[3]}.txt", (caption.line() for caption in captions))
    write_lines_atomic(root / "quarantine.txt", [f"{names[4]}\tfrozen"])
    write_text_atomic(root / "attributes.json", json.dumps({names[5]: {"action": "walk"}}))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("spoiled", [False, True])
def test_packed_batches_are_the_same(fresh, spoiled, workers):
    if spoiled:
        spoil(fresh)
    plain = batches(fresh)
    report = pack(fresh, D)
    assert report.motions == {"train": 6 if spoiled else 9, "val": 3, "test": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        packed = batches(fresh, num_workers=workers)
    assert_same(plain, packed)


def test_packed_motions_are_views_of_the_mapped_file(fresh):
    pack(fresh, D)
    module = HumanML3DDataModule(fresh)
    module.setup("test")
    bases = set()
    for entry in module._split("test").entries:
        base = entry.motion
        assert not base.flags.owndata
        assert not base.flags.writeable
        while isinstance(base.base, np.ndarray):
            base = base.base
        bases.add(id(base))
    assert len(bases) == 1


@pytest.mark.parametrize("spoiled", [False, True])
def test_a_pickled_dataset_maps_the_files_again(fresh, spoiled):
    """As workers get it that are not forked: places in files, not the motions."""
    if spoiled:
        spoil(fresh)
    pack(fresh, D)
    module = HumanML3DDataModule(fresh)
    module.setup("fit")
    dataset = module._dataset("train", training=False)
    content = pickle.dumps(dataset)
    assert len(content) < 0.1 * sum(entry.motion.nbytes for entry in dataset.entries)
    copy = pickle.loads(content)
    assert len({id(entry.rows.content) for entry in copy.entries}) == 1
    assert len(copy) == len(dataset)
    for one, other in zip(dataset.entries, copy.entries, strict=True):
        assert not other.motion.flags.owndata
        assert np.array_equal(one.motion, other.motion)
        assert (one.id, list(one.captions), one.whole) == (other.id, list(other.captions), other.whole)


def test_damaged_captions_are_one_line(fresh):
    pack(fresh, D)
    path = fresh / "packed" / "test.captions"
    path.write_bytes(b"x" * path.stat().st_size)
    module = HumanML3DDataModule(fresh)
    module.setup("test")
    with pytest.raises(DataError, match=r"test\.captions: captions at byte \d+ are damaged; pack it again") as caught:
        next(iter(module.test_dataloader()))
    assert "\n" not in str(caught.value)


def test_other_length_limits_need_no_new_pack(fresh):
    plain = batches(fresh, min_length=60)
    pack(fresh, D)
    assert_same(plain, batches(fresh, min_length=60))


def change_motion(root, name):
    np.save(root / "new_joint_vecs" / f"{name}.npy", np.zeros((41, D), dtype=np.float32))


def change_caption(root, name):
    write_lines_atomic(root / "texts" / f"{name}.txt", ["other#other/ADJ#0.0#0.0"])


def change_list(root, name):
    write_lines_atomic(root / "test.txt", (root / "test.txt").read_text().split()[1:])


def change_mean(root, name):
    np.save(root / "Mean.npy", np.zeros(D))


def change_quarantine(root, name):
    write_lines_atomic(root / "quarantine.txt", [name])


@pytest.mark.parametrize("change", [change_motion, change_caption, change_list, change_mean, change_quarantine])
def test_a_stale_pack_is_refused_until_packed_again(fresh, change):
    pack(fresh, D)
    change(fresh, (fresh / "test.txt").read_text().split()[0])
    with pytest.raises(DataError, match="has changed since it was packed; pack it again") as caught:
        HumanML3DDataModule(fresh).setup("test")
    assert "\n" not in str(caught.value)
    shutil.move(fresh / "packed", fresh / "aside")
    plain = batches(fresh)
    shutil.move(fresh / "aside", fresh / "packed")
    pack(fresh, D)
    assert_same(plain, batches(fresh))
    assert not list(fresh.glob(".packed*"))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def wrong_type(path):
    size = path.stat().st_size
    np.save(path, np.zeros((size - 128) // 8, dtype=np.float64))


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("test.npy", truncate, "bytes of"),
        ("test.npy", lambda path: path.unlink(), "has 0 bytes of"),
        ("test.npy", wrong_type, "pack it again"),
        ("test.npy", lambda path: path.write_bytes(b"x" * path.stat().st_size), "cannot be mapped"),
        ("test.captions", truncate, "bytes of"),
        ("test.captions", lambda path: path.unlink(), "has 0 bytes of"),
        ("test.json", truncate, "is not valid JSON"),
        ("test.json", lambda path: path.write_text("{}"), "is no header of a packed split"),
    ],
)
def test_damage_is_one_line(fresh, file, damage, message):
    pack(fresh, D)
    damage(fresh / "packed" / file)
    with pytest.raises(DataError, match=message) as caught:
        HumanML3DDataModule(fresh).setup("test")
    assert "\n" not in str(caught.value)
    assert f"packed/{file}" in str(caught.value)


def test_verify_finds_a_changed_byte(fresh):
    pack(fresh, D)
    verify_packed(fresh, "test", D)
    path = fresh / "packed" / "test.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="differs from its checksum"):
        verify_packed(fresh, "test", D)


def test_a_failed_pack_leaves_the_old_one(fresh):
    pack(fresh, D)
    before = {path.name: path.read_bytes() for path in (fresh / "packed").iterdir()}
    name = (fresh / "val.txt").read_text().split()[0]
    (fresh / "texts" / f"{name}.txt").write_text("no tokens##0#0\n")
    with pytest.raises(DataError, match="has no tokens"):
        pack(fresh, D)
    assert {path.name: path.read_bytes() for path in (fresh / "packed").iterdir()} == before
    assert not list(fresh.glob(".packed*"))


def test_command(fresh, capsys):
    main(["data", "pack", str(fresh)])
    assert "packed: 9 train, 3 val, 4 test motions" in capsys.readouterr().out
