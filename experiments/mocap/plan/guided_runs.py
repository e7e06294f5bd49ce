"""What all runs of GuidedGeneration in the study share: systems, replications, and options from settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.mocap.plan.chosen import Settings
from experiments.mocap.plan.study import Study

REPLICATIONS, ABLATION_REPLICATIONS = 20, 5
ALL_SYSTEMS = ("real", "reconstruction", "unguided", "guided")
GUIDED, UNGUIDED_TOO = ("real", "guided"), ("real", "unguided", "guided")
# 1 / temperature of the rewards' contrastive loss: where the `score` scale at x_t is exact.
INVERSE_TEMPERATURE = 10.0
EXACT: Settings = {
    "guidance.scale": "score",
    "guidance.location": "x_t",
    "guidance.mu": INVERSE_TEMPERATURE,
    "guidance.eta": 0.0,
}
# No learned reward.
ALONE: Settings = {"guidance.mu": 0.0, "guidance.eta": 0.0}
# At the end of the trajectory repeated steps narrow the law (docs/guidance.md).
TRAVEL: Settings = {"search.travel.times": 1, "search.travel.stop": 0.3}


def particles(count: int) -> Settings:
    """Settings of `count` particles; those that were copied part again only by the noise of the steps."""
    return {"search.particles.count": count, "search.particles.temperature": 0.03, "sampling.ddim_eta": 1.0}


@dataclass(frozen=True)
class Variant:
    """An ablation.

    Attributes:
        settings: what differs from the chosen settings; names of GuidedGeneration's settings, or `checkpoint`, `reward`
            and `ensemble`, whose values are names of trainings.
        systems: what is measured.
    """

    settings: Settings = field(default_factory=dict)
    systems: tuple[str, ...] = GUIDED


def rewards_of(settings: Settings) -> list[str]:
    """The trainings of the reward and of those that guide with it."""
    return [str(settings["reward"]), *map(str, settings.get("ensemble", ()))]


def guided_options(
    study: Study, generator: str, settings: Settings, systems: Sequence[str], replications: int | None
) -> list[str]:
    """A run's options on the command line.

    Args:
        study: where the trainings lie.
        generator: training of the generator.
        settings: its checkpoint and guidance, the rewards by the names of their trainings.
        systems: what is measured.
        replications: None for what the configuration says.
    """
    first, *further = (study.file(reward) for reward in rewards_of(settings))
    options: dict[str, Any] = {
        "generator.path": study.file(generator, str(settings["checkpoint"])),
        "reward.path": first,
        **({"reward.ensemble": further} if further else {}),
        **{name: value for name, value in settings.items() if "." in name},
        "measuring.systems": list(systems),
    }
    if replications is not None:
        options["measuring.replications"] = replications
    if replications is not None and replications < REPLICATIONS:
        # Thirty motions of each of a hundred captions would cost more than the replications themselves.
        options["measuring.multimodality_captions"] = 0
    return overrides(options)


def overrides(options: Mapping[str, Any]) -> list[str]:
    """Options of the model on the command line; what is no plain value is JSON, which the parser reads too."""
    texts = {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in options.items()}
    return [f"--model.init_args.{name}={text}" for name, text in texts.items()]
