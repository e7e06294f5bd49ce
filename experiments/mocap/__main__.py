"""The study on motion capture, from joint positions and captions to tables.

    python -m experiments.mocap --source DIR                      # everything; what is done is not done again
    python -m experiments.mocap --source DIR --list               # all parts and their state
    python -m experiments.mocap --source DIR --list --dry-run     # with the exact command of each
    python -m experiments.mocap --source DIR --only test_mld      # a part and all that it needs

DIR holds joints/, texts/, train.txt, val.txt, test.txt, labels.csv and metadata.json (docs/real_data.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.mocap.plan.measurements import plan
from experiments.mocap.plan.study import CONFIGS, DEFAULT_OUT, Study
from experiments.mocap.plan.units import PlannedUnit
from lightning_realign.errors import ConfigError, RealignError


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.mocap", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", required=True, type=Path, help="folder of the joint positions and captions")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of everything that is made")
    parser.add_argument("--chosen", type=Path, default=CONFIGS / "chosen.yaml", help="what was chosen on validation")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these parts, and all that they need")
    parser.add_argument("--list", action="store_true", help="show all parts and their state, and run nothing")
    parser.add_argument("--dry-run", action="store_true", help="show the commands of what would run, and run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, of one thread each")
    return parser.parse_args(arguments)


def listing(units: Sequence[PlannedUnit], out: Path, commands: bool, finished: bool) -> list[str]:
    """A line per unit with its state, and one with its command.

    Args:
        units: in order.
        out: the study's folder.
        commands: whether to add the commands.
        finished: whether to list units that are done, too.
    """
    from experiments.mocap.workflow.engine import why_run

    why = why_run(units, out)
    lines = []
    for unit in units:
        if unit.name in why or finished:
            lines.append(f"{unit.name}: {why.get(unit.name, 'done')}")
            lines += [f"    {unit.line(out)}"] if commands else []
    return [*lines, f"{len(why)} of {len(units)} to run"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study.

    Returns:
        The exit code: 1 where a unit failed, 2 where the user has to correct something.
    """
    given = parse(arguments)
    try:
        return _run(given)
    except RealignError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130


def _run(given: argparse.Namespace) -> int:
    if not CONFIGS.is_dir() or not Path("train.py").is_file():
        raise ConfigError(f"{CONFIGS} or train.py is not here; run this in the repository's folder")
    try:
        from experiments.mocap.workflow.engine import in_order, run_units
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; run pip install -e '.[experiments]'") from None

    units = in_order(plan(given.source, given.out, given.chosen), given.only)
    if given.list or given.dry_run:
        print("\n".join(listing(units, given.out, given.dry_run, given.list)))
        return 0
    Study(given.source, given.out).write_own()
    failures = run_units(units, given.out, given.jobs, report=lambda line: print(line, flush=True))
    # Only here, since these import all that measures and plots.
    from experiments.mocap.measure.splits import unseen_ids
    from experiments.mocap.report.tables import write_tables

    data = given.out / "data"
    unseen = unseen_ids(data) if data.is_dir() else []
    write_tables(given.out, unseen=unseen, planned=[unit.name for unit in units])
    for failure in failures:
        print(f"{failure.unit}: {failure.reason}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
