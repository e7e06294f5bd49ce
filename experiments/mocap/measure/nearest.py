"""x^c itself as the output: the training motion that the reward ranks first for each text of the test split.

    python -m experiments.mocap.measure.nearest --data DIR --reward FILE --out FOLDER

It is what guidance towards x^c would reach at best by copying. The motion is stretched in time to the length that is
asked for, and written in the form that `SampleScoring` reads (docs/evaluation.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lightning_realign.data import OwnDataModule
from lightning_realign.errors import ConfigError, RealignError
from lightning_realign.files.atomic import save_array_atomic
from lightning_realign.motion import recover_joints
from lightning_realign.rewards import read_reward
from lightning_realign.rewards.index import load_or_build_index
from lightning_realign.rewards.reward import DualAlignmentReward


def stretched(joints: Tensor, frames: int) -> Tensor:
    """A motion [T, J, 3] resampled linearly in time to `frames` positions; its first and last pose stay."""
    flat = joints.flatten(1).T[None]
    return interpolate(flat, size=frames, mode="linear", align_corners=True)[0].T.reshape(frames, *joints.shape[1:])


def write_nearest(
    data: Path,
    reward: Path,
    out: Path,
    replications: int = 5,
    text_cache: Path | None = None,
    index_cache: Path | None = None,
) -> dict[str, str]:
    """Write `ID_rK.npy`, joints [T + 1, J, 3], of x^c for every test id and K below `replications`.

    All replications are the same motion: they are for the pools of R-Precision, which are drawn anew in each.

    Args:
        data: the data set's folder.
        reward: checkpoint of the reward model.
        out: folder of the files.
        replications: files per id.
        text_cache: folder of cached text features; None for the usual one.
        index_cache: folder of cached retrieval indexes; None for the usual one.

    Returns:
        The id of x^c by test id.

    Raises:
        ConfigError: fewer than one replication.
        DataError: the data set cannot be used.
        CheckpointError: the reward cannot be read.
    """
    if replications < 1:
        raise ConfigError(f"--replications is {replications}; give 1 or more")
    module = OwnDataModule(data)
    module.setup()
    guide = DualAlignmentReward(read_reward(str(reward)), cache_dir=text_cache)
    index = load_or_build_index(guide.bundle, module, index_cache, progress=False)
    tasks = list(module.samples("test", module.ids("test")))
    nearest = index.query(guide.text_latents([task.caption for task in tasks])).ids
    motions = {sample.id: torch.as_tensor(sample.motion) for sample in module.samples("train", sorted(set(nearest)))}
    for task, match in zip(tasks, nearest, strict=True):
        joints = stretched(recover_joints(motions[match].double(), module.skeleton), len(task.motion) + 1)
        for replication in range(replications):
            save_array_atomic(out / f"{task.id}_r{replication}.npy", joints.float().numpy())
    return dict(zip((task.id for task in tasks), nearest, strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder of the data set")
    parser.add_argument("--reward", required=True, type=Path, help="checkpoint of the reward model")
    parser.add_argument("--out", required=True, type=Path, help="folder of the motions")
    parser.add_argument("--replications", type=int, default=5, help="files per text")
    given = parser.parse_args(arguments)
    try:
        found = write_nearest(given.data, given.reward, given.out, given.replications)
    except RealignError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"{given.out}: {len(found)} motions, {len(set(found.values()))} different ones")


if __name__ == "__main__":
    main()
