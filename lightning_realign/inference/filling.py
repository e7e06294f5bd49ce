"""What a reward fills in where settings are open: giving a reward guides with it, as was measured to suit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lightning.pytorch.utilities import rank_zero_info

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.generators import MaskedGenerator
from lightning_realign.generators.base import Generator
from lightning_realign.guidance.scales import parts_of
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.guidance import FilledGuidance, GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.sources import RewardSource

# 1 / temperature of the paper's loss, for rewards that do not say theirs.
USUAL_MU = 10.0


def fill_guidance(
    guidance: GuidanceConfig | None,
    members: Sequence[DualAlignmentReward],
    source: RewardSource,
    generator: Generator | MaskedGenerator,
) -> FilledGuidance:
    """The guidance of a run: what is set, else what the first reward's folder remembers, else the defaults.

    Without a reward mu is 0 where it is open; with one it is 1 / temperature of its loss. A masked generator is guided
    at `x0` alone, and one that denoises nothing not at all. One line of the log says by what is guided.

    Args:
        guidance: the settings; None for none, filled ones stay as they are.
        members: the learned rewards.
        source: where they come from.
        generator: what is guided.

    Raises:
        ConfigError: settings that contradict each other.
        CheckpointError: the folder remembers such settings.
    """
    if guidance is None:
        return FilledGuidance()
    if isinstance(guidance, FilledGuidance):
        return guidance
    origins = {"set": guidance}
    if members:
        bundle = members[0].bundle
        origins["remembered"] = bundle.suited.guidance
        origins["default"] = _default(generator).over(_strength(bundle))
        _check_remembered(bundle, source)
    filled = _layered(origins).filled()
    parts_of(filled)
    if filled.active:
        rank_zero_info("guided by %s: %s", ", ".join(_guides(filled, source)), _told(filled, origins))
    return filled


def fill_steps(
    sampling: SamplingConfig,
    guidance: GuidanceConfig | None,
    members: Sequence[DualAlignmentReward],
    source: RewardSource,
) -> SamplingConfig:
    """The sampling with the number of steps that the first reward's folder remembers, where it is open and one guides.

    Args:
        sampling: the settings.
        guidance: the settings of the guidance, filled or not; None for none.
        members: the learned rewards.
        source: where they come from.
    """
    if guidance is None or not members:
        return sampling
    suited = members[0].bundle.suited
    guides = guidance.over(suited.guidance).over(_strength(members[0].bundle)).filled().active
    if sampling.steps is not None or suited.steps is None or not guides:
        return sampling
    rank_zero_info("sampling steps=%d (remembered by %s)", suited.steps, source.path)
    return replace(sampling, steps=suited.steps)


def _strength(bundle: RewardBundle) -> GuidanceConfig:
    """The exact case: mu = 1 / tau of the loss, under the default scale and location."""
    return GuidanceConfig(mu=USUAL_MU if bundle.temperature is None else 1 / bundle.temperature)


def _default(generator: Generator | MaskedGenerator) -> GuidanceConfig:
    """What a generator has in place of the defaults."""
    if not isinstance(generator, MaskedGenerator):
        return GuidanceConfig()
    return GuidanceConfig(location="x0") if generator.denoising_steps else GuidanceConfig(mu=0.0)


def _layered(origins: Mapping[str, GuidanceConfig]) -> GuidanceConfig:
    first, *others = origins.values()
    for other in others:
        first = first.over(other)
    return first


def _check_remembered(bundle: RewardBundle, source: RewardSource) -> None:
    suited = bundle.suited.guidance
    if suited.said:
        try:
            parts_of(suited)
        except ConfigError as error:
            raise CheckpointError(f"{source.path}: field 'guidance': {error}: write the folder again") from None


def _guides(filled: FilledGuidance, source: RewardSource) -> list[str]:
    return [*(source.paths if filled.learned else ()), *filled.strengths]


def _told(filled: FilledGuidance, origins: Mapping[str, GuidanceConfig]) -> str:
    """The settings, each after where it comes from."""
    groups: dict[str, list[str]] = {}
    for name, value in filled.said.items():
        origin = next((told for told, config in origins.items() if name in config.said), "default")
        groups.setdefault(origin, []).append(f"{name}={value}")
    return "; ".join(f"{', '.join(values)} ({origin})" for origin, values in groups.items())
