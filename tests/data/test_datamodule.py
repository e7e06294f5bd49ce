import json
import logging
import pickle

import numpy as np
import pytest
import torch

from lightning_realign.data import HumanML3DDataModule, KITMLDataModule
from lightning_realign.data.dataset import fixed_crop, training_crop
from lightning_realign.data.formats import read_split
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.files.atomic import save_array_atomic, write_lines_atomic, write_text_atomic
from lightning_realign.types import valid_mask
from tests.helpers.support import write_tiny_dataset


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def fresh(tmp_path):
    return write_tiny_dataset(tmp_path, train=6, val=2, test=2)


def epoch_batches(module, epoch=0):
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def equal(first, second):
    return (
        torch.equal(first.motion, second.motion)
        and torch.equal(first.lengths, second.lengths)
        and (first.ids, first.captions, first.attributes) == (second.ids, second.captions, second.attributes)
    )


@pytest.mark.parametrize(("kind", "skeleton"), [(HumanML3DDataModule, "humanml3d"), (KITMLDataModule, "kit")])
def test_batches(tmp_path, kind, skeleton):
    module = kind(write_tiny_dataset(tmp_path, skeleton), batch_size=5)
    module.setup("fit")
    batches = [*module.train_dataloader(), *module.val_dataloader()]
    assert [len(batch) for batch in batches] == [5] * 4 + [5, 3]
    for batch in batches:
        assert batch.motion.shape == (len(batch), int(batch.lengths.max()), module.skeleton.num_features)
        assert (batch.lengths % 4 == 0).all()
        assert (batch.motion[~valid_mask(batch.lengths, batch.motion.shape[1])] == 0).all()
        assert batch.attributes == (None,) * len(batch)


def test_evaluation_takes_the_first_caption_and_the_start_raw(tiny):
    module = HumanML3DDataModule(tiny, batch_size=5)
    module.setup("test")
    batch = next(iter(module.test_dataloader()))
    for row, name in enumerate(batch.ids):
        motion = np.load(tiny / "new_joint_vecs" / f"{name}.npy")
        length = len(motion) // 4 * 4
        assert int(batch.lengths[row]) == length
        np.testing.assert_array_equal(batch.motion[row, :length].numpy(), motion[:length])
        assert batch.captions[row] == (tiny / "texts" / f"{name}.txt").read_text().split("#")[0]
    assert all(equal(a, b) for a, b in zip(module.test_dataloader(), module.predict_dataloader(), strict=True))


def test_training_crops_come_from_the_motion(tiny):
    module = HumanML3DDataModule(tiny, batch_size=6)
    module.setup("fit")
    for batch in epoch_batches(module, 1):
        for row, name in enumerate(batch.ids):
            motion = np.load(tiny / "new_joint_vecs" / f"{name}.npy")
            crop = batch.motion[row, : batch.lengths[row]].numpy()
            starts = [s for s in range(len(motion) - len(crop) + 1) if np.array_equal(motion[s : s + len(crop)], crop)]
            assert starts
            assert batch.captions[row] in (tiny / "texts" / f"{name}.txt").read_text()


@pytest.mark.parametrize("length", [5, 24, 40, 43, 199])
def test_crop_law(length):
    random = np.random.default_rng(0)
    crops = [training_crop(length, 196, random) for _ in range(6000)]
    units = length // 4
    sizes = np.array([frames for _, frames in crops])
    assert set(sizes) == ({4 * units, 4 * (units - 1)} if units > 1 else {4})
    if units > 1:
        assert abs((sizes == 4 * (units - 1)).mean() - 1 / 3) < 0.02
    for frames in set(sizes):
        starts = {start for start, size in crops if size == frames}
        assert starts == set(range(length - frames + 1))
    assert fixed_crop(length, 196) == (0, 4 * units)


def test_longer_motions_are_cut_to_the_most_frames():
    assert fixed_crop(400, 196) == (0, 196)
    assert training_crop(400, 196, np.random.default_rng(0))[1] == 196


def test_captions_are_drawn_evenly(tiny):
    module = HumanML3DDataModule(tiny, batch_size=24)
    module.setup("fit")
    first = {
        name: (tiny / "texts" / f"{name}.txt").read_text().split("#")[0] for name in read_split(tiny / "train.txt")
    }
    drawn = [
        batch.captions[row] == first[name]
        for epoch in range(50)
        for batch in epoch_batches(module, epoch)
        for row, name in enumerate(batch.ids)
    ]
    assert 0.42 < np.mean(drawn) < 0.6


def test_epochs_differ_and_repeat(tiny):
    modules = [HumanML3DDataModule(tiny, batch_size=8) for _ in range(2)]
    for module in modules:
        module.setup("fit")
    # The second module never saw epoch 0, as a resumed run.
    epoch_batches(modules[0], 0)
    assert all(equal(a, b) for a, b in zip(epoch_batches(modules[0], 4), epoch_batches(modules[1], 4), strict=True))
    assert not any(equal(a, b) for a, b in zip(epoch_batches(modules[0], 4), epoch_batches(modules[0], 5), strict=True))


