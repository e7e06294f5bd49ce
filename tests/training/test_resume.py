"""A run that was stopped anywhere and resumed is the uninterrupted one, batch for batch and bit for bit."""

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError
from tests.helpers.support import write_tiny_dataset
from tests.helpers.training_runs import LossRecord, StopAfter, trainer, vae_module

STEPS = 6


class Seen(L.Callback):
    """The ids of every training batch."""

    def __init__(self):
        self.ids = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.ids.append(batch.ids)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six batches of four an epoch, which differ in length."""
    return write_tiny_dataset(tmp_path_factory.mktemp("resume"), train=4 * STEPS + 1, val=4, test=4)


def checkpoints(folder, name, **when):
    return ModelCheckpoint(folder, filename=name, auto_insert_metric_name=False, save_top_k=-1, **when)


def run(folder, root, workers=0, callbacks=(), ckpt_path=None, batch_size=4, **settings):
    seen, record = Seen(), LossRecord()
    runner = trainer(folder, callbacks=[seen, record, *callbacks], **{"enable_checkpointing": True, **settings})
    data = HumanML3DDataModule(root, batch_size=batch_size, num_workers=workers)
    runner.fit(vae_module(), datamodule=data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return seen.ids, record.losses


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """Checkpoints after every step and at the end of every epoch, and the run that wrote them."""
    folder = tmp_path_factory.mktemp("whole")
    keep, ends = checkpoints(folder, "step{step}", every_n_train_steps=1), checkpoints(folder, "end{epoch}")
    return folder, *run(folder, root, callbacks=[keep, ends], max_epochs=3)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("name", "done"), [("step4", 4), ("step6", 6), ("step8", 8), ("end0", 6), ("end1", 12)])
def test_resuming_is_exact(tmp_path, root, whole, workers, name, done):
    folder, ids, losses = whole
    assert len(losses) == 3 * STEPS
    found = run(tmp_path, root, workers, ckpt_path=folder / f"{name}.ckpt", max_epochs=3)
    assert found[0] == ids[done:]
    assert found[1] == losses[done:]


def test_a_resumed_run_can_be_resumed(tmp_path, root, whole):
    folder, ids, losses = whole
    stop = StopAfter(5, tmp_path / "step5.ckpt")
    run(tmp_path, root, callbacks=[stop], ckpt_path=folder / "step2.ckpt", max_epochs=3)
    found = run(tmp_path, root, workers=2, ckpt_path=tmp_path / "step5.ckpt", max_epochs=3)
    assert found == (ids[5:], losses[5:])


def test_validation_within_the_epoch_changes_nothing(tmp_path, root, whole):
    """Lightning resumes from a checkpoint of a validation within an epoch on another path."""
    _, ids, losses = whole
    keep = checkpoints(tmp_path, "step{step}", save_on_train_epoch_end=False)
    settings = {"val_check_interval": 2, "limit_val_batches": 1, "max_epochs": 3}
    assert run(tmp_path, root, callbacks=[keep], **settings) == (ids, losses)
    assert run(tmp_path, root, ckpt_path=tmp_path / "step4.ckpt", **settings) == (ids[4:], losses[4:])


def test_another_batch_size_is_refused_within_an_epoch(tmp_path, root, whole):
    folder, *_ = whole
    with pytest.raises(ConfigError, match=r"is 3, but the checkpoint is from within an epoch of batches of 4: [^\n]*$"):
        run(tmp_path, root, batch_size=3, ckpt_path=folder / "step4.ckpt", max_epochs=3)


def test_limited_and_overfitted_epochs(tmp_path, root):
    ids, _ = run(tmp_path, root, max_epochs=2, limit_train_batches=2)
    assert len(ids) == 4
    keep = checkpoints(tmp_path, "step{step}", every_n_train_steps=1)
    run(tmp_path, root, callbacks=[keep], max_epochs=2, limit_train_batches=2)
    for step in (1, 2, 3):
        found, _ = run(tmp_path, root, ckpt_path=tmp_path / f"step{step}.ckpt", max_epochs=2, limit_train_batches=2)
        assert found == ids[step:]
    overfitted, _ = run(tmp_path, root, max_epochs=2, overfit_batches=2)
    assert overfitted[:2] == overfitted[2:]
