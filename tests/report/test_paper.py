"""The paper's tables: which rows they have, when published rows stand beside them, and what is said."""

import csv
import doctest

import numpy as np
import pytest
from PIL import Image

from lightning_realign.__main__ import main
from lightning_realign.evaluation.table import interval, write_table
from lightning_realign.report import paper
from lightning_realign.report.layout import paper_csv, paper_text
from lightning_realign.report.paper import GENERATION, RETRIEVAL, paper_tables
from lightning_realign.report.receipts import read_receipts

PUBLISHED = {"kind": "guo_published", "path": "finest.tar"}
OWN = {"kind": "guo", "path": "best.ckpt"}
GENERATION_SETTINGS = {
    "split": "test",
    "protocol": "published",
    "judges": {"guo": PUBLISHED},
    "shared_with_reward": {"guo": []},
    "provenance": {"data": {"root": "d/HumanML3D", "name": "HumanML3D", "skeleton": "humanml3d", "fingerprint": "f"}},
}
RETRIEVAL_SETTINGS = {"split": "test", "system": "TMR", "nsim": "nsim_test.txt"}
RETRIEVAL_SETTINGS |= {"provenance": GENERATION_SETTINGS["provenance"]}


def judged(*names, value=0.5):
    """Rows of one judge; the value tells runs apart."""
    return {
        name: {
            f"guo/{figure}": interval([value + number, value + number + 0.25])
            for number, figure in enumerate(GENERATION)
        }
        for name in names
    }


def data(name, skeleton="humanml3d", fingerprint="f"):
    return {"data": {"root": f"d/{name}", "name": name, "skeleton": skeleton, "fingerprint": fingerprint}}


@pytest.fixture
def tables(tmp_path):
    """From rows and settings, one receipt for each, to the paper's tables."""

    def build(*receipts, kind="table"):
        folders = [tmp_path / f"run{number}" for number in range(len(receipts))]
        for folder, (rows, settings) in zip(folders, receipts, strict=True):
            write_table(folder / f"{kind}-test.json", rows, settings)
        return paper_tables(read_receipts(folders))

    return build


def test_measured_rows_have_the_real_one_first_and_published_rows_are_marked(tables):
    (table,) = tables((judged("unguided", "guided", "real"), GENERATION_SETTINGS))
    lines = paper_text(table).split("\n\n")[1].splitlines()
    assert lines[0].split() == ["row", "origin", *GENERATION]
    assert [line.split()[:2] for line in lines[2:5]] == [[row, "measured"] for row in ("real", "unguided", "guided")]
    assert lines[2].split("  ")[-1].strip() == "6.625 ± 0.173"
    assert len(lines) > 12 and all(" published [" in line for line in lines[5:])
    realign = next(line for line in lines if line.startswith("MLD + ReAlign")).split()
    assert realign[5:] == ["0.567", "-", "0.848", "0.195", "2.704", "9.474", "-"]
    real = next(line for line in lines if line.startswith("Real"))
    assert "0.511 ± 0.003" in real and "9.503 ± 0.065" in real
    numbers = {part.split("]")[0] for line in lines[5:] for part in line.split("published [")[1:]}
    assert all(any(note.startswith(f"[{number}] ") for note in table.notes) for number in numbers)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"protocol": "fixed"}, "the protocol is fixed, not published"),
        ({"protocol": None}, "the protocol is not stated"),
        ({"split": "val"}, "the split is val, not test"),
        ({"judges": {"guo": OWN}}, "judge guo does not have the published weights"),
        ({"judges": {}}, "judge guo does not have the published weights"),
        ({"provenance": data("bandai_namco")}, "the data set is bandai_namco, neither HumanML3D nor KIT-ML"),
        ({"provenance": data("HumanML3D", "kit")}, "the data set is HumanML3D, neither"),
        ({"provenance": {"data": {"root": "d/HumanML3D"}}}, "the receipt does not name its data set"),
        ({"provenance": {}}, "the receipt does not name its data set"),
    ],
)
def test_published_rows_stand_beside_comparable_ones_only(change, reason, tables):
    (table,) = tables((judged("real", "guided"), GENERATION_SETTINGS | change))
    left_out = [note for note in table.notes if note.startswith("Published rows are left out: ")]
    assert table.published == () and len(left_out) == 1 and reason in left_out[0]
    assert "published [" not in paper_text(table) and len(table.rows) == 2


