"""Tables of the ablations, each paired with the main run's systems on the same noise, and of the weaker bases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.mocap.report.analysis import first_replications
from experiments.mocap.report.main_sheets import VERDICTS, replications_of
from experiments.mocap.report.sheets import Cell, Sheet
from lightning_realign.errors import DataError
from lightning_realign.evaluation.paired import Difference, Side, differences
from lightning_realign.evaluation.record import Record
from lightning_realign.report.receipts import Receipt

# Bases that are weaker on purpose: they show where guidance pays.
WEAKER = re.compile(r"cfg1|early|steps_\d+")
_OWN_SYSTEMS = ("guided", "unguided", "samples")
_JUDGED = ("R@1", "R@1_caption", "R@1_label", "MM-Dist", "FID")
_OTHERS = (*VERDICTS, "reward", "foot_skating", "jerk")
_COSTS = ("seconds", "denoiser_calls")


@dataclass(frozen=True)
class Ablation:
    """A test run of its own. name: of the system. record, receipt: of the run."""

    name: str
    record: Record
    receipt: Receipt

    @property
    def system(self) -> str:
        """The system that the run is about.

        Raises:
            DataError: it has none but real motions.
        """
        found = next((system for system in _OWN_SYSTEMS if system in self.receipt.systems), None)
        if found is None:
            known = ", ".join(self.receipt.systems)
            raise DataError(f"{self.name}: the receipt has systems {known}; none is generated")
        return found


def against_main(main: Record, system: str, ablation: Ablation, fid: bool = True) -> dict[str, Difference]:
    """The paired differences of an ablation from a system of the main run, over as many replications as both have.

    Raises:
        DataError: the runs cannot be paired, or one lacks the system.
    """
    count = min(main.replications, ablation.record.replications)
    before, after = (first_replications(record, count) for record in (main, ablation.record))
    return differences(Side(before, system), Side(after, ablation.system), fid=fid)


def columns_of(judges: Sequence[str]) -> tuple[str, ...]:
    """The metrics that these tables show."""
    return (*(f"{judge}/{metric}" for judge in judges for metric in _JUDGED), *_OTHERS)


def ablation_sheets(
    name: str, title: str, main: Record, ablations: Sequence[Ablation]
) -> tuple[list[Sheet], dict[str, dict[str, Mapping[str, Difference]]], list[str]]:
    """Metrics of all ablations, and their differences from the main run's unguided and guided systems.

    Args:
        name: of the tables.
        title: of the generator.
        main: the main run's record.
        ablations: other runs on the same split.

    Returns:
        The tables; system of the main run -> ablation -> differences; a line for every pair that could not be made.
    """
    judges, problems = list(main.judges), list[str]()
    columns = _present(columns_of(judges), ablations)
    sheets = [metrics_sheet(name, title, judges, ablations)]
    changes: dict[str, dict[str, Mapping[str, Difference]]] = {}
    for system in ("unguided", "guided"):
        for ablation in ablations:
            try:
                # A hundred FIDs of each pair would take minutes; the main run's own difference has them.
                changes.setdefault(system, {})[ablation.name] = against_main(main, system, ablation, fid=False)
            except DataError as error:
                problems.append(f"{name}_{ablation.name} against {system}: {error}")
    note = "Over the replications that both have; bold where the 95% interval excludes 0."
    for system, found in changes.items():
        lines = tuple((other, *(metrics.get(name) for name in columns)) for other, metrics in found.items())
        heading = f"{title}: ablations minus {system}, pair by pair"
        sheets.append(Sheet(f"{name}_ablations_{system}", heading, ("ablation", *columns), lines, (note,)))
    return sheets, changes, problems


def metrics_sheet(name: str, title: str, judges: Sequence[str], ablations: Sequence[Ablation]) -> Sheet:
    """The metrics of all ablations, a line for each."""
    columns = (*_present(columns_of(judges), ablations), *_present(_COSTS, ablations))
    lines: list[tuple[Cell, ...]] = []
    for ablation in ablations:
        found = ablation.receipt.systems[ablation.system]
        values = (found.get(metric) for metric in columns)
        lines.append((ablation.name, ablation.system, replications_of(found), *values))
    headers = (
        "ablation",
        "system",
        "replications",
        *(cost.replace("_", " ") if cost in _COSTS else cost for cost in columns),
    )
    return Sheet(f"{name}_ablations", f"{title}: ablations", headers, tuple(lines))


def _present(metrics: Sequence[str], ablations: Sequence[Ablation]) -> tuple[str, ...]:
    known = {metric for ablation in ablations for metric in ablation.receipt.systems[ablation.system]}
    return tuple(metric for metric in metrics if metric in known)


def bases_sheet(name: str, title: str, main: Ablation, bases: Sequence[Ablation]) -> Sheet:
    """Unguided and guided side by side, for the main base and others, weaker ones above all."""
    columns = _present(columns_of(list(main.record.judges)), [main, *bases])
    lines: list[tuple[Cell, ...]] = []
    for base in (main, *bases):
        systems = base.receipt.systems
        for system in (system for system in ("unguided", "guided") if system in systems):
            found: Mapping[str, Cell] = systems[system]
            costs = [systems[system].get(cost) for cost in _COSTS]
            lines.append((base.name, system, base.record.replications, *(found.get(name) for name in columns), *costs))
        if "unguided" in systems and "guided" in systems:
            changes = differences(Side(base.record, "unguided"), Side(base.record, "guided"))
            lines.append((base.name, "change", None, *(changes.get(metric) for metric in columns), None, None))
    headers = ("base", "system", "replications", *columns, *(cost.replace("_", " ") for cost in _COSTS))
    note = "Change: guided minus unguided, pair by pair; bold where the 95% interval excludes 0."
    heading = f"{title}: unguided and guided on weaker and other bases"
    return Sheet(f"{name}_bases", heading, headers, tuple(lines), (note,))
