"""The table that `test` prints: its digits, its width, and what it leaves out."""

import math

from hypothesis import given
from hypothesis import strategies as st

from lightning_realign.report.intervals import Interval
from lightning_realign.report.overview import WIDTH, overview, readable


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3))
def test_digits_are_those_of_the_interval(mean, width):
    shown_mean, shown_width = readable(Interval(mean, width)).split(" ± ")
    step = 10.0 ** -len(shown_width.partition(".")[2])
    assert abs(float(shown_mean) - mean) <= 0.5000001 * step
    # The interval is within a tenth of what was measured where it begins with 1, else within half of its digit.
    assert math.isclose(float(shown_width), width, rel_tol=0.35, abs_tol=0.5000001 * step)
    assert len(shown_width.replace(".", "").lstrip("0").rstrip("0")) <= 4
    assert len(shown_mean.partition(".")[2]) == len(shown_width.partition(".")[2])


def test_known_values():
    assert readable(Interval(0.65123, 0.0112), 100) == "65.1 ± 1.1"
    assert readable(Interval(57.94, 0.83)) == "57.9 ± 0.8"
    assert readable(Interval(1.0, 0.0), 100) == "100"
    assert readable(Interval(1234.4, 30.0)) == "1234 ± 30"
    assert readable(Interval(float("nan"), None)) == "nan"


def systems(judges):
    metrics = ["oracle_accuracy", "reward", "foot_skating", "jerk", "seconds", "peak_memory"]
    metrics += [f"{judge}/{name}" for judge in judges for name in ("R@1", "R@1_label", "FID", "FID_pooled")]
    found = {metric: Interval(0.123456, 0.0123) for metric in metrics}
    return {name: dict(found) for name in ("real", "reconstruction", "guided")}


def test_it_fits_a_screen_whatever_is_measured():
    for judges in ([], ["guo"], ["guo", "tmr"], ["guo", "tmr", "third", "fourth"]):
        table = overview(systems(judges))
        assert max(map(len, table.splitlines())) <= WIDTH
        assert all(f"R@1 % {judge}" in table for judge in judges) and "oracle %" in table
        assert "label" not in table and "pooled" not in table and "jerk" not in table
    assert "FID guo" in overview(systems(["guo"])) and "reward" in overview(systems([]))


def test_what_a_system_has_not_is_a_dash():
    found = systems(["guo"])
    del found["real"]["seconds"]
    (line,) = (line for line in overview(found).splitlines() if line.startswith("real"))
    assert line.rstrip().endswith("-")
