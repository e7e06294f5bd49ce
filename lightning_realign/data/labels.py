"""Labels of motions, for label-aware R-Precision."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_realign.errors import DataError
from lightning_realign.files.reading import read_text

LABEL_FILE = "labels.csv"


def read_labels(path: Path) -> dict[str, str]:
    """Labels by motion id. The first column of `labels.csv` is the id; the other columns, joined, are the label.

    Raises:
        DataError: the table has no header of two or more columns, a row has another number of cells, or an id recurs.
    """
    rows = list(csv.reader(read_text(path, "label table").splitlines()))
    if not rows or len(rows[0]) < 2:
        raise DataError(f"{path}: line 1 has no header of an id and one or more labels, such as 'name,content'")
    labels: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(rows[0]):
            raise DataError(f"{path}: line {number} has {len(row)} cells, the header {len(rows[0])}; correct the line")
        if row[0] in labels:
            raise DataError(f"{path}: line {number} labels {row[0]!r} again; keep one line per motion")
        labels[row[0]] = " / ".join(row[1:])
    return labels


def attribute_labels(attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Labels of synthetic motions: their true attributes, spelt out."""
    return {sample: json.dumps(truth, sort_keys=True) for sample, truth in attributes.items()}
