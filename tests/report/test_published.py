"""The published values: whole, sourced and plausible."""

import math

import pytest

from lightning_realign.report.context import Context
from lightning_realign.report.paper import GENERATION, PROTOCOLS, RETRIEVAL
from lightning_realign.report.published import published_on, published_sets

ROWS = [
    pytest.param(known, rows, columns, id=f"{known.data}-{part}")
    for known in published_sets()
    for part, rows, columns in [
        ("generation", known.generation, GENERATION),
        *((protocol, rows, RETRIEVAL) for protocol, rows in known.retrieval.items()),
    ]
]


def test_both_data_sets_are_there():
    assert [known.data for known in published_sets()] == ["HumanML3D", "KIT-ML"]
    assert all(set(known.retrieval) <= set(PROTOCOLS) for known in published_sets())


@pytest.mark.parametrize(("known", "rows", "columns"), ROWS)
def test_every_row_has_a_source_and_metrics_of_known_columns(known, rows, columns):
    assert rows and len({row.method for row in rows}) == len(rows)
    for row in rows:
        assert len(row.source) > 20 and row.metrics and set(row.metrics) <= set(columns)
        for value in row.metrics.values():
            assert math.isfinite(value.mean) and value.mean >= 0
            assert value.half_width is None or 0 <= value.half_width < value.mean + 0.01
            assert float(value.text.split(" ± ")[0]) == value.mean


@pytest.mark.parametrize(("known", "rows", "columns"), ROWS)
def test_recalls_grow_with_k(known, rows, columns):
    tops = ["R@1", "R@2", "R@3", "R@5", "R@10"]
    limit = 1.0 if columns is GENERATION else 100.0
    for row in rows:
        for way in ("", "t2m_", "m2t_"):
            found = [row.metrics[way + top].mean for top in tops if way + top in row.metrics]
            assert found == sorted(found) and all(0 < value < limit for value in found), row.method


def test_a_data_set_is_known_by_its_name_and_skeleton():
    assert published_on(Context(data="HumanML3D", named=True, skeleton="humanml3d")).data == "HumanML3D"
    assert published_on(Context(data="KIT-ML", named=True, skeleton="kit")).data == "KIT-ML"
    assert published_on(Context(data="HumanML3D", named=True, skeleton="mocap")) is None
    assert published_on(Context(data="HumanML3D", named=False)) is None
    assert published_on(Context(named=True)) is None
