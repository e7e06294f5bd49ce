"""What a test run asks for, as a table: so that any method can make the motions that `SampleScoring` measures."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

from lightning_realign.data.formats import write_text_atomic
from lightning_realign.data.own_datamodule import OwnDataModule
from lightning_realign.errors import ConfigError


def write_tasks(
    root: Path, out: Path, split: Literal["val", "test"], protocol: str, replications: int, seed: int
) -> int:
    """Write the captions and lengths of all replications as CSV: `file,id,replication,frames,caption`.

    Args:
        root: the data set's folder.
        out: the table to write.
        split: the motions.
        protocol: `fixed` or `published`, see `inference.measuring.MeasuringPlan`.
        replications: independent draws.
        seed: the data module's, of captions and crops where they are drawn.

    Returns:
        The number of tasks.

    Raises:
        ConfigError: fewer than one replication.
        DataError: the data set cannot be used.
    """
    if replications < 1:
        raise ConfigError(f"replications is {replications}; set it to 1 or more")
    data = OwnDataModule(root, seed=seed)
    data.setup("test" if split == "test" else "validate")
    ids = data.ids(split)
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["file", "id", "replication", "frames", "caption"])
    for replication in range(replications):
        for task in data.samples(split, ids, replication if protocol == "published" else None):
            name = f"{task.id}_r{replication}.npy"
            table.writerow([name, task.id, replication, len(task.motion), task.caption])
    write_text_atomic(out, buffer.getvalue())
    return len(ids) * replications
