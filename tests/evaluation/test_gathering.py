"""Values per sample and their means per replication, and intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lightning_realign.evaluation.rank_gathering import MetricBoard, SampleStore, placed
from lightning_realign.report.intervals import interval
from lightning_realign.report.receipts import Receipt


def test_values_ignore_order_batches_and_repetitions():
    random = np.random.default_rng(0)
    values, ids = random.normal(size=(3, 50)), [f"{number:06d}" for number in range(50)]
    whole, parts = MetricBoard(["guided"], ["reward"]), MetricBoard(["guided"], ["reward"])
    for replication in range(3):
        whole.update("guided", "reward", torch.from_numpy(values[replication]), ids, replication)
    pairs = [(replication, sample) for replication in range(3) for sample in range(50)]
    for replication, sample in [*random.permutation(pairs).tolist(), *pairs[:40]]:
        value = torch.tensor([values[replication, sample]])
        parts.update("guided", "reward", value, [ids[sample]], replication)
    first, second = (board.compute(ids)["guided"]["reward"] for board in (whole, parts))
    np.testing.assert_array_equal(first.numpy(), values)
    assert torch.equal(first, second)


def test_samples_without_a_value_have_none():
    store = SampleStore()
    store.update(torch.empty(0, 1), [])
    assert store.gathered() is None and placed(None, ["a"]) is None
    store.update(torch.tensor([[2.0]]), ["b"], replication=4)
    found = placed(store.gathered(), ["a", "b"])
    assert found.shape == (1, 2, 1) and found[0, 0].isnan() and found[0, 1] == 2


def test_interval_is_the_fields():
    values = [0.1, 0.4, 0.2, 0.5]
    result = interval(values)
    assert result.mean == pytest.approx(np.mean(values))
    assert result.half_width == pytest.approx(1.96 * np.std(values) / 2)
    assert interval([0.3]).half_width is None


def test_table_is_written_whole_and_readable(tmp_path):
    table = {
        "real": {"reward": interval([0.5])},
        "guided": {"reward": interval([0.5, 0.7]), "seconds": interval([2.0])},
    }
    Receipt(table, {"mu": 1.0}).write(tmp_path / "run" / "table-test.json")
    stored = json.loads((tmp_path / "run" / "table-test.json").read_text())
    assert stored["systems"]["guided"]["reward"]["values"] == [0.5, 0.7]
    assert stored["systems"]["real"]["reward"]["ci95"] is None
    assert stored["settings"] == {"mu": 1.0}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["table-test.json"]
    assert "0.6000 ± 0.1386" in Receipt(table, {}).text()
