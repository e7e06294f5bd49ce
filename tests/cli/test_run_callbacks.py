"""Checkpoints and predictions are kept in the run's folder without a word in the configuration."""

from pathlib import Path

import pytest
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_realign.inference.writer import PredictionWriter
from tests.helpers.cli_bench import ROOT, realign

CONFIG = "configs/reward/synthetic.yaml"
MODEL_CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"


def test_no_configuration_repeats_what_is_the_default():
    for path in (ROOT / "configs").rglob("*.yaml"):
        text = path.read_text()
        assert MODEL_CHECKPOINT not in text and "PredictionWriter" not in text, path


@pytest.fixture
def fitted(cli_bench, checkout):
    """Fit a step with further options; the checkpoints of the trainer and the files of the run."""

    def run(*options):
        trainer = realign("fit", "--config", CONFIG, *cli_bench.options(CONFIG, "fit"), *options).trainer
        return trainer.checkpoint_callbacks, {str(path) for path in Path().rglob("*.ckpt")}

    return run


def test_best_and_last(fitted):
    callbacks, files = fitted()
    assert files == {"runs/reward/synthetic/best.ckpt", "runs/reward/synthetic/last.ckpt"}
    assert [(callback.filename, callback.monitor) for callback in callbacks] == [
        ("best", "val/t0/t2m_R@3"),
        ("last", None),
    ]


def test_the_sections_change_them(fitted):
    options = (
        "--trainer.default_root_dir=elsewhere",
        "--best_checkpoint.filename=first",
        "--last_checkpoint.dirpath=x",
    )
    assert fitted(*options)[1] == {"elsewhere/first.ckpt", "x/last.ckpt"}


def test_a_configured_checkpoint_of_the_same_name_replaces_the_default(fitted, checkout):
    """As configurations had them before there was a default."""
    settings = {"dirpath": "mine", "filename": "last", "enable_version_counter": False, "save_on_train_epoch_end": True}
    other = {"dirpath": "mine", "filename": "{epoch}", "monitor": "val/loss", "save_top_k": -1}
    callbacks = [{"class_path": MODEL_CHECKPOINT, "init_args": entry} for entry in (settings, other)]
    (checkout / "more.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks}}))
    kept, files = fitted("--config", "more.yaml")
    assert files == {"runs/reward/synthetic/best.ckpt", "mine/last.ckpt", "mine/epoch=0.ckpt"}
    assert len(kept) == 3


def test_without_checkpointing(fitted):
    assert fitted("--trainer.enable_checkpointing=false") == ([], set())


def test_predictions_go_below_the_runs_folder(cli_bench, checkout):
    config = "configs/guided/synthetic.yaml"
    options = [*cli_bench.options(config, "predict"), "--trainer.default_root_dir=one"]
    run = realign("predict", "--config", config, *options)
    assert len(list(Path("one/motions").glob("*.npz"))) == 2
    assert isinstance(run.trainer.checkpoint_callback, ModelCheckpoint)
    writer = {"class_path": "lightning_realign.inference.writer.PredictionWriter", "init_args": {"folder": "two"}}
    (checkout / "more.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [writer]}}))
    run = realign("predict", "--config", config, "--config", "more.yaml", *options, "--model.init_args.sampling.seed=1")
    assert [entry.folder for entry in run.trainer.callbacks if isinstance(entry, PredictionWriter)] == [Path("two")]
    assert len(list(Path("two").glob("*.npz"))) == 2
