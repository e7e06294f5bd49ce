"""JSON that is read in a version control's diff: one line for every entry, however many numbers it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def compact_json(content: Any) -> str:
    """The content as indented JSON in which whatever holds no mapping with further content stands on one line.

    >>> print(compact_json({"metrics": {"R@1": {"mean": 0.5, "values": [0.4, 0.6]}}}))
    {
     "metrics": {
      "R@1": {"mean": 0.5, "values": [0.4, 0.6]}
     }
    }
    """
    return _lines(content, 0)


def _lines(content: Any, depth: int) -> str:
    if _flat(content):
        return json.dumps(content, allow_nan=False, ensure_ascii=False)
    inner, outer = " " * (depth + 1), " " * depth
    if isinstance(content, Mapping):
        entries = [f"{inner}{json.dumps(name)}: {_lines(value, depth + 1)}" for name, value in content.items()]
        return "{\n" + ",\n".join(entries) + f"\n{outer}}}"
    return "[\n" + ",\n".join(f"{inner}{_lines(value, depth + 1)}" for value in content) + f"\n{outer}]"


def _flat(content: Any) -> bool:
    """Whether a value is a scalar, a list of scalars, or a mapping to such values."""
    if isinstance(content, Mapping):
        return all(_flat(value) and not isinstance(value, Mapping) for value in content.values())
    if isinstance(content, Sequence) and not isinstance(content, str):
        return not any(isinstance(value, Mapping | list | tuple) for value in content)
    return True
