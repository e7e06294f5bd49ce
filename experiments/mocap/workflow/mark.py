"""The mark of a finished unit: its command, what it cost, and from which code it came."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning_realign
from experiments.mocap.plan.units import PlannedUnit
from lightning_realign.files.hashing import file_sha256

# As in the receipts of test runs.
_PACKAGES = ("torch", "lightning", "torchmetrics", "diffusers", "transformers", "numpy")


def mark(unit: PlannedUnit, out: Path, seconds: float, cpu_seconds: float) -> dict[str, Any]:
    """The content of a finished unit's mark.

    Args:
        unit: the finished one.
        out: the study's folder.
        seconds: of the clock, over all attempts.
        cpu_seconds: of all its threads, over all attempts.
    """
    needs = {name: file_sha256(out / "units" / name / "unit.json") for name in unit.needs}
    return {
        "name": unit.name,
        "command": unit.line(out),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": _revision(),
        "hardware": _hardware(),
        "versions": _versions(),
        "inputs": {**needs, **{str(path): file_sha256(path) for path in unit.files}},
    }


@cache
def _revision() -> str:
    """The commit of the code, with `-dirty` where it has changes; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


@cache
def _hardware() -> str:
    models = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


@cache
def _versions() -> dict[str, str]:
    own = {"lightning_realign": lightning_realign.__version__, "python": platform.python_version()}
    return own | {package: version(package) for package in _PACKAGES}
