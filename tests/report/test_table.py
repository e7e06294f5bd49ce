"""Tables and figures of sweeps."""

import csv
import doctest
import io
import math

import numpy as np
import pytest
from PIL import Image

from lightning_realign.report import format_table, table, value_with_interval
from lightning_realign.report.plots import heat_map, line_plot

HEADERS = ["run", "R@1", "oracle"]
ROWS = [["guided", 0.123456789, "0.9 ± 0.1"], ["un|guided_&", 12, None]]


def test_text_columns_are_aligned():
    lines = format_table(HEADERS, ROWS).splitlines()
    assert len(lines) == 4 and set(lines[1]) <= {"-", " "}
    assert lines[2].index("0.1235") + 6 == lines[3].index("12") + 2
    assert all(line == line.rstrip() for line in lines)


def test_markdown_has_one_cell_per_column():
    lines = format_table(HEADERS, ROWS, "markdown").splitlines()
    assert {line.replace("\\|", "").count("|") for line in lines} == {4}
    assert lines[1].split("|")[2].strip().endswith(":") and not lines[1].split("|")[1].strip().endswith(":")


def test_csv_keeps_full_precision_and_round_trips():
    rows = list(csv.reader(io.StringIO(format_table(HEADERS, [[1 / 3, "a,b\nc", None]], "csv"))))
    assert rows[0] == HEADERS
    assert float(rows[1][0]) == 1 / 3 and rows[1][1:] == ["a,b\nc", ""]


def test_latex_escapes_special_characters():
    text = format_table(["a_b", "%"], [["x & y", "0.9 ± 0.1"]], "latex")
    assert r"a\_b & \%" in text and r"x \& y" in text and r"$\pm$" in text
    assert text.startswith("\\begin{tabular}{lr}")


def test_doctest():
    assert doctest.testmod(table).failed == 0


@pytest.mark.parametrize(
    ("headers", "rows", "style", "message"),
    [([], [], "text", "headers"), (["a"], [[1, 2]], "text", "row 0"), (["a"], [[1]], "html", "style")],
)
def test_wrong_arguments(headers, rows, style, message):
    with pytest.raises(ValueError, match=message):
        format_table(headers, rows, style)


def test_value_with_interval():
    assert value_with_interval(0.51234, 0.0034) == "0.512 ± 0.003"
    assert value_with_interval(51.234, 0.34, decimals=1) == "51.2 ± 0.3"
    assert value_with_interval(0.5, None) == value_with_interval(0.5, math.nan) == "0.500"


@pytest.mark.parametrize("grid", [True, False])
def test_heat_map(grid, tmp_path):
    x, y = (np.repeat([1.0, 10.0, 100.0], 2), np.tile([0.0, 1.0], 3)) if grid else (np.arange(5.0), np.arange(5.0) ** 2)
    values = np.linspace(0, 1, len(x))
    values[0] = math.nan  # a point that failed
    heat_map(list(x), list(y), list(values), ("mu", "eta", "accuracy"), tmp_path / "map.png")
    line_plot(list(x[:3]), list(values[:3]), ("mu", "accuracy"), tmp_path / "line.png")
    for name in ("map", "line"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
    with pytest.raises(ValueError, match="accuracy"):
        heat_map([1.0], [1.0], [math.nan], ("mu", "eta", "accuracy"), tmp_path / "none.png")
