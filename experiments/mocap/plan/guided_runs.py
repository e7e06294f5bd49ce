"""What all runs of GuidedGeneration in the study share: rows, replications, ablations, and options from settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.mocap.plan.chosen import Settings
from experiments.mocap.plan.study import Study

REPLICATIONS, ABLATION_REPLICATIONS = 20, 5
ALL_ROWS = ("real", "reconstruction", "unguided", "guided")
GUIDED, UNGUIDED_TOO = ("real", "guided"), ("real", "unguided", "guided")
# 1 / temperature of the rewards' contrastive loss: where the `score` scale at x_t is exact.
INVERSE_TEMPERATURE = 10.0
EXACT: Settings = {"scale": "score", "location": "x_t", "mu": INVERSE_TEMPERATURE, "eta": 0.0}
# What ablations differ from, whatever was chosen: the text reward alone, at every step, `constant` as published, at the
# predicted x_0; mu as the first run's sweeps have it.
PLAIN: Settings = {"mu": 20.0, "eta": 0.0, "scale": "constant", "location": "x0", "start": 1.0, "physical": {}}
# Where predictions guided from the start overtake unguided ones (docs/results/earlier_runs.md).
LATE = 0.55
# Weights of physical rewards three times the chosen ones: by the selectors as good.
PHYSICAL: Settings = {"foot_skating": 10.0, "jerk": 0.01}
# At the end of the trajectory repeated steps narrow the law (docs/guidance.md).
TRAVEL: Settings = {"travel": 1, "travel_stop": 0.3}


@dataclass(frozen=True)
class Variant:
    """An ablation: what differs from the chosen settings, and the rows that are measured."""

    settings: Settings = field(default_factory=dict)
    rows: tuple[str, ...] = GUIDED


def rewards_of(settings: Settings) -> list[str]:
    """The units of the reward and of those that guide with it."""
    return [str(settings["reward"]), *map(str, settings.get("ensemble", ()))]


def guided_options(
    study: Study, generator: str, settings: Settings, rows: Sequence[str], replications: int | None
) -> list[str]:
    """A run's options on the command line.

    Args:
        study: where the units lie.
        generator: unit of the generator.
        settings: its checkpoint and guidance, the rewards named as units.
        rows: what is measured.
        replications: None for what the configuration says.
    """
    given, rewards = dict(settings), [study.file(reward) for reward in rewards_of(settings)]
    checkpoint = str(given.pop("checkpoint"))
    for name in ("reward", "ensemble"):
        given.pop(name, None)
    options: dict[str, Any] = {
        "generator": study.file(generator, checkpoint),
        "reward": rewards[0],
        **({"ensemble": rewards[1:]} if rewards[1:] else {}),
        **given,
        "rows": list(rows),
    }
    if replications is not None:
        options["replications"] = replications
    if replications is not None and replications < REPLICATIONS:
        # Thirty motions of each of a hundred captions would cost more than the replications themselves.
        options["multimodality_captions"] = 0
    return overrides(options)


def overrides(options: Mapping[str, Any]) -> list[str]:
    """Options of the model on the command line; what is no plain value is JSON, which the parser reads too."""
    texts = {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in options.items()}
    return [f"--model.init_args.{name}={text}" for name, text in texts.items()]
