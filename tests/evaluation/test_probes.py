"""A user's own metrics beside ours: in records and receipts, from Python and from a command line."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.evaluation.paired import Side, differences
from lightning_realign.evaluation.probes import Probe, Task, measured_by, probe_metrics
from lightning_realign.evaluation.record import read_record
from lightning_realign.motion import Skeleton, load_skeleton, recover_joints
from tests.helpers.cli_bench import realign
from tests.helpers.settings import generation
from tests.inference.test_generation import SETTINGS, make_trainer


class Travelled(Probe):
    """Metres that the root travels, for captions of even length only; remembers what it was asked."""

    metrics = ("travelled", "never")

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.split, self.tasks = factor, "", list[Task]()

    def prepare(self, data, split) -> None:
        self.split = split

    def measure(self, joints: Tensor, skeleton: Skeleton, task: Task) -> dict[str, float]:
        self.tasks.append(task)
        if int(task.id) % 2:
            return {}
        return {"travelled": self.factor * (joints[-1, 0] - joints[0, 0]).norm().item()}


def test_its_values_stand_in_record_and_receipt(bench, tmp_path):
    probe = Travelled()
    model = generation(bench.generator, bench.reward, **SETTINGS, replications=2, probes=[probe])
    data = HumanML3DDataModule(bench.data, batch_size=3)
    make_trainer(tmp_path).test(model, datamodule=data, verbose=False)
    receipt = json.loads((tmp_path / "table-test.json").read_text())
    record = read_record(tmp_path)
    assert probe.split == "test"
    assert {task.id for task in probe.tasks} == set(record.ids)
    assert {task.caption for task in probe.tasks} == set(record.captions[0])
    assert receipt["settings"]["probes"] == [f"{__name__}.Travelled(factor=1.0)"]
    for system in ("real", "unguided", "guided"):
        values = record.metrics[system]["travelled"]
        assert values.isfinite().any(dim=0).tolist() == [int(sample) % 2 == 0 for sample in record.ids]
        assert receipt["systems"][system]["travelled"]["mean"] == pytest.approx(values.nanmean().item())
        assert "never" not in receipt["systems"][system]
    motion = next(iter(data.samples("test", [record.ids[0]])))
    joints = recover_joints(torch.as_tensor(motion.motion), data.skeleton)
    expected = (joints[-1, 0] - joints[0, 0]).norm().item()
    assert record.metrics["real"]["travelled"][0, 0].item() == pytest.approx(expected, abs=1e-5)
    assert "travelled" in differences(Side(record, "unguided"), Side(record, "guided"), fid=False)


@pytest.mark.parametrize("names", [("reward",), ("Skating",), ("twice", "twice"), ("a/b",)])
def test_a_name_that_cannot_stand_in_a_table_is_refused(names):
    probe = Travelled()
    probe.metrics = names
    with pytest.raises(ConfigError, match="probes: Travelled has the metric"):
        probe_metrics([probe], ("reward",))


@pytest.mark.parametrize(("name", "factor"), [("other", 1.0), ("travelled", float("nan"))])
def test_a_metric_that_it_does_not_name_or_that_is_no_number_is_refused(name, factor):
    probe = Travelled(factor)
    probe.metrics = (name,)
    with pytest.raises(ConfigError, match=r"probes: Travelled gives travelled=.* for 2; give finite values of its"):
        measured_by(probe, torch.ones(3, 22, 3), load_skeleton("humanml3d"), Task("2", "walks", None))


def test_a_command_line_names_them_by_class(bench, checkout):
    probes = [{"class_path": "tests.evaluation.test_probes.Travelled", "init_args": {"factor": 2.0}}]
    settings = {
        "trainer.default_root_dir": checkout / "run",
        "trainer.enable_progress_bar": "false",
        "data.init_args.root": bench.data,
        "model.init_args.generator.path": bench.generator,
        "model.init_args.reward.path": bench.reward,
        "model.init_args.measuring.replications": 1,
        "model.init_args.sampling.steps": 2,
        "model.init_args.probes": json.dumps(probes),
    }
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    realign("test", "--config", "configs/guided/mocap.yaml", *arguments)
    (receipt,) = (checkout / "run").glob("**/table-test.json")
    found = json.loads(receipt.read_text())
    assert found["settings"]["probes"] == ["tests.evaluation.test_probes.Travelled(factor=2.0)"]
    assert found["systems"]["guided"]["travelled"]["mean"] > 0
