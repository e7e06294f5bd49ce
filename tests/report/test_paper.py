"""The paper's tables: which rows they have, when published rows stand beside them, and what is said."""

import csv
import doctest

import numpy as np
import pytest
from PIL import Image

from lightning_realign.__main__ import main
from lightning_realign.report import paper
from lightning_realign.report.intervals import interval
from lightning_realign.report.layout import paper_csv, paper_text
from lightning_realign.report.paper import GENERATION
from lightning_realign.report.receipts import Receipt
from tests.helpers.report_cases import GENERATION_SETTINGS, OWN, PUBLISHED, RETRIEVAL_SETTINGS, data, judged, recalls


def test_measured_rows_have_the_real_one_first_and_published_rows_are_marked(tables):
    (table,) = tables((judged("unguided", "guided", "real"), GENERATION_SETTINGS))
    lines = paper_text(table).split("\n\n")[1].splitlines()
    assert lines[0].split() == ["system", "origin", *GENERATION]
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
        ({"samples": 500}, "500 of the split's 4384 motions were measured"),
        ({"samples": None}, "does not say whether the whole split"),
        ({"split_size": None}, "does not say whether the whole split"),
        ({"pool": 8}, "the size of R-Precision's pools is 8, not 32"),
        ({"pool": None}, "the size of R-Precision's pools is not stated"),
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
        ({"shared_with_reward": {"guo": ["weights"]}}, "Judge guo shares with the reward that guided: weights."),
        ({"shared_with_reward": {}}, "does not say what judge guo shares"),
        ({"reward": None}, "No reward guided here"),
        ({"guided": False, "shared_with_reward": {"guo": ["architecture"]}}, "No reward guided here"),
        ({"guided": None, "shared_with_reward": {"guo": ["architecture"]}}, "does not say whether a reward guided"),
        ({"guided": None, "rows": ["real", "samples"]}, "whether a reward guided these motions"),
        ({"guided": None, "method": "MoMask", "reward": None}, "whether a reward guided these motions"),
        ({"provenance": data("mocap")}, "trained on HumanML3D: it saw other data than mocap"),
    ],
)
def test_kinship_of_judge_and_reward_is_said(change, fragment, tables):
    (table,) = tables((judged("real", "guided"), GENERATION_SETTINGS | change))
    assert any(fragment in note for note in table.notes)
    known = {"guided": True, "reward": "r.ckpt"} | change
    guided = bool(known["guided"] and known["reward"])
    assert guided or not any("reward that guided" in note for note in table.notes)


def test_runs_that_differ_in_kinship_are_named(tables):
    other = GENERATION_SETTINGS | {"shared_with_reward": {"guo": ["training data"]}}
    (table,) = tables((judged("real"), GENERATION_SETTINGS), (judged("real"), other))
    assert [note.split(":")[0] for note in table.notes if "reward that guided" in note] == ["run0", "run1"]


def test_floor_of_fid_is_explained(tables):
    rows = judged("real", "guided")
    note = tables((rows, GENERATION_SETTINGS))[0].notes[0]
    assert "floor" in note and "other captions" in note and "can lie below it" in note
    del rows["real"]["guo/FID"]
    assert tables((rows, GENERATION_SETTINGS))[0].notes[0].startswith("The real row has no FID")
    assert tables((judged("guided"), GENERATION_SETTINGS))[0].notes[0].startswith("There is no real row")


def test_comparable_runs_share_a_table_and_a_real_row(tables):
    runs = [judged("real", "guided"), judged("real") | judged("guided", value=0.75)]
    (table,) = tables(*((rows, GENERATION_SETTINGS) for rows in runs))
    assert [row.name for row in table.rows] == ["real", "guided (run0)", "guided (run1)"]
    (table,) = tables(*((judged("guided", "real", value=value), GENERATION_SETTINGS) for value in (0.5, 0.75)))
    assert [row.name for row in table.rows] == ["real (run0)", "real (run1)", "guided (run0)", "guided (run1)"]


def test_methods_rows_need_no_run_to_be_told_apart(tables):
    made = [
        (judged("real", "samples", value=value), GENERATION_SETTINGS | {"method": method, "guided": None})
        for value, method in ((0.5, "MoMask"), (0.5, "Real-time"), (0.75, "MoMask"))
    ]
    (table,) = tables(*made[:2])
    assert [(row.name, row.real) for row in table.rows] == [("real", True), ("MoMask", False), ("Real-time", False)]
    (table,) = tables(*made)
    assert [row.name for row in table.rows][3:] == ["MoMask (run0)", "Real-time", "MoMask (run2)"]


