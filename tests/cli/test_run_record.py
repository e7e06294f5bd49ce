"""The record of a run, W&B's mode, and the guard of sweeps."""

import json
import logging
import os

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

from lightning_realign.cli.run_record import RunRecord, flatten
from lightning_realign.cli.sweep_guard import SweepGuard, live_values, requested_point, same_value
from lightning_realign.cli.wandb_mode import configure_wandb_mode
from lightning_realign.errors import ConfigError

CSV_LOGGER = {"class_path": "lightning.pytorch.loggers.CSVLogger"}


class ToyModule(L.LightningModule):
    """One weight; `overridden` stands for stored hyper-parameters that win over the command line."""

    def __init__(self, mu: float = 1.0, sizes: dict[str, int] | None = None, overridden: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.mu = 7.0 if overridden else mu
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch, batch_idx):
        return (self.weight * batch).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/mean", batch.mean())
        self.log("val/broken", torch.tensor(float("nan")))

    def test_step(self, batch, batch_idx):
        self.log("test/mean", batch.mean())

    def predict_step(self, batch, batch_idx):
        return batch

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ToyData(L.LightningDataModule):
    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.size = size

    def _loader(self):
        return torch.utils.data.DataLoader(torch.ones(self.size, 1))

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _loader


class ToyCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.add_lightning_class_args(SweepGuard, "sweep_guard")


def run_cli(folder, *args):
    return ToyCLI(
        ToyModule,
        ToyData,
        save_config_callback=RunRecord,
        save_config_kwargs={"save_to_log_dir": False},
        trainer_defaults={
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": CSV_LOGGER | {"init_args": {"save_dir": str(folder), "name": "logs", "version": 0}},
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
        },
        parser_kwargs={"parser_mode": "omegaconf"},
        args=[*args, f"--trainer.default_root_dir={folder}"],
    )


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for name in ("REALIGN_RUN_DIR", "REALIGN_SWEEP_POINT", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_config_and_metrics_are_written(stage, tmp_path):
    run_cli(tmp_path, stage, "--model.mu=2.5")
    logs = tmp_path / "logs" / "version_0"
    (saved,) = logs.glob(f"config-{stage}-*.yaml")
    config = yaml.safe_load(saved.read_text())
    assert config["model"]["mu"] == 2.5 and config["data"]["size"] == 4
    parameters = yaml.safe_load((logs / "hparams.yaml").read_text())
    assert parameters["model.mu"] == 2.5 and parameters["trainer.max_epochs"] == 1
    if stage == "predict":
        assert not (logs / "metrics.json").exists()
        return
    record = json.loads((logs / "metrics.json").read_text())
    assert record["stage"] == stage
    expected = {"test/mean": 1.0} if stage == "test" else {"val/mean": 1.0, "val/broken": None}
    assert record["metrics"] == expected
    assert not list(logs.glob(".*"))


def test_saved_config_runs_again_and_never_collides(tmp_path, monkeypatch):
    monkeypatch.setenv("REALIGN_RUN_DIR", str(tmp_path / "here"))
    run_cli(tmp_path, "validate", "--model.mu=2.5")
    (saved,) = (tmp_path / "here").glob("config-validate-*.yaml")
    cli = run_cli(tmp_path, "validate", f"--config={saved}")
    assert cli.model.mu == 2.5
    assert (tmp_path / "here" / "metrics.json").exists()


def test_failed_run_leaves_no_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(ToyModule, "validation_step", lambda self, batch, batch_idx: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_cli(tmp_path, "validate")
    assert not list(tmp_path.rglob("metrics.json"))


def test_flatten_keeps_every_leaf():
    nested = {"a": {"b": [1, {"c": None}]}, "d": [], "e": {"f": "x"}, "g": 1.5}
    assert flatten(nested) == {"a.b.0": 1, "a.b.1.c": None, "d": "[]", "e.f": "x", "g": 1.5}


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": "x"}, "", None),
        ({"WANDB_MODE": "disabled"}, "", "disabled"),
        ({}, "machine api.wandb.ai login user password key\n", None),
        ({}, "machine elsewhere.org login user password key\n", "offline"),
        ({"WANDB_BASE_URL": "https://own.host"}, "machine own.host login user password key\n", None),
        ({}, "not a netrc", "offline"),
    ],
)
def test_wandb_stays_offline_without_a_key(environment, netrc, mode, tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (tmp_path / "netrc").write_text(netrc)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    configure_wandb_mode()
    assert os.environ.get("WANDB_MODE") == mode


def test_wandb_runs_share_a_folder_offline(tmp_path, monkeypatch):
    """Lightning's own callback fails at the second W&B run in a folder; this one does not."""
    pytest.importorskip("wandb")
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    seen = []
    monkeypatch.setattr(WandbLogger, "log_hyperparams", lambda self, params: seen.append(params))
    for _ in range(2):
        run_cli(
            tmp_path,
            "validate",
            "--trainer.logger=lightning.pytorch.loggers.WandbLogger",
            f"--trainer.logger.save_dir={tmp_path}",
            "--trainer.logger.offline=true",
        )
    assert [params["model.mu"] for params in seen if "model.mu" in params] == [1.0, 1.0]
    assert (tmp_path / "metrics.json").exists()


def test_guard_lets_the_requested_point_run(tmp_path, monkeypatch):
    point = {"model.mu": 2.5, "data.size": 3, "trainer.max_epochs": 2, "model.sizes.width": 8, "seed_everything": 5}
    monkeypatch.setenv("REALIGN_SWEEP_POINT", json.dumps(point))
    run_cli(
        tmp_path,
        "validate",
        *(f"--{name}={value}" for name, value in point.items() if name != "model.sizes.width"),
        "--model.sizes={width: 8}",
    )


@pytest.mark.parametrize(
    ("point", "args", "message"),
    [
        ({"model.init_args.mu": 2.5}, ["--model.mu=2.0"], "has 2.0"),
        ({"model.init_args.mu": 2.5}, ["--model.mu=2.5", "--model.overridden=true"], "has 7.0"),
        ({"model.init_args.my": 2.5}, [], "no such value"),
        ({"data.init_args.size": 2}, [], "has 4"),
        ({"trainer.max_epochs": 3}, [], "has 1"),
        ({"seed_everything": 3}, ["--seed_everything=4"], "'4'"),
        ({"optimizer.lr": 3}, [], "no such value"),
    ],
)
def test_guard_stops_every_other_point(point, args, message, tmp_path, monkeypatch):
    monkeypatch.setenv("REALIGN_SWEEP_POINT", json.dumps(point))
    with pytest.raises(ConfigError, match=message) as caught:
        run_cli(tmp_path, "validate", *args)
    assert next(iter(point)) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("metrics.json"))


