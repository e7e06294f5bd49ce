"""`python -m experiments.mocap.report.tables --out OUT --into DIR`: from the finished units to tables and pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from experiments.mocap.measure.splits import unseen_ids
from experiments.mocap.report import pictures
from experiments.mocap.report.ablation_sheets import WEAKER, Ablation, ablation_sheets, bases_sheet
from experiments.mocap.report.analysis import Matches, Training, match, read_training
from experiments.mocap.report.finished import Metrics, Unit, finished_units, latest, receipt_of, record_of
from experiments.mocap.report.main_sheets import (
    VERDICTS,
    Study,
    criteria_sheet,
    difference_sheet,
    judge_sheet,
    motion_sheet,
    paired,
    study_systems,
    subset_sheet,
)
from experiments.mocap.report.retrieval_levels import read_levels, retrieval_sheets
from experiments.mocap.report.sheets import Sheet, write_sheets
from experiments.mocap.report.slim_receipts import write_receipts
from experiments.mocap.report.sweep_points import GENERATORS, Point, lines, points_of, read_points, slices, sweep_sheet
from lightning_realign.errors import DataError, RealignError
from lightning_realign.evaluation.judge_metrics import REAL
from lightning_realign.evaluation.record import Record
from lightning_realign.report.chart import plot_receipts
from lightning_realign.report.receipts import Receipt, read_receipts

PAIRS = "pairs"
TITLES = {
    "mld": "MLD-like",
    "mdm": "MDM-like",
    PAIRS: "MLD-like, (content, style) pairs held out",
    "synthetic": "MLD-like, synthetic set",
}
EXPECTED = (
    *(f"test_{name}" for name in TITLES),
    *(f"retrieval_{kind}_s{n}" for kind in ("step", "tmr") for n in "123"),
)
CHANGES = ("guo/R@1", "guo/R@1_caption", "tmr/R@1_caption", "guo/FID", "tmr/FID", *VERDICTS, "foot_skating")
_NEAREST = "nearest"


def write_tables(
    out: Path,
    into: Path | None = None,
    unseen: Sequence[str] = (),
    planned: Sequence[str] = EXPECTED,
    receipts: Path | None = None,
) -> None:
    """Write tables and pictures of all units that are finished; what is missing is left out, and named.

    Args:
        out: the study's folder.
        into: folder of `tables.md`, a CSV per table, and the pictures; None for `tables` in the study's folder.
        unseen: ids of the test motions whose captions do not occur in training.
        planned: names of units whose absence is noted.
        receipts: folder of slim receipts; None leaves them out.

    Raises:
        DataError: there are no units, or one left what cannot be read.
    """
    into = out / "tables" if into is None else into
    into.mkdir(parents=True, exist_ok=True)
    # Beside running units, threads of small matrices wait for each other: minutes for half a minute's work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _Writer(out, into, unseen, planned).write(receipts)
    finally:
        torch.set_num_threads(threads)


@cache
def _training(root: Path, max_length: int, min_length: int | None) -> Training:
    return read_training(root, max_length, min_length)


class _Writer:
    """Collects the tables, and plots the pictures as it goes."""

    def __init__(self, out: Path, into: Path, unseen: Sequence[str], planned: Sequence[str]) -> None:
        self.out, self.into, self.unseen, self.planned = out, into, unseen, planned
        self.units = finished_units(out)
        self.sheets: list[Sheet] = []
        self.problems: list[str] = []
        self.extra: dict[str, Mapping[str, Metrics]] = {}
        self.chosen: dict[str, Point] = {}

    def write(self, receipts: Path | None) -> None:
        """Everything."""
        for name, title in TITLES.items():
            self._generator(name, title)
        self._charts()
        self._sweeps()
        self._retrieval()
        self.sheets.append(compute_sheet(self.units))
        write_sheets(self.sheets, self.into, "The study on motion capture: all tables", self._notes())
        if receipts is not None:
            write_receipts(self.units, self.out, receipts, self.extra)

    def _notes(self) -> list[str]:
        missing = [name for name in self.planned if name not in self.units]
        notes = [f"Not measured, and so left out: {', '.join(missing)}."] if missing else []
        return notes + [f"Left out: {problem}" for problem in self.problems]

    def _generator(self, name: str, title: str) -> None:
        """The tables of a test run and of the ablations beside it."""
        study = self._study(name, title)
        if study is None:
            return
        record, receipt = study.record, study.receipt
        systems = study_systems(study)
        self.extra[f"test_{name}"] = {system: found for system, found in systems.items() if system != _NEAREST}
        self.sheets += [judge_sheet(study, systems, judge) for judge in record.judges]
        self.sheets.append(motion_sheet(study, systems))
        pairs = [pair for pair in (("unguided", "guided"), (REAL, "guided")) if set(pair) <= set(record.metrics)]
        for before, after in pairs:
            found = paired(record, before, after)
            if before != REAL:
                criteria = criteria_sheet(study, systems, found)
                self.sheets += [] if criteria is None else [criteria]
            self.sheets.append(difference_sheet(study, found, before, after))
        seen = subset_sheet(study, self.unseen) if self.unseen and name in GENERATORS else None
        self.sheets += [] if seen is None else [seen]
        guided = [point for point in points_of(name, receipt) if point.guided]
        if guided:
            self.chosen[name] = guided[0]
        self._ablations(name, title, record, receipt)

    def _study(self, name: str, title: str) -> Study | None:
        unit = self.units.get(f"test_{name}")
        record, receipt = (None, None) if unit is None else (record_of(unit), receipt_of(unit))
        if record is None or receipt is None:
            return None
        nearest = self.units.get(f"test_{name}_{_NEAREST}")
        found = None if nearest is None else receipt_of(nearest)
        generated = [] if found is None else [name for name in found.systems if name not in (REAL, "reconstruction")]
        metrics = found.systems[generated[0]] if found is not None and generated else None
        return Study(name, title, record, receipt, self._matches(name, record), metrics)

    def _matches(self, name: str, record: Record) -> Matches | None:
        data = record.settings.get("provenance", {}).get("data", {})
        root = Path(data.get("root", ""))
        if not data.get("root") or not root.is_dir():
            self.problems.append(
                f"matched floor of {name}: its data set ({data.get('root') or 'not named'}) is not there."
            )
            return None
        try:
            return match(record, _training(root, data["max_length"], data["min_length"]))
        except DataError as error:
            self.problems.append(f"matched floor of {name}: {error}.")
            return None

    def _ablations(self, name: str, title: str, main: Record, receipt: Receipt) -> None:
        found = self._others(name)
        bases = [base for base in found if {"unguided", "guided"} <= set(base.record.metrics)]
        ablations = [other for other in found if not WEAKER.fullmatch(other.name)]
        if ablations:
            sheets, changes, problems = ablation_sheets(name, title, main, ablations)
            self.sheets += sheets
            self.problems += problems
            for system, made in changes.items():
                path = self.into / f"{name}_ablations_{system}.png"
                pictures.plot_changes(path, f"{title}: change from {system}, 95% intervals", made, CHANGES)
        if bases:
            self.sheets.append(bases_sheet(name, title, Ablation("main", main, receipt), bases))

    def _others(self, name: str) -> list[Ablation]:
        """All other test runs of a generator."""
        prefix, found = f"test_{name}_", []
        for unit in (unit for key, unit in self.units.items() if key.startswith(prefix)):
            record, receipt = record_of(unit), receipt_of(unit)
            if record is not None and receipt is not None:
                found.append(Ablation(unit.name.removeprefix(prefix), record, receipt))
        return found

    def _charts(self) -> None:
        found: dict[str, Path] = {}
        for name in GENERATORS:
            unit = self.units.get(f"test_{name}")
            path = None if unit is None else latest(unit.folder, "table-test.json")
            if path is not None:
                found[TITLES[name]] = path
        if found:
            named = zip(found, read_receipts(list(found.values())), strict=True)
            plot_receipts(self.into / "main.png", [replace(receipt, run=title) for title, receipt in named])

    def _sweeps(self) -> None:
        points = read_points(self.out)
        for generator in GENERATORS:
            own, chosen = [point for point in points if point.generator == generator], self.chosen.get(generator)
            if not own:
                continue
            self.sheets.append(sweep_sheet(generator, own, chosen))
            for axes in (("mu", "eta"), ("mu", "omega")):
                for number, plane in enumerate(slices(own, axes), start=1):
                    pictures.plot_heat_maps(self.into / f"{generator}_{'_'.join(axes)}_{number}.png", plane, chosen)
            curves = lines(own)
            if curves:
                pictures.plot_hacking(self.into / f"{generator}_hacking.png", generator, curves, chosen)

    def _retrieval(self) -> None:
        levels = read_levels(self.units)
        if levels:
            self.sheets += retrieval_sheets(levels)
            pictures.plot_retrieval(self.into / "retrieval.png", levels)


def compute_sheet(units: Mapping[str, Unit]) -> Sheet:
    """What every unit cost, and the sum."""
    rows = [
        (unit.name, round(unit.seconds), round(unit.cpu_seconds), unit.hardware, str(unit.details.get("finished", "")))
        for unit in units.values()
    ]
    seconds, cpu = sum(row[1] for row in rows), sum(row[2] for row in rows)
    total = (f"all {len(rows)}: {seconds / 3600:.1f} h, {cpu / 3600:.1f} CPU h", seconds, cpu, None, None)
    headers = ("run", "seconds", "CPU seconds", "hardware", "finished")
    return Sheet("compute", "Compute", headers, (*rows, total))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m experiments.mocap.report.tables", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/mocap"), help="the study's folder")
    parser.add_argument("--into", type=Path, help="folder of tables and pictures; by default `tables` in --out")
    parser.add_argument("--receipts", type=Path, help="folder to write slim receipts into; by default none")
    given = parser.parse_args(arguments)
    try:
        data = given.out / "data"
        write_tables(given.out, given.into, unseen_ids(data) if data.is_dir() else (), receipts=given.receipts)
    except RealignError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
