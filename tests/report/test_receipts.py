"""Several receipts in one table and one plot."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from lightning_realign.__main__ import main
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.report.intervals import Interval, interval
from lightning_realign.report.layout import merged_table
from lightning_realign.report.receipts import Receipt, read_receipts
from lightning_realign.report.summary import write_report


@pytest.fixture
def receipts(tmp_path):
    first, second = tmp_path / "plain" / "table-test.json", tmp_path / "strong" / "table-test.json"
    systems = {
        "real": {"reward": interval([0.8])},
        "guided": {"reward": interval([0.5, 0.7]), "seconds": interval([2.0])},
    }
    Receipt(systems, {"mu": 1.0}).write(first)
    Receipt({"guided": {"oracle": interval([0.25, 0.35])}}, {}).write(second)
    return [first, second]


def test_every_row_of_every_file_is_there(receipts, tmp_path):
    text = write_report(receipts, tmp_path / "out")
    lines = [line.split("  ") for line in text.splitlines()]
    assert [line[0] for line in lines] == ["All metrics", "", "run", "------", "plain", "plain", "strong"]
    assert "0.6000 ± 0.1386" in text and "0.3000 ± 0.0693" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.csv",
        "report.md",
        "report.png",
        "report.tex",
    ]
    assert "0.6000 ± 0.1386" in (tmp_path / "out" / "report.md").read_text()
    assert r"0.6000 $\pm$ 0.1386" in (tmp_path / "out" / "report.tex").read_text()
    assert np.asarray(Image.open(tmp_path / "out" / "report.png")).std() > 5


def test_csv_has_full_precision(receipts):
    rows = list(csv.DictReader(merged_table(read_receipts(receipts), "csv").splitlines()))
    assert [(row["run"], row["system"]) for row in rows] == [
        ("plain", "real"),
        ("plain", "guided"),
        ("strong", "guided"),
    ]
    exact = interval([0.5, 0.7])
    assert float(rows[1]["reward"]) == exact.mean and float(rows[1]["reward_ci95"]) == exact.half_width
    assert rows[0]["reward_ci95"] == "" and rows[0]["oracle"] == "" and float(rows[2]["oracle"]) == 0.3


def test_folders_stand_for_their_receipt_and_equal_names_get_parents(tmp_path):
    folders = [tmp_path / run / "version_0" for run in ("a", "b")]
    for folder in folders:
        Receipt({"guided": {"reward": interval([0.5])}}, {}).write(folder / "table-val.json")
    assert [receipt.run for receipt in read_receipts(folders)] == ["a/version_0", "b/version_0"]
    assert [receipt.run for receipt in read_receipts(folders[:1])] == ["a/version_0"]
    with pytest.raises(ConfigError, match="given twice"):
        read_receipts([folders[0], folders[0] / "table-val.json"])
    with pytest.raises(DataError, match=r"no table-\*\.json or retrieval-\*\.json in it"):
        read_receipts([tmp_path / "a"])


@pytest.mark.parametrize(
    ("method", "systems"),
    [
        ("MoMask", ["real", "MoMask"]),
        ("samples", ["real", "samples"]),
        (None, ["real", "samples"]),
        ("guided", ["real", "samples"]),
        ("real", ["real", "samples"]),
    ],
)
def test_motions_made_elsewhere_go_by_their_method(method, systems, tmp_path):
    found = {name: {"reward": interval([value])} for name, value in (("real", 0.75), ("samples", 0.5))}
    Receipt(found, {} if method is None else {"method": method}).write(tmp_path / "table-test.json")
    (receipt,) = read_receipts([tmp_path])
    assert list(receipt.systems) == systems and receipt.systems[systems[1]]["reward"].mean == 0.5
    assert merged_table([receipt]).splitlines()[3].split() == [tmp_path.name, systems[1], "0.5000"]


def test_a_wide_table_is_turned_on_its_side(tmp_path):
    figures = {f"figure_{number}": interval([float(number)]) for number in range(5)}
    Receipt({"real": figures, "guided": {"figure_4": interval([7.0])}}, {}).write(tmp_path / "a" / "table-test.json")
    lines = merged_table(read_receipts([tmp_path / "a"])).splitlines()
    assert lines[0].split() == ["metric", "real", "guided"] and len(lines) == 7
    assert lines[2].split() == ["figure_0", "0.0000", "-"] and lines[6].split() == ["figure_4", "4.0000", "7.0000"]


def test_folders_of_loggers_name_no_run(tmp_path):
    folders = [tmp_path / run / "logs" / "version_0" for run in ("a", "b")]
    for folder in folders:
        Receipt({"guided": {"reward": interval([0.5])}}, {}).write(folder / "table-test.json")
        Receipt({"TMR": {"normal/t2m_R@1": interval([5.0])}}, {}).write(folder / "retrieval-test.json")
    assert [receipt.run for receipt in read_receipts(folders[:1])] == [
        "a/logs/version_0 test",
        "a/logs/version_0 retrieval-test",
    ]


def test_both_stages_of_a_run_are_told_apart(tmp_path):
    for run, stages in (("a", ("test", "val")), ("b", ("test",))):
        for stage in stages:
            Receipt({"guided": {"reward": interval([0.5])}}, {}).write(tmp_path / run / f"table-{stage}.json")
    assert [receipt.run for receipt in read_receipts([tmp_path / "a", tmp_path / "b"])] == ["a test", "a val", "b"]


def test_a_receipt_is_read_as_it_was_written(tmp_path):
    receipt = Receipt({"guided": {"reward": interval([0.5, 0.7]), "seconds": interval([2.0])}}, {"mu": 1.0})
    receipt.write(tmp_path / "table-test.json")
    assert json.loads((tmp_path / "table-test.json").read_text())["format"] == 2
    assert Receipt.read(tmp_path / "table-test.json") == receipt


def test_a_receipt_of_the_first_format_is_read(tmp_path):
    metrics = {"reward": {"mean": 0.5, "ci95": 0.25, "values": [0.25, 0.75]}, "seconds": {"mean": 2, "ci95": None}}
    (tmp_path / "table-test.json").write_text(json.dumps({"settings": {"mu": 1.0}, "rows": {"guided": metrics}}))
    receipt = Receipt.read(tmp_path / "table-test.json")
    assert receipt.settings == {"mu": 1.0} and receipt.metrics == ["reward", "seconds"]
    assert receipt.systems["guided"]["reward"] == Interval(0.5, 0.25, (0.25, 0.75))
    assert receipt.systems["guided"]["seconds"] == Interval(2.0, None)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (None, "receipt is missing"),
        ("no json", "not valid JSON"),
        ("[1]", "JSON list"),
        ('{"a": 1}', "field 'systems'"),
        ('{"format": 3, "systems": {}}', "field 'format' is 3"),
        ('{"format": 2, "rows": {"guided": {}}}', "field 'systems'"),
        ('{"format": 2, "systems": {"guided": {"reward": 3}}}', "systems.guided.reward"),
        (
            '{"systems": {"guided": {"reward": {"mean": 1, "ci95": null, "values": "a"}}}}',
            "systems.guided.reward.values",
        ),
        ('{"rows": {}}', "field 'rows'"),
        ('{"rows": {"guided": 3}}', "field 'rows'"),
        ('{"rows": {"guided": {"reward": 3}}}', "rows.guided.reward"),
        ('{"rows": {"guided": {}}, "settings": [1]}', "field 'settings'"),
        ('{"rows": {"guided": {"reward": {"mean": "high", "ci95": null}}}}', "rows.guided.reward"),
        ('{"rows": {"guided": {"reward": {"mean": 1, "ci95": true}}}}', "rows.guided.reward"),
        ('{"rows": {"guided": {"reward": {"mean": NaN, "ci95": null}}}}', "rows.guided.reward is nan"),
        ('{"rows": {"guided": {"reward": {"mean": Infinity, "ci95": null}}}}', "rows.guided.reward is inf"),
        ('{"rows": {"guided": {"reward": {"mean": 1, "ci95": NaN}}}}', "rows.guided.reward is 1.0 ± nan"),
    ],
)
def test_what_is_no_receipt_is_named_in_one_line(content, fragment, tmp_path):
    path = tmp_path / "table-test.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        write_report([path], tmp_path / "out")
    assert fragment in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_command_line(receipts, tmp_path, capsys):
    main(["report", *map(str, receipts), "--out", str(tmp_path / "out")])
    assert "strong" in capsys.readouterr().out
    receipts[0].write_text(json.dumps({"settings": {}}))
    with pytest.raises(SystemExit) as caught:
        main(["report", str(receipts[0]), "--out", str(tmp_path / "other")])
    assert caught.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
