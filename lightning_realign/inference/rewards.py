"""The rewards of a run: the learned reward, its ensemble, and the physical rewards beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lightning_realign.errors import ConfigError
from lightning_realign.guidance.scales import parts_of
from lightning_realign.motion import Skeleton
from lightning_realign.motion.skeleton.spec import require_same_skeleton
from lightning_realign.rewards import load_reward
from lightning_realign.rewards.decoded import DecodedReward
from lightning_realign.rewards.physical import physical_reward
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.rewards.weighted import FixedReward, MeanReward, ScoredReward, WeightedRewards
from lightning_realign.settings.guidance import FilledGuidance, GuidanceConfig
from lightning_realign.settings.search import SearchConfig
from lightning_realign.settings.sources import RewardSource


@dataclass(frozen=True)
class RunRewards:
    """The rewards of a run.

    source: where the learned ones come from. members: the learned ones. skeleton: the generator's. device: where to
    compute.
    """

    source: RewardSource
    members: tuple[DualAlignmentReward, ...]
    skeleton: Skeleton
    device: torch.device | str

    @property
    def first(self) -> DualAlignmentReward | None:
        """The learned reward that reads x^c and scores motions; None without members."""
        return self.members[0] if self.members else None

    @property
    def learned(self) -> ScoredReward | None:
        """The mean of the members, which ranks candidates and weighs particles; None without members."""
        return MeanReward(self.members) if len(self.members) > 1 else self.first

    def guiding(self, guidance: GuidanceConfig) -> ScoredReward | None:
        """The reward that is differentiated: the learned one, and the physical ones; None without either.

        Physical weights are absolute: mu does not multiply them.

        Raises:
            ConfigError: an unknown physical reward.
            FeatureSpecError: rewards that cannot be added up.
        """
        filled = guidance.filled()
        learned = self.learned if filled.learned else None
        if not filled.strengths:
            return learned
        members: list[ScoredReward] = []
        for name in filled.strengths:
            physical = physical_reward(name, self.skeleton)
            physical.normaliser.to(self.device)
            members.append(FixedReward(physical))
        all_physical: ScoredReward = WeightedRewards(members, list(filled.strengths.values()))
        if learned is None:
            return all_physical
        if learned.latents is not None:
            all_physical = DecodedReward(all_physical, learned.latents, learned.normaliser)
        return WeightedRewards([learned, all_physical], [1.0, 1.0])


def load_members(
    source: RewardSource, text_cache: str | None = None, device: torch.device | str = "cpu"
) -> tuple[DualAlignmentReward, ...]:
    """Load the learned rewards of a run.

    Args:
        source: where they come from.
        text_cache: folder of cached text features; None for the usual one.
        device: where to compute.

    Raises:
        CheckpointError: a file that cannot be used.
    """
    return tuple(
        load_reward(path, source.family, source.statistics, device=device, text_cache=text_cache)
        for path in source.paths
    )


def run_rewards(
    source: RewardSource,
    members: tuple[DualAlignmentReward, ...],
    skeleton: Skeleton,
    device: torch.device | str = "cpu",
) -> RunRewards:
    """The learned rewards of a run beside its generator.

    Args:
        source: where they come from.
        members: the rewards, as `load_members` gives them.
        skeleton: the generator's.
        device: where to compute.

    Raises:
        FeatureSpecError: a reward of another skeleton than the generator's, or rewards that cannot be added up.
    """
    for path, member in zip(source.paths, members, strict=True):
        require_same_skeleton(f"{path}: reward model", member.skeleton, "the generator", skeleton)
    rewards = RunRewards(source, members, skeleton, device)
    _ = rewards.learned  # rewards that cannot be added up are refused here
    return rewards


def require_reward(guidance: GuidanceConfig | None, search: SearchConfig, reward: RewardSource) -> None:
    """Refuse settings that contradict each other, before anything is loaded.

    Raises:
        ConfigError: scale, location and physical rewards do not fit each other; or scale or location is set without the
            mu that belongs to it; or mu or eta is not 0, or there are several candidates or particles, and there is no
            reward.
    """
    filled = FilledGuidance() if guidance is None else guidance.filled()
    if guidance is not None and reward.path is not None:
        guidance.require_mu()
    if reward.path is None or guidance is None or None not in (guidance.scale, guidance.location):
        parts_of(filled)
    if reward.path is not None:
        return
    needs = (
        ("particles count", search.particles.count, "weighs them"),
        ("candidates", search.candidates, "tells the best of them"),
    )
    for name, count, use in needs:
        if count > 1:
            raise ConfigError(
                f"reward path is not set, but {name} is {count}: give the checkpoint of a reward model, which {use}, "
                f"or set {name} to 1"
            )
    if filled.learned:
        raise ConfigError(
            f"reward path is not set, but mu={filled.mu} and eta={filled.eta}: give the checkpoint of a reward "
            "model, or set mu and eta to 0"
        )
