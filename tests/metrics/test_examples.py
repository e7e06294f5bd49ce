"""The examples in the metrics' docstrings and on their page of the documentation."""

import doctest
from pathlib import Path

import pytest

from lightning_realign import metrics
from lightning_realign.metrics import generation, oracle, physical, protocols, retrieval

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.mark.parametrize(
    ("module", "count"), [(generation, 5), (physical, 4), (retrieval, 2), (protocols, 1), (oracle, 1)]
)
def test_examples(module, count):
    found = doctest.testmod(module)
    assert found.failed == 0
    assert sum(bool(test.examples) for test in doctest.DocTestFinder().find(module)) == count


def test_page():
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.attempted > 0 and found.failed == 0


def test_every_metric_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in metrics.__all__ if name not in text] == []
