"""Commands of the study, as the product understands them."""

from __future__ import annotations

from jsonargparse import ArgumentParser

from experiments.mocap.plan.units import PlannedUnit
from lightning_realign.inference import GuidedGeneration


def module_of(unit: PlannedUnit) -> GuidedGeneration:
    """The module that a test run's own options make, without its configurations."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(GuidedGeneration, "model.init_args")
    options = [word for word in unit.command if word.startswith("--model.init_args.")]
    return parser.instantiate(parser.parse_args(options)).model.init_args