def test_workers_change_nothing(tiny):
    batches = []
    for workers in (0, 2):
        module = HumanML3DDataModule(tiny, batch_size=8, num_workers=workers)
        module.setup("fit")
        loader = module.train_dataloader()
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)
            batches.append(list(loader))
    for first, second in zip(batches[:2], batches[2:], strict=True):
        assert all(equal(a, b) for a, b in zip(first, second, strict=True))


class Ranks:
    precision = "32-true"

    def __init__(self, world_size, global_rank):
        self.world_size, self.global_rank = world_size, global_rank


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_sharding(tiny, ranks):
    tested, trained, gallery = [], [], []
    for rank in range(ranks):
        module = HumanML3DDataModule(tiny, batch_size=4)
        module.trainer = Ranks(ranks, rank)
        module.setup()
        tested += [name for batch in module.test_dataloader() for name in batch.ids]
        trained.append([batch.ids for batch in module.train_dataloader()])
        gallery.append([name for batch in module.gallery_dataloader() for name in batch.ids])
    assert sorted(tested) == read_split(tiny / "test.txt")
    assert {len(batches) for batches in trained} == {24 // (4 * ranks)}
    names = [name for batches in trained for ids in batches for name in ids]
    assert len(set(names)) == len(names)
    assert all(sorted(part) == read_split(tiny / "train.txt") for part in gallery)


def test_fewer_motions_than_the_batch_shrink_it(tiny, caplog):
    module = HumanML3DDataModule(tiny, batch_size=64)
    module.setup("fit")
    assert [len(batch) for batch in module.train_dataloader()] == [24]
    assert "lowered to 24" in caplog.text
    module.trainer = Ranks(30, 0)
    with pytest.raises(DataError, match="use fewer devices"):
        module.train_dataloader()


def test_captions_cover_what_the_loaders_yield(tiny):
    module = HumanML3DDataModule(tiny, batch_size=4)
    module.setup()
    fit, test = module.captions("fit"), module.captions("test")
    assert len(set(fit)) == len(fit)
    drawn = {text for epoch in range(20) for batch in epoch_batches(module, epoch) for text in batch.captions}
    assert drawn | {text for batch in module.val_dataloader() for text in batch.captions} == set(fit)
    assert {text for batch in module.test_dataloader() for text in batch.captions} == set(test)
    assert module.captions("predict") == test


def test_broken_motions_are_counted_and_left_out(fresh, caplog):
    names = read_split(fresh / "train.txt")
    folder = fresh / "new_joint_vecs"
    motion = np.load(folder / f"{names[0]}.npy")
    motion[3, 5] = np.nan
    save_array_atomic(folder / f"{names[0]}.npy", motion)
    (folder / f"{names[1]}.npy").unlink()
    save_array_atomic(folder / f"{names[2]}.npy", np.zeros((39, 263), np.float32))
    save_array_atomic(folder / f"{names[3]}.npy", np.zeros((200, 263), np.float32))
    (fresh / "texts" / f"{names[4]}.txt").write_text("\n")
    module = HumanML3DDataModule(fresh)
    with caplog.at_level(logging.WARNING):
        module.setup("fit")
    kinds = {item.id: item.kind for item in module.left_out["train"]}
    expected = ["unreadable", "missing", "too short", "too long", "without captions"]
    assert kinds == dict(zip(names[:5], expected, strict=True))
    assert [name for batch in module.gallery_dataloader() for name in batch.ids] == [names[5]]
    (record,) = [record for record in caplog.records if "left out" in record.message]
    assert "5 of 6" in record.message
    assert "1 too short" in record.message


def test_length_limits(fresh):
    folder, names = fresh / "new_joint_vecs", read_split(fresh / "train.txt")
    for name, length in zip(names, (23, 24, 39, 40, 199, 200), strict=True):
        save_array_atomic(folder / f"{name}.npy", np.zeros((length, 263), np.float32))

    def used(**limits):
        module = HumanML3DDataModule(fresh, **limits)
        return sorted(name for batch in module.gallery_dataloader() for name in batch.ids)

    assert used() == names[3:5]
    assert used(min_length=24) == names[1:5]
    assert used(max_length=100) == [names[3]]
    metadata = json.loads((fresh / "metadata.json").read_text())
    write_text_atomic(fresh / "metadata.json", json.dumps(metadata | {"min_length": 24}))
    assert used() == names[1:5]
    assert used(min_length=40) == names[3:5]


def test_tagged_captions_become_entries_cropped_at_20_fps(fresh):
    names = read_split(fresh / "train.txt")
    motion = np.random.default_rng(0).standard_normal((150, 263)).astype(np.float32)
    save_array_atomic(fresh / "new_joint_vecs" / f"{names[0]}.npy", motion)
    lines = ["part one#a/DET#1.0#4.5", "all#a/DET#0.0#0.0", "too short#a/DET#1.0#2.0", "part two#a/DET#2.0#5.0"]
    write_lines_atomic(fresh / "texts" / f"{names[0]}.txt", lines)
    module = HumanML3DDataModule(fresh)
    rows = {
        name: (batch.captions[row], batch.motion[row, : batch.lengths[row]].numpy())
        for batch in module.gallery_dataloader()
        for row, name in enumerate(batch.ids)
    }
    expected = {names[0]: ("all", 0, 148), f"A_{names[0]}": ("part one", 20, 68), f"C_{names[0]}": ("part two", 40, 60)}
    for name, (caption, start, frames) in expected.items():
        assert rows[name][0] == caption
        np.testing.assert_array_equal(rows[name][1], motion[start : start + frames])
    assert [(item.id, item.kind) for item in module.left_out["train"]] == [(f"B_{names[0]}", "too short")]


def test_attributes_reach_the_batch(fresh):
    names = read_split(fresh / "test.txt")
    write_text_atomic(fresh / "attributes.json", json.dumps({names[0]: {"action": "walk"}}))
    module = HumanML3DDataModule(fresh)
    (batch,) = module.test_dataloader()
    assert dict(zip(batch.ids, batch.attributes, strict=True)) == {names[0]: {"action": "walk"}, names[1]: None}


def test_normaliser_and_fingerprint(fresh):
    module = HumanML3DDataModule(fresh)
    module.setup("fit")
    np.testing.assert_array_equal(module.normaliser.mean.numpy(), np.load(fresh / "Mean.npy"))
    np.testing.assert_array_equal(module.normaliser.std.numpy(), np.load(fresh / "Std.npy"))
    assert HumanML3DDataModule(fresh, batch_size=3, seed=9).fingerprint == module.fingerprint
    save_array_atomic(fresh / "Std.npy", np.load(fresh / "Std.npy") * 1.001)
    changed = HumanML3DDataModule(fresh).fingerprint
    assert changed != module.fingerprint
    write_lines_atomic(fresh / "train.txt", read_split(fresh / "train.txt")[1:])
    assert HumanML3DDataModule(fresh).fingerprint not in {changed, module.fingerprint}


def _break_root(root):
    for path in sorted(root.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    root.rmdir()


def _break_size(root):
    save_array_atomic(root / "Mean.npy", np.zeros(251))


def _break_all(root):
    for name in read_split(root / "train.txt"):
        save_array_atomic(root / "new_joint_vecs" / f"{name}.npy", np.zeros((60, 251), np.float32))


def _break_skeleton(root):
    write_text_atomic(root / "metadata.json", '{"skeleton": "kit"}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_break_root, "is not a folder"),
        (_break_size, r"Mean.npy: statistics have shape \(251,\)"),
        (_break_all, r"none of 6 listed motions can be used \(6 unreadable\).*\(60, 251\)"),
        (_break_skeleton, "skeleton 'kit'"),
        (lambda root: (root / "train.txt").write_text("\n"), "train.txt: the split list is empty"),
        (lambda root: (root / "val.txt").unlink(), "val.txt: split list is missing"),
        (lambda root: (root / "Std.npy").unlink(), "Std.npy: statistics file is missing"),
        (lambda root: save_array_atomic(root / "Std.npy", np.zeros(263)), "Std"),
        (lambda root: (root / "texts" / "000001.txt").write_text("no fields\n"), "000001.txt, line 1"),
        (lambda root: (root / "texts" / "000001.txt").write_text("a##0.0#0.0\n"), "000001.txt, line 1.*no tokens"),
        (lambda root: (root / "new_joint_vecs").rename(root / "vecs"), "new_joint_vecs is not a folder"),
        (lambda root: (root / "attributes.json").write_text("["), "attributes.json"),
    ],
)
def test_what_cannot_be_used_is_one_line(fresh, damage, message):
    damage(fresh)
    module = HumanML3DDataModule(fresh)
    with pytest.raises(DataError, match=message) as error:
        module.setup("fit")
        module.train_dataloader()
    assert str(error.value).startswith("HumanML3DDataModule.root: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"num_workers": -1}, {"min_length": 3}, {"max_length": 4}])
def test_settings_out_of_range(setting):
    with pytest.raises(ConfigError, match=f"HumanML3DDataModule.{next(iter(setting))}"):
        HumanML3DDataModule("nowhere", **setting)


def test_module_can_be_pickled(tiny):
    module = HumanML3DDataModule(tiny, batch_size=8)
    module.setup("fit")
    copy = pickle.loads(pickle.dumps(module))
    assert all(equal(a, b) for a, b in zip(epoch_batches(module), epoch_batches(copy), strict=True))
