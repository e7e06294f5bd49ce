"""What rewards a run: the learned reward, its ensemble, and the physical rewards beside it, from a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.guidance import (
    DecodedReward,
    DualAlignmentReward,
    FixedReward,
    GuidanceConfig,
    MeanReward,
    WeightedRewards,
)
from lightning_realign.motion import Skeleton, skeleton_label, skeleton_reference
from lightning_realign.rewards import Family as RewardFamily
from lightning_realign.rewards import load_reward
from lightning_realign.rewards.physical import PHYSICAL_REWARDS
from lightning_realign.rewards.weighted import ScoredReward


@dataclass(frozen=True)
class RunRewards:
    """The rewards of a run.

    members: the learned ones; the first reads x^c. learned: their mean, which ranks candidates and weighs particles;
    None without members. guiding: what the gradient is taken of, the physical ones included; None without guidance.
    """

    members: tuple[DualAlignmentReward, ...]
    learned: ScoredReward | None
    guiding: ScoredReward | None


def build_reward(
    paths: Sequence[Path | str],
    guidance: GuidanceConfig,
    skeleton: Skeleton,
    *,
    family: RewardFamily = "own",
    statistics: Path | str | None = None,
    text_cache: Path | str | None = None,
    device: torch.device | str = "cpu",
) -> RunRewards:
    """Load learned rewards and add them up, with the physical ones that guide.

    Args:
        paths: checkpoints of the learned rewards, see `reward_paths`.
        guidance: strengths; its physical weights are absolute, so mu does not multiply them.
        skeleton: the generator's.
        family: kind of the files, see `load_reward`.
        statistics: likewise.
        text_cache: folder of cached text features; None for the usual one.
        device: where to compute.

    Raises:
        CheckpointError: a file that cannot be used.
        FeatureSpecError: a reward of another skeleton than the generator's, or rewards that cannot be added up.
    """
    members = tuple(
        DualAlignmentReward(load_reward(path, family, statistics).to(device), cache_dir=text_cache) for path in paths
    )
    for path, member in zip(paths, members, strict=True):
        if member.skeleton != skeleton_reference(skeleton):
            raise FeatureSpecError(
                f"{path}: reward model of skeleton {skeleton_label(member.skeleton)!r} beside a generator of skeleton "
                f"{skeleton_label(skeleton_reference(skeleton))!r}; use checkpoints of one skeleton"
            )
    learned: ScoredReward | None = None
    if members:
        learned = members[0] if len(members) == 1 else MeanReward(members)
    return RunRewards(members, learned, _guiding(learned if guidance.learned else None, guidance, skeleton, device))


def _guiding(
    learned: ScoredReward | None, guidance: GuidanceConfig, skeleton: Skeleton, device: torch.device | str
) -> ScoredReward | None:
    """The learned reward and the physical ones; without a physical one it is the learned one itself."""
    if not guidance.strengths:
        return learned
    members: list[ScoredReward] = []
    for name in guidance.strengths:
        physical = PHYSICAL_REWARDS[name](skeleton)
        physical.normaliser.to(device)
        members.append(FixedReward(physical))
    all_physical: ScoredReward = WeightedRewards(members, list(guidance.strengths.values()))
    if learned is None:
        return all_physical
    if learned.latents is not None:
        all_physical = DecodedReward(all_physical, learned.latents, learned.normaliser)
    return WeightedRewards([learned, all_physical], [1.0, 1.0])


def reward_paths(reward: Path | str | None, ensemble: Sequence[Path | str] | None) -> tuple[Path | str, ...]:
    """The checkpoints of all learned rewards.

    Args:
        reward: the one that reads x^c and scores motions; None for none.
        ensemble: further ones.

    Raises:
        ConfigError: further ones without a first.
    """
    further = tuple(ensemble or ())
    if reward is None:
        if further:
            raise ConfigError(
                f"reward is not set, but ensemble is {[str(path) for path in further]}: give the first one as reward"
            )
        return ()
    return reward, *further


def require_reward(
    guidance: GuidanceConfig, reward: Path | str | None, candidates: int = 1, particles: int = 1
) -> None:
    """Refuse guidance without a reward.

    Raises:
        ConfigError: mu or eta is not 0, or there are several candidates or particles, and there is no reward; or none
            of either.
    """
    several = (("particles", particles, "weighs them"), ("candidates", candidates, "tells the best of them"))
    for name, count, use in several:
        if count < 1:
            raise ConfigError(f"{name} is {count}; set it to 1 or more")
        if count > 1 and reward is None:
            raise ConfigError(
                f"reward is not set, but {name} is {count}: give the checkpoint of a reward model, which {use}, or set "
                f"{name} to 1"
            )
    if guidance.learned and reward is None:
        raise ConfigError(
            f"reward is not set, but mu={guidance.mu} and eta={guidance.eta}: give the checkpoint of a reward model, "
            "or set mu and eta to 0"
        )