def test_guard_reads_the_agents_parameter_file(tmp_path, monkeypatch):
    config_util = pytest.importorskip("wandb.sdk.lib.config_util")
    path = tmp_path / "wandb" / "sweep-s" / "config-r.yaml"
    config_util.save_config_file_from_dict(str(path), {"model.init_args.mu": {"value": 1e-05}})
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    with pytest.raises(ConfigError, match="WANDB_SWEEP_PARAM_PATH"):
        requested_point()
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(path))
    assert requested_point() == {"model.init_args.mu": 1e-05}
    run_cli(tmp_path, "validate", "--model.mu=1e-05")
    with pytest.raises(ConfigError, match=r"model\.init_args\.mu"):
        run_cli(tmp_path, "validate")


@pytest.mark.parametrize(
    ("requested", "live", "same"),
    [
        (2, 2.0, True), ("1e-5", 1e-5, True), (1.0, 1.0 + 1e-12, False), (True, True, True), ("true", True, True),
        (1, True, False), ([1, 2], (1.0, 2.0), True), ([1], (1, 2), False), ("a", "a", True), (None, None, True),
        (None, 0, False),
    ],
)  # fmt: skip
def test_same_value(requested, live, same):
    assert same_value(requested, live) is same


def test_attribute_and_hyper_parameter_are_both_looked_at():
    module = ToyModule(mu=2.0, overridden=True)
    assert live_values(module, ["mu"]) == [7.0, 2.0]
