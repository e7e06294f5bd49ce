"""The best of several motions by the reward: the one way to guide what has no denoising."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.guidance.prompts import Prompts, Sampler
from lightning_realign.rewards.reward import CleanReward
from lightning_realign.types import GeneratedMotions

# Replication numbers of a sample's further candidates lie beyond those of any run.
_STRIDE = 2**32


@dataclass(frozen=True)
class BestMotions:
    """The best of N candidates for each of B samples.

    motions: the B motions kept. chosen: [B] which candidate each is, 0 to N - 1. rewards: [B, N] the clean reward
    R_phi(x, c) of every candidate, minus infinity where it is not a number.
    """

    motions: GeneratedMotions
    chosen: Tensor
    rewards: Tensor


class BestOfN(Sampler[BestMotions]):
    """Makes N motions for each text and keeps the one with the highest clean reward, the first of equal ones.

    The first candidate is what the sampler makes without it. Each candidate's noise is of seed, id, replication and the
    candidate's number, so that the result does not depend on the batch.

    Args:
        sampler: makes the candidates, with or without the gradient's guidance.
        reward: ranks them.
        candidates: N.

    Raises:
        ConfigError: N is below 1.
    """

    def __init__(self, sampler: Sampler[GeneratedMotions], reward: CleanReward, candidates: int) -> None:
        if candidates < 1:
            raise ConfigError(f"candidates is {candidates}; set it to 1 or more")
        self.sampler = sampler
        self.reward = reward
        self.candidates = candidates

    def make(self, prompts: Prompts) -> BestMotions:
        """The best of N motions for each of B prompts."""

        def candidate(number: int) -> tuple[GeneratedMotions, Tensor]:
            made = self.sampler.make(replace(prompts, replication=prompts.replication + number * _STRIDE))
            # A motion that guidance has blown up is never the better one.
            return made, self.reward.score(made.features, made.lengths, prompts.texts).nan_to_num(nan=-torch.inf)

        best, reward = candidate(0)
        rewards, highest = [reward], reward
        for number in range(1, self.candidates):
            made, reward = candidate(number)
            best = _exchange(best, made, reward > highest)
            highest = torch.maximum(reward, highest)
            rewards.append(reward)
        table = torch.stack(rewards, dim=1)
        return BestMotions(best, table.argmax(dim=1), table)


def _exchange(kept: GeneratedMotions, made: GeneratedMotions, better: Tensor) -> GeneratedMotions:
    """`kept`, with the motions of `made` where `better` [B]."""
    features = torch.where(better.to(kept.features.device)[:, None, None], made.features, kept.features)
    rewards = torch.where(better.to(kept.rewards.device)[:, None], made.rewards, kept.rewards)
    return GeneratedMotions(features, kept.lengths, kept.timesteps, rewards)
