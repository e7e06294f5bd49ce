"""The receipts that are kept with the code, and the tables that are shown: the same values."""

import re

import pytest

from experiments.compact import compact_json
from experiments.mocap.report.ablation_sheets import WEAKER, Ablation, metrics_sheet
from experiments.mocap.report.finished import Unit
from experiments.mocap.report.main_sheets import NAMES, Study, judge_sheet, motion_sheet
from experiments.mocap.report.tables import TITLES, compute_sheet
from lightning_realign.files.reading import read_json
from lightning_realign.report.receipts import Receipt
from tests.helpers.cli_bench import ROOT

RECEIPTS = ROOT / "experiments/mocap/receipts"
TABLES = (ROOT / "docs/results/tables.md").read_text()
FILES = sorted(RECEIPTS.glob("*.json"))


def shown(title: str) -> list[str]:
    """The lines of a table of the page, without its notes."""
    (block,) = [part for part in TABLES.split("\n## ") if part.startswith(f"{title}\n")]
    return [line for line in block.splitlines() if line.startswith("|")]


def table(sheet) -> list[str]:
    return [line for line in sheet.markdown().splitlines() if line.startswith("|")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_receipt_has_a_line_for_each_metric_and_tells_no_place(path):
    text = path.read_text()
    content = read_json(path, "receipt")
    assert text == compact_json(content) + "\n"
    assert content["unit"]["name"] == path.stem and set(content) <= {"unit", "sha256", "settings", "systems"}
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work)/", text)


def test_no_receipt_is_kept_that_no_table_shows():
    compute = [line.split("|")[1].strip() for line in shown("Compute")[2:-1]]
    assert [path.stem for path in FILES] == compute
    units = {}
    for path in FILES:
        unit = read_json(path, "receipt")["unit"]
        units[path.stem] = Unit(path.stem, path, unit["seconds"], unit["cpu_seconds"], unit["hardware"], unit)
    assert table(compute_sheet(units)) == shown("Compute")


@pytest.mark.parametrize("name", ["mld", "pairs", "synthetic"])
def test_the_main_tables_follow_from_the_receipts(name):
    receipt = Receipt.read(RECEIPTS / f"test_{name}.json")
    systems = {system: receipt.systems[system] for system in NAMES if system in receipt.systems}
    # The record is not kept; these tables don't read it.
    study = Study(name, TITLES[name], None, receipt)
    for judge in ("guo",) if name == "pairs" else ("guo", "tmr"):
        assert table(judge_sheet(study, systems, judge)) == shown(f"{TITLES[name]}: judge {judge}")
    assert table(motion_sheet(study, systems)) == shown(f"{TITLES[name]}: the motions themselves")


@pytest.mark.parametrize("name", ["mld", "synthetic"])
def test_the_tables_of_ablations_follow_from_the_receipts(name):
    prefix = f"test_{name}_"
    found = {path.stem.removeprefix(prefix): path for path in FILES if path.stem.startswith(prefix)}
    ablations = [Ablation(own, None, Receipt.read(path)) for own, path in found.items() if not WEAKER.fullmatch(own)]
    sheet = metrics_sheet(name, TITLES[name], ["guo", "tmr"], ablations)
    assert table(sheet) == shown(f"{TITLES[name]}: ablations")
