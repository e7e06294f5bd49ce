"""Which points a sweep tries: a grid, random points, or Optuna's tree-structured Parzen estimator for `bayes`."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from lightning_realign.errors import ConfigError
from lightning_realign.sweep.spec import Parameter, SweepSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Point = dict[str, Any]
# A search yields points and is sent each one's measurement, None where it failed.
Search = Generator[Point, float | None, None]


def _grid(spec: SweepSpec) -> Search:
    """The product of all values, the last parameter varying fastest."""
    for parameter in spec.parameters:
        if not parameter.values:
            raise ConfigError(f"{spec.path}: parameters.{parameter.name} is a range; a grid needs `value` or `values`")
    for combination in itertools.product(*(parameter.values for parameter in spec.parameters)):
        yield dict(zip((parameter.name for parameter in spec.parameters), combination, strict=True))


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values:
        # Positions stand for the choices, which may be of any type.
        return CategoricalDistribution(tuple(range(len(parameter.values))))
    if parameter.distribution == "int_uniform":
        return IntDistribution(int(parameter.low), int(parameter.high))
    log = parameter.distribution == "log_uniform_values"
    return FloatDistribution(parameter.low, parameter.high, log=log, step=parameter.step)


def _sampled(spec: SweepSpec, points: int, seed: int) -> Search:
    """Points by Optuna. The same seed and measurements give the same points, so that a sweep resumes by replaying."""
    import optuna

    random = spec.method == "random"
    sampler = (
        optuna.samplers.RandomSampler(seed=seed)
        if random
        else optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(3, points // 4))
    )
    noise = logging.getLogger("optuna")
    level = noise.level
    noise.setLevel(logging.WARNING)
    study = optuna.create_study(direction="maximize" if spec.maximise else "minimize", sampler=sampler)
    noise.setLevel(level)
    distributions = {parameter.name: _distribution(parameter) for parameter in spec.parameters}
    for _ in range(points):
        trial = study.ask(distributions)
        measured = yield {
            parameter.name: parameter.values[trial.params[parameter.name]]
            if parameter.values
            else trial.params[parameter.name]
            for parameter in spec.parameters
        }
        if measured is None or not math.isfinite(measured):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, measured)


def search(spec: SweepSpec, seed: int = 0) -> Search:
    """The points of a sweep, in order; send each one's measurement back (None where it failed).

    Raises:
        ConfigError: a grid over a range, or a random or bayes sweep without `run_cap`, which would never end.
    """
    if spec.method == "grid":
        return _grid(spec)
    if spec.run_cap is None:
        raise ConfigError(f"{spec.path}: run_cap is missing; method {spec.method} needs one to end")
    return _sampled(spec, spec.run_cap, seed)
