"""Every configuration of a retrieval system, by its launch line; the trainings it names; one and two processes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lightning_realign.checkpoints.folder import checkpoint_sha256
from lightning_realign.data import HumanML3DDataModule, KITMLDataModule
from tests.cli.test_ddp_cli import TWO, launch
from tests.evaluation.retrieval.conftest import write_evaluator
from tests.helpers.cli_bench import ROOT, TINY_REWARD, launch_lines, one_error_line, realign
from tests.helpers.published_rewards import SMALL, hollow, spm_state, write_tmr

CONFIGS = sorted((ROOT / "configs" / "retrieval").glob("*.yaml"))
WHOLE = "--trainer.limit_test_batches=1.0"
TRAININGS = {"realign": "reward/{}", "tmr": "reward/tmr_{}", "temos": "reward/temos_{}", "t2m": "evaluator/guo_{}"}


def parts(path):
    return path.stem.split("_", 1)


def is_published(path):
    return "_published_" in path.stem


def receipt(folder):
    (path,) = Path(folder).rglob("retrieval-test.json")
    return json.loads(path.read_text())


def export(bench, skeleton):
    kind = KITMLDataModule if skeleton == "kit" else HumanML3DDataModule
    ids = kind(bench.data[skeleton]).ids("test")
    random = np.random.default_rng(0)
    np.savez("lamp.npz", ids=np.array(ids), text=random.normal(size=(8, 4)), motion=random.normal(size=(8, 4)))
    return "lamp.npz"


def name_of_row(system):
    return {"realign": "ReAlign", "lamp": "LaMP"}.get(system, system.upper())


@pytest.mark.parametrize("path", [path for path in CONFIGS if not is_published(path)], ids=lambda path: path.stem)
def test_a_system_is_tested_by_its_one_command(path, cli_bench, checkout):
    system, data = parts(path)
    skeleton = "kit" if data == "kit" else "humanml3d"
    source = {
        "lamp": lambda: export(cli_bench, skeleton),
        "t2m": lambda: write_evaluator(checkout / "guo.ckpt", cli_bench.data[skeleton], skeleton),
    }.get(system, lambda: cli_bench.reward[skeleton])()
    (line,) = launch_lines(path)
    assert line == ["test", "--config", f"configs/retrieval/{path.name}"]
    run = realign(*line, *cli_bench.options(line[2], "test"), WHOLE, f"--model.init_args.path={source}")
    record = receipt(yaml.safe_load(path.read_text())["trainer"]["default_root_dir"])
    assert record["settings"]["path"] == str(source)
    assert list(record["systems"]) == [name_of_row(system)]
    assert 0 <= run.trainer.callback_metrics["test/normal/t2m_R@10"] <= 100


@pytest.mark.parametrize("path", [path for path in CONFIGS if is_published(path)], ids=lambda path: path.stem)
def test_published_weights_are_tested_from_where_the_configuration_has_them(path, cli_bench, checkout):
    settings = yaml.safe_load(path.read_text())["model"]["init_args"]
    system, skeleton = parts(path)[0], "kit" if path.stem.endswith("kit") else "humanml3d"
    options = []
    if system == "tmr":
        assert write_tmr(checkout, SMALL).relative_to(checkout) == Path(settings["path"])
    else:
        source = Path(settings["path"])
        source.parent.mkdir(parents=True)
        torch.save({"state_dict": hollow(spm_state(251 if skeleton == "kit" else 263))}, source)
        options = [f"--model.init_args.statistics={cli_bench.data[skeleton]}"]
    (line,) = launch_lines(path)
    run = realign(*line, *cli_bench.options(line[2], "test"), WHOLE, *options)
    record = receipt(yaml.safe_load(path.read_text())["trainer"]["default_root_dir"])
    assert list(record["systems"]) == [name_of_row(system)]
    assert record["settings"]["metric"] == "cosine"
    found = record["settings"]["provenance"]["files"]["system"]
    assert found == {"path": settings["path"], "sha256": checkpoint_sha256(Path(settings["path"]))}
    assert 0 <= run.trainer.callback_metrics["test/normal/t2m_R@10"] <= 100


TRAINED = [path for path in CONFIGS if parts(path)[0] in TRAININGS and not is_published(path)]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_a_system_reads_the_checkpoint_that_its_training_writes(path):
    system, data = parts(path)
    training = ROOT / "configs" / f"{TRAININGS[system].format(data)}.yaml"
    content, own = yaml.safe_load(training.read_text()), yaml.safe_load(path.read_text())
    assert own["model"]["init_args"]["path"] == f"{content['trainer']['default_root_dir']}/best.ckpt"
    assert own["data"] == content["data"]


@pytest.mark.parametrize(
    ("training", "retrieval"),
    [("reward/temos_mocap", "retrieval/temos_mocap"), ("evaluator/guo_synthetic", "retrieval/t2m_synthetic")],
)
def test_a_training_is_followed_by_the_test_of_its_system(training, retrieval, cli_bench, checkout):
    training, retrieval = (f"configs/{name}.yaml" for name in (training, retrieval))
    tiny = TINY_REWARD if "reward" in training else ()
    fit = realign("fit", "--config", training, *cli_bench.options(training, "fit"), *tiny)
    if "temos" in training:
        assert "train/contrastive" not in fit.trainer.callback_metrics
        assert {"train/kl", "train/latent", "train/reconstruction"} <= set(fit.trainer.callback_metrics)
    realign("test", "--config", retrieval, *cli_bench.options(retrieval, "test"), WHOLE)
    assert len(receipt("runs/retrieval")["settings"]["provenance"]["files"]["system"]["sha256"]) == 64


def test_two_processes_find_what_one_finds(cli_bench, checkout):
    config = "configs/retrieval/tmr_mocap.yaml"
    options = [
        *("test", "--config", config, *cli_bench.options(config, "test")),
        f"--model.init_args.path={cli_bench.reward['humanml3d']}",
        "--data.init_args.batch_size=3",
        WHOLE,
    ]
    run = realign(*options, "--trainer.default_root_dir=one")
    assert run.model.system == "TMR"
    launch(["train.py", *options, "--trainer.default_root_dir=two", *TWO])
    rows = [receipt(folder)["systems"]["TMR"] for folder in ("one", "two")]
    assert len(rows[0]) == 2 * 12
    for name, value in rows[0].items():
        assert rows[1][name]["mean"] == pytest.approx(value["mean"], abs=1e-4)


def test_a_missing_checkpoint_is_one_line(cli_bench, checkout, capsys):
    config = "configs/retrieval/realign_synthetic.yaml"
    with pytest.raises(SystemExit):
        realign("test", "--config", config, *cli_bench.options(config, "test"), WHOLE)
    assert "runs/reward/synthetic/best.ckpt" in one_error_line(capsys)
