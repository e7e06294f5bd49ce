"""Importing the package and asking for help stay light."""

import os
import subprocess
import sys

import pytest

from tests.helpers.cli_bench import ROOT

HEAVY = ("torch", "lightning", "transformers", "sentence_transformers", "diffusers", "matplotlib", "wandb", "scipy")
HELP = """
import runpy, sys
sys.argv = ["lightning_realign", {arguments}]
try:
    runpy.run_module("lightning_realign", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize(
    "code",
    ["import lightning_realign", HELP.format(arguments='"--help"'), HELP.format(arguments='"generate", "--help"')],
    ids=["import", "help", "help of a tool"],
)
def test_nothing_heavy_is_imported(code, tmp_path):
    report = f"\nimport sys\nprint('LOADED', *(name for name in {HEAVY} if name in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code + report], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]
    assert not any(tmp_path.iterdir())
