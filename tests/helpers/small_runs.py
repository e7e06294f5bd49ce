"""Small made-up test runs for the study's tests."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from experiments.mocap.report.analysis import Training
from lightning_realign.evaluation.record import Embeddings, Record, write_record
from lightning_realign.evaluation.scoring import score
from lightning_realign.report.receipts import Receipt

SAMPLES, DRAWS, WIDTH, TRAIN = 80, 4, 5, 400
GROUPS = 8


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_training() -> Training:
    captions = tuple(f"caption {number % GROUPS}" for number in range(TRAIN))
    return Training(captions, tuple(f"content {number % GROUPS // 2} / style" for number in range(TRAIN)))


def centres() -> torch.Tensor:
    return normal(GROUPS, WIDTH, seed=7, scale=3.0)


def a_record(gain=0.4, seed=0, rows=("real", "unguided", "guided"), draws=DRAWS, **settings) -> Record:
    """Motions around the centre of their caption; the guided ones closer than the unguided ones, of the same noise."""
    group = torch.arange(SAMPLES) % GROUPS
    text = centres()[group][None]
    noise = normal(draws, SAMPLES, WIDTH, seed=seed + 1)
    made = {
        "real": text + normal(1, SAMPLES, WIDTH, seed=2),
        "unguided": text + 0.3 + 1.5 * noise,
        "guided": text + 0.3 * (1 - gain) + (1.5 - gain) * noise,
    }
    right = (normal(draws, SAMPLES, seed=3) > 0.5).double()
    right[:, ::9] = math.nan
    figures = {
        "unguided": {"semantic_accuracy": right, "foot_skating": torch.full((draws, SAMPLES), 0.2).double()},
        "guided": {
            "semantic_accuracy": right.clamp_min(0.7).round(),
            "foot_skating": torch.full((draws, SAMPLES), 0.1),
        },
        "real": {"semantic_accuracy": torch.ones(1, SAMPLES).double(), "foot_skating": torch.zeros(1, SAMPLES)},
    }
    train = centres()[torch.arange(TRAIN) % GROUPS] + normal(TRAIN, WIDTH, seed=4)
    return Record(
        tuple(f"{number:03d}" for number in range(SAMPLES)),
        (tuple(f"caption {number % GROUPS}" for number in range(SAMPLES)),),
        torch.full((1, SAMPLES), 40),
        tuple(f"content {number % GROUPS // 2} / style" for number in range(SAMPLES)),
        draws,
        {row: figures[row] for row in rows},
        {"guo": Embeddings(text, {row: made[row] for row in rows}, {}, train)},
        {"seed": 1, **settings},
    )


def write_unit(folder: Path, name: str, files: dict[str, object], seconds=60.0) -> Path:
    run = folder / "units" / name / "logs" / "version_0"
    for file, content in files.items():
        run.mkdir(parents=True, exist_ok=True)
        (run / file).write_text(json.dumps(content))
    write_mark(folder / "units" / name, seconds)
    return run


def write_mark(unit: Path, seconds=60.0):
    unit.mkdir(parents=True, exist_ok=True)
    details = {"name": unit.name, "command": f"python train.py --trainer.default_root_dir={unit}", "seconds": seconds}
    (unit / "unit.json").write_text(json.dumps({**details, "cpu_seconds": 2 * seconds, "hardware": "2 cores"}))


def write_run(folder: Path, name: str, record: Record):
    run = write_unit(folder, name, {})
    write_record(run / "samples-test.safetensors", record)
    Receipt(score(record), record.settings).write(run / "table-test.json")
