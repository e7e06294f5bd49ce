"""Step-aware reward-guided alignment (ReAlign) for text-to-motion diffusion, as a PyTorch Lightning framework.

The public names are those of `__all__`, here and in the packages. One that changes keeps working for one minor version,
with a `DeprecationWarning` that names the new one, and the change stands in CHANGELOG.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_realign.files.imports import lazy_names

if TYPE_CHECKING:
    from lightning_realign.generators import load_generator
    from lightning_realign.guidance.own_loop import RewardGuide
    from lightning_realign.guidance.sampler import RewardGuidedSampler
    from lightning_realign.inference.module import GuidedGeneration
    from lightning_realign.inference.motions import Motion
    from lightning_realign.inference.pipeline import Pipeline
    from lightning_realign.rewards import load_reward
    from lightning_realign.rewards.reward import DualAlignmentReward
    from lightning_realign.settings.guidance import GuidanceConfig
    from lightning_realign.settings.measuring import MeasuringConfig
    from lightning_realign.settings.sampling import SamplingConfig
    from lightning_realign.settings.search import ParticleConfig, SearchConfig, TravelConfig
    from lightning_realign.settings.sources import GeneratorSource, JudgeSource, RewardSource

__version__ = "0.2.0"


__all__ = [
    "DualAlignmentReward",
    "GeneratorSource",
    "GuidanceConfig",
    "GuidedGeneration",
    "JudgeSource",
    "MeasuringConfig",
    "Motion",
    "ParticleConfig",
    "Pipeline",
    "RewardGuide",
    "RewardGuidedSampler",
    "RewardSource",
    "SamplingConfig",
    "SearchConfig",
    "TravelConfig",
    "__version__",
    "load_generator",
    "load_reward",
]

# Imported on first use, so that importing the package stays light.
__getattr__ = lazy_names(
    __name__,
    {
        "DualAlignmentReward": "rewards.reward",
        "GeneratorSource": "settings.sources",
        "GuidanceConfig": "settings.guidance",
        "GuidedGeneration": "inference.module",
        "JudgeSource": "settings.sources",
        "MeasuringConfig": "settings.measuring",
        "Motion": "inference.motions",
        "ParticleConfig": "settings.search",
        "Pipeline": "inference.pipeline",
        "RewardGuide": "guidance.own_loop",
        "RewardGuidedSampler": "guidance.sampler",
        "RewardSource": "settings.sources",
        "SamplingConfig": "settings.sampling",
        "SearchConfig": "settings.search",
        "TravelConfig": "settings.search",
        "load_generator": "generators",
        "load_reward": "rewards",
    },
)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
