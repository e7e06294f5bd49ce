"""Reward models by the family that their files are of: this project's own, and those that ReAlign and TMR published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from lightning_realign.errors import ConfigError
from lightning_realign.settings.sources import RewardFamily

if TYPE_CHECKING:
    import torch

    from lightning_realign.checkpoints.reward import RewardBundle
    from lightning_realign.rewards.reward import DualAlignmentReward

__all__ = ["FAMILIES", "load_reward", "read_reward"]

FAMILIES: tuple[RewardFamily, ...] = get_args(RewardFamily)


def read_reward(
    path: Path | str,
    family: RewardFamily = "own",
    statistics: Path | str | None = None,
    *,
    step_aware: bool | None = None,
) -> RewardBundle:
    """Read the weights of a reward model, see `load_reward` for a reward that guides.

    Args:
        path: `own`: a checkpoint of this project's trainings. `realign`: a published `SPM_*.pth` (Weng et al., AAAI
            2026). `tmr`: the folder of a published model of TMR (Petrovich et al., ICCV 2023), which holds
            `config.json` and `last_weights`.
        family: whose file it is.
        statistics: `realign`: folder of the data set's Mean.npy and Std.npy; None looks beside `path`. `tmr`: folder of
            mean.pt and std.pt; None looks where TMR's repository has them.
        step_aware: `realign` only: whether motions carry a step token; None believes the file name, and takes files of
            other names for step-aware ones.

    Raises:
        ConfigError: an unknown family, an option that the family has no use for, or one that the file name contradicts.
        CheckpointError: the file is missing, damaged, unsafe, or holds other weights.
        DataError: statistics or a configuration that are missing or unusable.
    """
    from lightning_realign.checkpoints import reward
    from lightning_realign.rewards.realign import read_realign
    from lightning_realign.rewards.tmr import read_tmr

    path = Path(path).expanduser()
    if family not in FAMILIES:
        raise ConfigError(f"reward family={family!r} is unknown; use one of {', '.join(FAMILIES)}")
    if step_aware is not None and family != "realign":
        raise ConfigError(f"reward family {family}: step_aware is {step_aware}, but its files tell; leave it out")
    if family == "own":
        if statistics is not None:
            raise ConfigError(
                f"reward family own: statistics is {statistics}, but its checkpoint holds its own; leave it out"
            )
        return reward.load_reward(path)
    folder = None if statistics is None else Path(statistics).expanduser()
    return read_tmr(path, folder) if family == "tmr" else read_realign(path, folder, step_aware)


def load_reward(
    path: Path | str,
    family: RewardFamily = "own",
    statistics: Path | str | None = None,
    *,
    device: torch.device | str = "cpu",
    text_cache: Path | str | None = None,
) -> DualAlignmentReward:
    """Load a reward that guides and scores motions.

    Args:
        path: its checkpoint, model folder or `hf://owner/name`; see `read_reward` for published files.
        family: `own`, `realign` or `tmr`.
        statistics: folder of the statistics of a published reward.
        device: where to compute.
        text_cache: folder of cached text features; None for the usual one.

    Raises:
        ConfigError: an unknown family, or an option that the family has no use for.
        CheckpointError: the file is missing, damaged, unsafe, or holds other weights.
        DataError: statistics or a configuration that are missing or unusable.
    """
    from lightning_realign.rewards.reward import DualAlignmentReward

    return DualAlignmentReward(read_reward(path, family, statistics).to(device), cache_dir=text_cache)
