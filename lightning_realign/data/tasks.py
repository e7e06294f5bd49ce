"""The table of all motions that a test run needs, so that any method can make them and `SampleScoring` measure them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lightning_realign.data.datamodule import OwnDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.hashing import stable_key


def repeated(ids: Sequence[str], captions: int, seed: int) -> set[str]:
    """The ids whose captions MultiModality is measured on: `captions` of the `ids`, chosen by the seed alone."""
    return set(sorted(ids, key=lambda sample: stable_key(f"multimodality:{seed}:{sample}"))[:captions])


def write_tasks(
    root: Path,
    out: Path,
    split: Literal["val", "test"],
    protocol: str,
    replications: int,
    captions: int,
    repeats: int,
    seed: int,
    max_length: int = 200,
) -> int:
    """Write the motions of a test as CSV: `file,id,frames,caption`.

    `ID_rK.npy` is replication K of every id; `ID_mK.npy` is repeat K of the captions of MultiModality.

    Args:
        root: the data set's folder.
        out: the table to write.
        split: the split to measure.
        protocol: `fixed` or `published` captions and crops.
        replications: number of independent repetitions.
        captions: how many captions MultiModality is measured on; 0 for none.
        repeats: motions of each of those captions.
        seed: the data module's seed, for captions and crops that are drawn, and for the choice of those captions.
        max_length: the data module's.

    Returns:
        The number of tasks.

    Raises:
        ConfigError: fewer than one replication.
        DataError: the data set cannot be used.
    """
    for name, value, least in (("replications", replications, 1), ("captions", captions, 0), ("repeats", repeats, 1)):
        if value < least:
            raise ConfigError(f"{name} is {value}; set it to {least} or more")
    data = OwnDataModule(root, seed=seed, max_length=max_length)
    data.setup("test" if split == "test" else "validate")
    ids = data.ids(split)
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["file", "id", "frames", "caption"])
    for replication in range(replications):
        for task in data.samples(split, ids, replication if protocol == "published" else None):
            table.writerow([f"{task.id}_r{replication}.npy", task.id, len(task.motion), task.caption])
    chosen = repeated(ids, captions, seed)
    for task in data.samples(split, [sample for sample in ids if sample in chosen]):
        for repeat in range(repeats):
            table.writerow([f"{task.id}_m{repeat}.npy", task.id, len(task.motion), task.caption])
    write_text_atomic(out, buffer.getvalue())
    return len(ids) * replications + len(chosen) * repeats
