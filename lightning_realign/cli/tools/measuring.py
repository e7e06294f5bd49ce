"""The tools of `realign` that measure and compare. Each imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal


def sweep(file: Path, out: Path | None = None) -> None:
    """Run a W&B sweep file without a server; ends in a table and a picture.

    Args:
        file: A sweep file such as sweeps/mu_eta.yaml.
        out: Folder of the results; finished points found there are not run again.
    """
    from lightning_realign.sweep import run_sweep

    result = run_sweep(file, out, report=print)
    if result.exit_code:
        raise SystemExit(result.exit_code)


def report(receipts: list[Path], out: Path) -> None:
    """Print the paper's tables of generation and retrieval for several runs, beside published values that compare.

    Args:
        receipts: Files table-*.json or retrieval-*.json of validate and test runs, or the folders that hold them.
        out: Folder of report.md, report.tex, report.csv, generation.csv, retrieval.csv and report.png.
    """
    from lightning_realign.report.summary import write_report

    print(write_report(receipts, out), end="")


def rescore(record: Path, out: Path, pool: int = 32) -> None:
    """Compute the metrics of a test run again from its record, without generating anything.

    Args:
        record: A samples-*.safetensors, or the folder that holds one.
        out: The receipt (.json) to write.
        pool: Size of the pools of R-Precision.
    """
    from lightning_realign.cli.tools.records import rescore as run

    print(run(record, out, pool), end="")


def difference(
    record: Path,
    other: Path | None = None,
    system: str = "guided",
    against: str = "unguided",
    resamples: int = 2000,
    unit: Literal["sample", "caption"] = "sample",
) -> None:
    """Compare two systems of one test run, or of two, sample by sample with bootstrap intervals.

    Args:
        record: A samples-*.safetensors, or the folder that holds one.
        other: The record of the other run, from which `system` is then taken.
        system: The system of interest.
        against: The system to compare it with.
        resamples: Resamples of the bootstrap.
        unit: What is drawn: samples, or captions with all their samples.
    """
    from lightning_realign.cli.tools.records import compare_systems

    print(compare_systems(record, other, system, against, resamples, unit), end="")


TOOLS: Mapping[str, tuple[Callable[..., Any], str | None]] = {
    "sweep": (sweep, "file"),
    "report": (report, "receipts"),
    "rescore": (rescore, "record"),
    "difference": (difference, "record"),
}
"""Name on the command line -> the tool, and the argument that needs no name."""
