"""A new setting is one edit in one file: it shows up in help, on the command lines, in Python and in what is saved."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.helpers.cli_bench import ROOT

SCRIPT = """
import contextlib, inspect, io, json, sys
from pathlib import Path

import lightning_realign
from lightning_realign.cli.main import build_parser, main

assert Path(lightning_realign.__file__).is_relative_to(Path.cwd())
told = {}


def printed(*words):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main(list(words))
    return text.getvalue()


module = "--model.help=lightning_realign.inference.GuidedGeneration"
told["help of the module"] = printed("predict", module, "--model.guidance.help")
told["help of generate"] = printed("generate", "--help")
nested = "--model.init_args.guidance.knob=0.75"
told["saved configuration"] = printed("predict", "--config", "configs/guided/synthetic.yaml", nested, "--print_config")
module = lightning_realign.GuidedGeneration(
    lightning_realign.GeneratorSource("generator.ckpt"), guidance=lightning_realign.GuidanceConfig(knob=0.75)
)
told["saved hyper-parameters"] = json.dumps(module.hparams["guidance"])
words = ["generate", "a person walks", "--generator.path", "g.ckpt", "--out", "o", "--guidance.knob", "0.75"]
told["parsed by generate"] = str(build_parser().parse_args(words).generate.guidance)
print(json.dumps(told))
"""


def test_a_new_setting_is_one_edit(tmp_path):
    for name in ("lightning_realign", "configs", "sweeps"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "lightning_realign" / "settings" / "guidance.py"
    text = file.read_text()
    for old, new in (
        ("        physical: weights of", "        knob: a setting of a test.\n        physical: weights of"),
        ("    physical: dict[str, float] | None", "    knob: float = 0.5\n    physical: dict[str, float] | None"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    file.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    import json

    told = json.loads(done.stdout.splitlines()[-1])
    for place in ("help of the module", "help of generate"):
        assert "guidance.knob" in told[place] and "a setting of a test" in told[place].lower(), place
    for place in ("saved configuration", "saved hyper-parameters", "parsed by generate"):
        assert "knob" in told[place] and "0.75" in told[place], place
