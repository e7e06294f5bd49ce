"""From receipts to tables."""

import pytest

from lightning_realign.evaluation.table import write_table
from lightning_realign.report.paper import paper_tables
from lightning_realign.report.receipts import read_receipts


@pytest.fixture
def tables(tmp_path):
    """From rows and settings, one receipt for each, to the paper's tables."""

    def build(*receipts, kind="table"):
        folders = [tmp_path / f"run{number}" for number in range(len(receipts))]
        for folder, (rows, settings) in zip(folders, receipts, strict=True):
            write_table(folder / f"{kind}-test.json", rows, settings)
        return paper_tables(read_receipts(folders))

    return build
