"""The examples in the metrics' docstrings."""

import doctest

import pytest

from lightning_realign.metrics import generation, physical, retrieval, sample_means


@pytest.mark.parametrize(("module", "count"), [(generation, 5), (physical, 1), (retrieval, 1), (sample_means, 2)])
def test_examples(module, count):
    found = doctest.testmod(module)
    assert found.failed == 0
    assert sum(bool(test.examples) for test in doctest.DocTestFinder().find(module)) == count