def test_the_same_content_compares_wherever_it_lies(tables):
    here, there = data("HumanML3D"), data("humanml3d", fingerprint="other")
    for described in (here, there):
        described["data"]["content"] = "c"
    runs = [(judged("real"), GENERATION_SETTINGS | {"provenance": place}) for place in (here, there)]
    (table,) = tables(*runs)
    assert len(table.published) > 10 and len(table.rows) == 1
    there["data"]["content"] = "d"
    assert len(tables(*runs)) == 2


@pytest.mark.parametrize(
    ("rows", "settings", "kind"),
    [
        (judged("real"), GENERATION_SETTINGS, "table"),
        ({"TMR": {"normal/t2m_R@1": interval([5.0])}}, RETRIEVAL_SETTINGS, "retrieval"),
    ],
)
def test_any_run_of_a_table_can_be_in_the_way_of_published_rows(rows, settings, kind, tables):
    unnamed = data("HumanML3D")
    del unnamed["data"]["name"]
    (table,) = tables((rows, settings), (rows, settings | {"provenance": unnamed}), kind=kind)
    assert table.published == () and "does not name its data set" in table.notes[-1]
    assert tables((rows, settings), (rows, settings), kind=kind)[0].published


@pytest.mark.parametrize(("repeats", "said"), [(20, "-1.7%"), (60, "+1.7%"), (30, None), (None, None)])
def test_another_number_of_repeats_is_said(repeats, said, tables):
    settings = GENERATION_SETTINGS | {"multimodality_repeats": repeats}
    rows = judged("real", "guided")
    (table,) = tables((rows, settings))
    found = [note for note in table.notes if note.startswith("MultiModality of run0")]
    assert len(found) == (said is not None) and all(said in note and f"{repeats} motions" in note for note in found)
    for row in rows.values():
        del row["guo/MultiModality"]
    assert not any(note.startswith("MultiModality") for note in tables((rows, settings))[0].notes)


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": data("HumanML3D", fingerprint="g")},
        {"samples": 500},
        {"pool": 8},
        {"judge_fingerprints": {"guo": "e"}},
        {"protocol": "fixed"},
        {"judges": {"guo": PUBLISHED | {"path": "other.tar"}}},
        {"split": "val"},
    ],
)
def test_what_does_not_compare_is_in_tables_of_its_own(change, tables):
    found = tables((judged("real"), GENERATION_SETTINGS), (judged("real"), GENERATION_SETTINGS | change))
    assert [[row.name for row in table.rows] for table in found] == [["real"], ["real"]]
    assert len({table.title for table in found}) == 2


def test_csv_has_full_precision_and_the_source_of_each_row(tables):
    (table,) = tables((judged("real", value=1 / 3), GENERATION_SETTINGS))
    rows = list(csv.DictReader(paper_csv([table]).splitlines()))
    exact = interval([1 / 3, 1 / 3 + 0.25])
    assert float(rows[0]["R@1"]) == exact.mean and float(rows[0]["R@1_ci95"]) == exact.half_width
    assert rows[0]["origin"] == "measured" and rows[0]["source"] == "" and rows[0]["judge"] == "guo"
    assert all(row["origin"] == "published" and row["source"] for row in rows[1:]) and len(rows) > 10
    realign = next(row for row in rows if row["system"] == "MLD++ + ReAlign")
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
    Receipt(judged("real", "guided"), GENERATION_SETTINGS).write(run / "table-test.json")
    Receipt({"TMR": recalls(*paper.PROTOCOLS)}, RETRIEVAL_SETTINGS).write(run / "retrieval-test.json")
    main(["report", str(run), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    for text in (printed, (tmp_path / "out" / "report.md").read_text(), (tmp_path / "out" / "report.tex").read_text()):
        assert text.count("Generation on ") == 1 and text.count("Retrieval on ") == 5 and text.count("All metrics") == 1
    assert len(list(csv.reader((tmp_path / "out" / "retrieval.csv").open()))) > 10
    assert (tmp_path / "out" / "generation.csv").is_file() and (tmp_path / "out" / "report.csv").is_file()
    with Image.open(tmp_path / "out" / "report.png") as picture:
        # Sixty-seven figures of three rows still make a picture that fits a screen or two.
        assert picture.width < 2500 and picture.height < 4000 and np.asarray(picture).std() > 5


def test_doctest():
    assert doctest.testmod(paper).failed == 0
