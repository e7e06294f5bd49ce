"""What a run prints: its progress without a terminal, its own table, and none of the framework's notes."""

import re
import subprocess
import sys

import pytest

from lightning_realign.cli import progress as lines
from tests.helpers.cli_bench import ROOT, realign

FIT = "configs/demo/vae.yaml"


def with_progress(options):
    return [option for option in options if "enable_progress_bar" not in option]


def test_lines_say_how_far_and_how_long(cli_bench, checkout, monkeypatch, capsys):
    monkeypatch.setattr(lines, "SECONDS_BETWEEN_LINES", 0.0)
    options = with_progress(cli_bench.options(FIT, "fit"))
    realign("fit", "--config", FIT, *options, "--trainer.max_epochs=3")
    said = re.findall(r"^epoch (\d) of 3: (\d+)%, about \d+ s left$", capsys.readouterr().err, re.MULTILINE)
    assert [int(epoch) for epoch, _ in said] == [1, 2, 3]
    assert [int(percent) for _, percent in said] == [33, 66, 99]


def test_a_run_prints_one_table_and_every_figure_is_in_its_files(cli_bench, checkout, monkeypatch, capfd, caplog):
    monkeypatch.setattr(lines, "SECONDS_BETWEEN_LINES", 0.0)
    config = "configs/guided/synthetic.yaml"
    with caplog.at_level("INFO"):
        run = realign("test", "--config", config, *with_progress(cli_bench.options(config, "test")))
    captured = capfd.readouterr()
    assert "test: 99%" in captured.err
    assert "Test metric" not in captured.out and "oracle_accuracy" not in captured.out
    assert "test/guided/oracle_accuracy" in run.trainer.callback_metrics
    table = next(record.getMessage() for record in caplog.records if "oracle %" in record.getMessage())
    assert re.findall(r"^(\w+) ", table, re.MULTILINE) == ["real", "reconstruction", "unguided", "guided"]
    assert any("test split, 2 texts" in record.getMessage() for record in caplog.records)


@pytest.mark.slow
def test_the_framework_is_silent(cli_bench, checkout):
    options = with_progress(cli_bench.options(FIT, "fit"))
    command = [sys.executable, str(ROOT / "train.py"), "fit", "--config", FIT, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    for word in ("Tip", "available:", "deprecated", "workers", "eval mode", "Seed set"):
        assert word not in done.stdout + done.stderr, done.stdout + done.stderr
