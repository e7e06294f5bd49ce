"""From receipts to tables."""

import pytest

from lightning_realign.report.paper import paper_tables
from lightning_realign.report.receipts import Receipt, read_receipts


@pytest.fixture
def tables(tmp_path):
    """From rows and settings, one receipt for each, to the paper's tables."""

    def build(*receipts, kind="table"):
        folders = [tmp_path / f"run{number}" for number in range(len(receipts))]
        for folder, (rows, settings) in zip(folders, receipts, strict=True):
            Receipt(rows, settings).write(folder / f"{kind}-test.json")
        return paper_tables(read_receipts(folders))

    return build
