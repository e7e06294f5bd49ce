"""What a judge shares with the reward that guides, as receipts and reports say it."""

from __future__ import annotations

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.evaluation.judges.base import Evaluator


def shared_with_reward(evaluator: Evaluator, reward: RewardBundle) -> tuple[str, ...]:
    """What a judge shares with the reward that guides: `architecture`, `training data`; empty if it shares nothing."""
    shared = {
        "architecture": evaluator.architecture == "tmr",
        # The fingerprint is empty if the training data are unknown, as those of published weights are.
        "training data": evaluator.trained_on == reward.fingerprint != "",
    }
    return tuple(name for name, same in shared.items() if same)
