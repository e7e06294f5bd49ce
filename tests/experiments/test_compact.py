"""The form in which receipts are kept."""

import json

import pytest

from experiments.compact import compact_json

CONTENT = {"a": 1, "rows": [{"x": 0.5, "y": [1, 2]}, {"x": None}], "deep": {"more": {"b": [[1], [2]]}}, "none": {}}


@pytest.mark.parametrize("content", [CONTENT, [], {}, "text", [1, 2], {"a": {"b": {"c": {}}}}])
def test_it_is_the_same_json(content):
    assert json.loads(compact_json(content)) == content


def test_an_entry_is_one_line():
    lines = compact_json(CONTENT).splitlines()
    assert '  {"x": 0.5, "y": [1, 2]},' in lines and ' "none": {}' in lines
    with pytest.raises(ValueError, match="not JSON compliant"):
        compact_json([float("nan")])