@pytest.mark.parametrize(("name", "skeleton"), [("KIT-ML", "kit"), ("kit-ml", "kit"), ("humanml3d", "humanml3d")])
def test_either_published_data_set_has_rows(name, skeleton, tables):
    (table,) = tables((judged("guided"), GENERATION_SETTINGS | {"provenance": data(name, skeleton)}))
    methods = [row.method for row in table.published]
    assert methods[0] == "Real" and {"MDM", "MLD", "T2M", "TM2T", "MoMask", "T2M-GPT", "MotionDiffuse"} <= set(methods)
    assert any("ReAlign" in method for method in methods)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"shared_with_reward": {"guo": ["architecture", "training data"]}}, "guided: architecture, training data."),
        ({}, "shares neither architecture nor training data"),
        ({"shared_with_reward": {}}, "does not say what judge guo shares"),
        ({"reward": None}, "No reward guided here"),
        ({"provenance": data("mocap")}, "trained on HumanML3D: it saw other data than mocap"),
    ],
)
def test_kinship_of_judge_and_reward_is_said(change, fragment, tables):
    (table,) = tables((judged("real", "guided"), GENERATION_SETTINGS | change))
    assert any(fragment in note for note in table.notes)


def test_runs_that_differ_in_kinship_are_named(tables):
    other = GENERATION_SETTINGS | {"shared_with_reward": {"guo": ["training data"]}}
    (table,) = tables((judged("real"), GENERATION_SETTINGS), (judged("real"), other))
    assert [note.split(":")[0] for note in table.notes if "reward that guided" in note] == ["run0", "run1"]


def test_floor_of_fid_is_explained(tables):
    rows = judged("real", "guided")
    assert "floor" in tables((rows, GENERATION_SETTINGS))[0].notes[0]
    del rows["real"]["guo/FID"]
    assert tables((rows, GENERATION_SETTINGS))[0].notes[0].startswith("The real row has no FID")
    assert tables((judged("guided"), GENERATION_SETTINGS))[0].notes[0].startswith("There is no real row")


def test_comparable_runs_share_a_table_and_a_real_row(tables):
    runs = [judged("real", "guided"), judged("real") | judged("guided", value=0.75)]
    (table,) = tables(*((rows, GENERATION_SETTINGS) for rows in runs))
    assert [row.name for row in table.rows] == ["real", "guided (run0)", "guided (run1)"]
    (table,) = tables(*((judged("guided", "real", value=value), GENERATION_SETTINGS) for value in (0.5, 0.75)))
    assert [row.name for row in table.rows] == ["real (run0)", "real (run1)", "guided (run0)", "guided (run1)"]


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": data("HumanML3D", fingerprint="g")},
        {"protocol": "fixed"},
        {"judges": {"guo": PUBLISHED | {"path": "other.tar"}}},
        {"split": "val"},
    ],
)
def test_what_does_not_compare_is_in_tables_of_its_own(change, tables):
    found = tables((judged("real"), GENERATION_SETTINGS), (judged("real"), GENERATION_SETTINGS | change))
    assert [[row.name for row in table.rows] for table in found] == [["real"], ["real"]]
    assert len({table.title for table in found}) == 2


def recalls(*protocols):
    return {
        f"{protocol}/{figure}": interval([float(number)])
        for protocol in protocols
        for number, figure in enumerate(RETRIEVAL)
    }


