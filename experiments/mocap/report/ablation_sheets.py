"""Tables of the ablations, each paired with the main run's rows on the same noise, and of the weaker bases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.mocap.report.analysis import first_replications
from experiments.mocap.report.finished import Receipt
from experiments.mocap.report.main_sheets import VERDICTS
from experiments.mocap.report.sheets import Cell, Sheet
from lightning_realign.errors import DataError
from lightning_realign.evaluation.paired import Difference, Side, differences
from lightning_realign.evaluation.record import Record

# Bases that are weaker on purpose: they show where guidance pays.
WEAKER = re.compile(r"cfg1|early|steps_\d+")
_OWN_ROWS = ("guided", "unguided", "samples")
_JUDGED = ("R@1", "R@1_caption", "R@1_label", "MM-Dist", "FID")
_OTHERS = (*VERDICTS, "reward", "foot_skating", "jerk")
_COSTS = ("seconds", "denoiser_calls")


@dataclass(frozen=True)
class Ablation:
    """A test run of its own. name: of the row. record, receipt: of the run."""

    name: str
    record: Record
    receipt: Receipt

    @property
    def row(self) -> str:
        """The row that the run is about.

        Raises:
            DataError: it has none but real motions.
        """
        found = next((row for row in _OWN_ROWS if row in self.record.figures), None)
        if found is None:
            raise DataError(f"{self.name}: the record has rows {', '.join(self.record.figures)}; none is generated")
        return found


def against_main(main: Record, row: str, ablation: Ablation, fid: bool = True) -> dict[str, Difference]:
    """The paired differences of an ablation from a row of the main run, over as many replications as both have.

    Raises:
        DataError: the runs cannot be paired, or one lacks the row.
    """
    count = min(main.replications, ablation.record.replications)
    before, after = (first_replications(record, count) for record in (main, ablation.record))
    return differences(Side(before, row), Side(after, ablation.row), fid=fid)


def columns_of(judges: Sequence[str]) -> tuple[str, ...]:
    """The figures that these tables show."""
    return (*(f"{judge}/{figure}" for judge in judges for figure in _JUDGED), *_OTHERS)


def ablation_sheets(
    name: str, title: str, main: Record, ablations: Sequence[Ablation]
) -> tuple[list[Sheet], dict[str, dict[str, Mapping[str, Difference]]], list[str]]:
    """Figures of all ablations, and their differences from the main run's unguided and guided rows.

    Args:
        name: of the tables.
        title: of the generator.
        main: the main run's record.
        ablations: other runs on the same split.

    Returns:
        The tables; row of the main run -> ablation -> differences; a line for every pair that could not be made.
    """
    judges, problems = list(main.judges), list[str]()
    columns = _present(columns_of(judges), ablations)
    costs = _present(_COSTS, ablations)
    values = [
        (
            ablation.name,
            ablation.row,
            ablation.record.replications,
            *(ablation.receipt.rows[ablation.row].get(figure) for figure in (*columns, *costs)),
        )
        for ablation in ablations
    ]
    headers = ("ablation", "row", "replications", *columns, *(cost.replace("_", " ") for cost in costs))
    sheets = [Sheet(f"{name}_ablations", f"{title}: ablations", headers, tuple(values))]
    changes: dict[str, dict[str, Mapping[str, Difference]]] = {}
    for row in ("unguided", "guided"):
        for ablation in ablations:
            try:
                # A hundred FIDs of each pair would take minutes; the main run's own difference has them.
                changes.setdefault(row, {})[ablation.name] = against_main(main, row, ablation, fid=False)
            except DataError as error:
                problems.append(f"{name}_{ablation.name} against {row}: {error}")
    note = "Over the replications that both have; bold where the 95% interval excludes 0."
    for row, found in changes.items():
        lines = tuple((other, *(figures.get(name) for name in columns)) for other, figures in found.items())
        heading = f"{title}: ablations minus {row}, pair by pair"
        sheets.append(Sheet(f"{name}_ablations_{row}", heading, ("ablation", *columns), lines, (note,)))
    return sheets, changes, problems


def _present(figures: Sequence[str], ablations: Sequence[Ablation]) -> tuple[str, ...]:
    known = {figure for ablation in ablations for figure in ablation.receipt.rows[ablation.row]}
    return tuple(figure for figure in figures if figure in known)


def bases_sheet(name: str, title: str, main: Ablation, bases: Sequence[Ablation]) -> Sheet:
    """Unguided and guided side by side, for the main base and others, weaker ones above all."""
    columns = _present(columns_of(list(main.record.judges)), [main, *bases])
    lines: list[tuple[Cell, ...]] = []
    for base in (main, *bases):
        rows = base.receipt.rows
        for row in (row for row in ("unguided", "guided") if row in rows):
            found: Mapping[str, Cell] = rows[row]
            costs = [rows[row].get(cost) for cost in _COSTS]
            lines.append((base.name, row, base.record.replications, *(found.get(name) for name in columns), *costs))
        if "unguided" in rows and "guided" in rows:
            changes = differences(Side(base.record, "unguided"), Side(base.record, "guided"))
            lines.append((base.name, "change", None, *(changes.get(figure) for figure in columns), None, None))
    headers = ("base", "row", "replications", *columns, *(cost.replace("_", " ") for cost in _COSTS))
    note = "Change: guided minus unguided, pair by pair; bold where the 95% interval excludes 0."
    heading = f"{title}: unguided and guided on weaker and other bases"
    return Sheet(f"{name}_bases", heading, headers, tuple(lines), (note,))
