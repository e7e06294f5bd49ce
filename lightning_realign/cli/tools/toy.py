"""The toy example of the paper: a study of the repository, which no installed package holds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from lightning_realign.errors import ConfigError
from lightning_realign.files.shipped_configs import clone_folder

SUMMARY = "Run the toy example of the paper: every way of guiding in the plane, where the exact answer is known."


def run_toy(words: Sequence[str]) -> int:
    """Run `python -m experiments.plane toy` of the clone with further options.

    Returns:
        Its exit code.

    Raises:
        ConfigError: the package is not used from a clone.
    """
    clone = clone_folder()
    if clone is None or not (clone / "experiments" / "plane" / "__main__.py").is_file():
        raise ConfigError(
            "toy: the toy example is a study of the repository (experiments/plane), which an installed package does "
            "not hold; clone the repository and run `realign toy` there"
        )
    path = os.pathsep.join([str(clone), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "experiments.plane", "toy", *words]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
