"""Guidance in the plane, where the right answer is known (docs/toy.md).

python -m experiments.plane toy    # every way of guiding, in a table and two figures: two minutes
python -m experiments.plane law    # how near each comes to the guided law, over 50 seeds: half an hour
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.plane import run
from lightning_realign.errors import RealignError


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.plane",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    studies = parser.add_subparsers(dest="study", required=True)
    toy = studies.add_parser("toy", help="every way of guiding, in a table and two figures")
    toy.add_argument("--out", type=Path, default=Path("runs/plane"), help="folder of the tables and figures")
    toy.add_argument("--points", type=int, default=6000, help="points of every cloud")
    toy.add_argument("--steps", type=int, default=200, help="sampling steps of the table")
    toy.add_argument("--seed", type=int, default=1234, help="the same seed gives the same values")
    law = studies.add_parser("law", help="how near each way of guiding comes to the guided law, over many seeds")
    law.add_argument(
        "--out",
        type=Path,
        default=Path("runs/plane/law.json"),
        help="the receipt to write, and beside it the table (.md); an unfinished one is continued",
    )
    law.add_argument("--points", type=int, default=10_000, help="points of a cloud; clouds of particles have a fifth")
    law.add_argument("--seeds", type=int, default=50, help="clouds for each way of guiding")
    law.add_argument("--schedule", choices=("cosine", "linear"), default="cosine", help="the noise schedule")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the two studies.

    Returns:
        The exit code: 2 where the user has to correct something.
    """
    given = parse(arguments)
    try:
        if given.study == "toy":
            print(run(given.out, given.points, given.steps, given.seed), end="")
        else:
            from experiments.plane.law import default_plan, run_law

            plan = default_plan(given.points, given.seeds, given.schedule)
            print(run_law(given.out, plan, report=print), end="")
    except RealignError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
