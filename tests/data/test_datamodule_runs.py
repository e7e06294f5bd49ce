"""Data modules in a trainer, the synthetic one, and real clips."""

import json

import lightning as L
import numpy as np
import pytest
import torch

from lightning_realign.data import HumanML3DDataModule, KITMLDataModule, SyntheticDataModule
from lightning_realign.data.formats import read_split
from lightning_realign.errors import DataError
from lightning_realign.files.atomic import save_array_atomic, write_lines_atomic
from tests.helpers.support import write_tiny_dataset


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("tiny"))


class Recorder(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.predicted = [], []

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, batch.ids, batch.captions, int(batch.lengths.sum())))
        return self.weight * batch.motion.mean()

    def validation_step(self, batch, _):
        assert batch.lengths.dtype == torch.int64

    def predict_step(self, batch, _):
        self.predicted += batch.ids

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def run(module, data, path, epochs, ckpt=None):
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=path,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, data, ckpt_path=ckpt)
    return trainer


def test_trainer_sets_epochs_resumes_and_predicts(tiny, tmp_path):
    whole, half, resumed = Recorder(), Recorder(), Recorder()
    run(whole, HumanML3DDataModule(tiny, batch_size=8), tmp_path / "a", 4)
    run(half, HumanML3DDataModule(tiny, batch_size=8), tmp_path / "b", 2).save_checkpoint(tmp_path / "half.ckpt")
    data = HumanML3DDataModule(tiny, batch_size=8)
    trainer = run(resumed, data, tmp_path / "c", 4, tmp_path / "half.ckpt")
    assert half.seen + resumed.seen == whole.seen
    assert len({captions for _, _, captions, _ in whole.seen}) == 12
    trainer.predict(resumed, data, return_predictions=False)
    assert sorted(resumed.predicted) == read_split(tiny / "test.txt")


def test_synthetic_set_is_made_once_and_checked(tmp_path):
    pytest.importorskip("lightning_realign.data.synthetic", reason="the synthetic set is not here").make_dataset  # noqa: B018
    settings = {"train": 6, "val": 2, "test": 3, "batch_size": 3}
    module = SyntheticDataModule(tmp_path / "set", **settings)
    with pytest.raises(DataError, match="is not a folder"):
        module.setup("fit")
    module.prepare_data()
    module.setup()
    assert sum(len(batch) for batch in module.test_dataloader()) == 3
    assert all(batch.attributes[0] for batch in module.test_dataloader())
    made = (tmp_path / "set" / "train.txt").stat().st_mtime_ns
    SyntheticDataModule(tmp_path / "set", **settings).prepare_data()
    assert (tmp_path / "set" / "train.txt").stat().st_mtime_ns == made
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    with pytest.raises(DataError, match=r"SyntheticDataModule.train: .* lists 6 motions, not 7"):
        SyntheticDataModule(tmp_path / "set", **(settings | {"train": 7})).prepare_data()
    with pytest.raises(DataError, match="skeleton"):
        SyntheticDataModule(tmp_path / "set", skeleton="kit", **settings).prepare_data()


def test_real_clips_are_read_as_they_are(test_data, tmp_path, caplog):
    source = test_data / "humanml3d_samples"
    for name in ("new_joint_vecs", "texts", "Mean.npy", "Std.npy", "train.txt", "val.txt", "test.txt"):
        if name != "texts":
            (tmp_path / name).symlink_to(source / name)
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "000000.txt").symlink_to(source / "texts" / "000000.txt")
    for name in ("012314", "M010968"):
        (texts / f"{name}.txt").write_text("a person moves.#a/DET person/NOUN move/VERB#0.0#0.0\n")
    listed = {name: split for split in ("train", "val", "test") for name in read_split(source / f"{split}.txt")}
    clips = {path.stem for path in (source / "new_joint_vecs").iterdir()}
    split = listed["012314"]
    module = HumanML3DDataModule(tmp_path, batch_size=2)
    assert module.metadata.min_length == 40
    entries = module._split(split).entries
    assert {entry.id for entry in entries} == {name for name in clips if listed.get(name) == split}
    for entry in entries:
        original = np.load(source / "new_joint_vecs" / f"{entry.id}.npy")
        np.testing.assert_array_equal(entry.motion, original.astype(np.float32))
    assert len(module.left_out[split]) + len(entries) == sum(1 for value in listed.values() if value == split)
    assert "missing" in caplog.text
    np.testing.assert_array_equal(module.normaliser.mean.numpy(), np.load(source / "Mean.npy").astype(np.float32))


def test_kit_annotations_make_a_kit_data_set(test_data, tmp_path):
    source = test_data / "kit_ml"
    annotations = json.loads((source / "annotations.json").read_text())
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        names = [name for name in read_split(source / f"{split}.txt") if not name.startswith("M")][:40]
        write_lines_atomic(tmp_path / f"{split}.txt", names)
        for name in names:
            texts = [" ".join(item["text"].split()) for item in annotations[name]["annotations"]]
            lines = [f"{text}#{' '.join(f'{word}/X' for word in text.split())}#0.0#0.0" for text in texts if text]
            write_lines_atomic(tmp_path / "texts" / f"{name}.txt", lines)
            frames = int(annotations[name]["duration"] * 12.5)
            motion = random.standard_normal((frames, 251)).astype(np.float32)
            save_array_atomic(tmp_path / "new_joint_vecs" / f"{name}.npy", motion)
    save_array_atomic(tmp_path / "Mean.npy", np.zeros(251))
    save_array_atomic(tmp_path / "Std.npy", np.ones(251))
    module = KITMLDataModule(tmp_path, batch_size=8)
    module.setup()
    assert (module.metadata.min_length, module.metadata.fps) == (24, 12.5)
    count = sum(len(batch) for batch in module.gallery_dataloader())
    assert count + len(module.left_out["train"]) == 40
    assert all(24 <= len(entry.motion) < 200 for entry in module._split("train").entries)