def test_retrieval_has_a_table_per_protocol(tables):
    found = tables(
        ({"ReAlign": recalls("normal", "pool32"), "ReAlign t=300": recalls("pool32")}, RETRIEVAL_SETTINGS),
        kind="retrieval",
    )
    assert [table.part for table in found] == ["normal", "pool32"]
    normal, pools = found
    assert [row.name for row in pools.rows] == ["ReAlign", "ReAlign t=300"]
    assert paper_text(normal).split("\n\n")[1].splitlines()[2].split()[2:5] == ["0.00", "1.00", "2.00"]
    assert {row.method for row in normal.published} >= {"TEMOS", "T2M", "TMR"}
    tmr = next(row for row in normal.published if row.method == "TMR")
    assert tmr.figures["t2m_R@1"].mean == 5.68 and tmr.figures["m2t_MedR"].mean == 28.5
    assert [row.method for row in pools.published] == ["ReAlign"]


@pytest.mark.parametrize(
    ("change", "protocol", "reason"),
    [
        ({"provenance": data("mocap")}, "normal", "the data set is mocap"),
        ({"nsim": 100}, "nsim", "chosen here"),
        ({}, "threshold", "no source of them"),
        ({"split": "val"}, "normal", "the split is val"),
    ],
)
def test_published_retrieval_rows_need_the_same_data_and_protocol(change, protocol, reason, tables):
    (table,) = tables(({"TMR": recalls(protocol)}, RETRIEVAL_SETTINGS | change), kind="retrieval")
    assert table.published == () and any(reason in note for note in table.notes)


def test_csv_has_full_precision_and_the_source_of_each_row(tables):
    (table,) = tables((judged("real", value=1 / 3), GENERATION_SETTINGS))
    rows = list(csv.DictReader(paper_csv([table]).splitlines()))
    exact = interval([1 / 3, 1 / 3 + 0.25])
    assert float(rows[0]["R@1"]) == exact.mean and float(rows[0]["R@1_ci95"]) == exact.half_width
    assert rows[0]["origin"] == "measured" and rows[0]["source"] == "" and rows[0]["judge"] == "guo"
    assert all(row["origin"] == "published" and row["source"] for row in rows[1:]) and len(rows) > 10
    realign = next(row for row in rows if row["row"] == "MLD++ + ReAlign")
    assert float(realign["FID"]) == 0.055 and realign["FID_ci95"] == "" and realign["R@2"] == ""


@pytest.mark.parametrize(
    ("style", "mark"), [("markdown", "## Generation on HumanML3D"), ("latex", r"\caption{Generation on")]
)
def test_title_and_notes_go_with_a_table(style, mark, tables):
    (table,) = tables((judged("real"), GENERATION_SETTINGS | {"provenance": data("a_b")}))
    text = paper_text(table, style).replace("a\\_b", "a_b")
    assert mark.replace("HumanML3D", "a_b") in text and all(note in text for note in table.notes)
    if style == "latex":
        assert text.count("\\begin{") == text.count("\\end{") == 2


def test_small_figures_keep_their_digits(tables):
    rows = {name: {"guo/FID": interval([value])} for name, value in (("real", 0.00043), ("guided", 0.00679))}
    (table,) = tables((rows, GENERATION_SETTINGS | {"protocol": "fixed"}))
    assert "0.00043" in paper_text(table) and "0.00679" in paper_text(table)


def test_command_line_writes_all_tables(tmp_path, capsys):
    run = tmp_path / "run"
    write_table(run / "table-test.json", judged("real", "guided"), GENERATION_SETTINGS)
    write_table(run / "retrieval-test.json", {"TMR": recalls(*paper.PROTOCOLS)}, RETRIEVAL_SETTINGS)
    main(["report", str(run), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    for text in (printed, (tmp_path / "out" / "report.md").read_text(), (tmp_path / "out" / "report.tex").read_text()):
        assert text.count("Generation on ") == 1 and text.count("Retrieval on ") == 5 and text.count("All figures") == 1
    assert len(list(csv.reader((tmp_path / "out" / "retrieval.csv").open()))) > 10
    assert (tmp_path / "out" / "generation.csv").is_file() and (tmp_path / "out" / "report.csv").is_file()
    with Image.open(tmp_path / "out" / "report.png") as picture:
        # Sixty-seven figures of three rows still make a picture that fits a screen or two.
        assert picture.width < 2500 and picture.height < 4000 and np.asarray(picture).std() > 5


def test_doctest():
    assert doctest.testmod(paper).failed == 0
