"""What a W&B sweep file says: its validation, and the command line of a point as the W&B agent builds it.

Format: docs.wandb.ai/models/sweeps/define-sweep-configuration.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from lightning_realign.errors import ConfigError

Method = Literal["grid", "random", "bayes"]
_METHODS = ("grid", "random", "bayes")
_DISTRIBUTIONS = ("constant", "categorical", "uniform", "q_uniform", "int_uniform", "log_uniform_values")
_DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_ENVIRONMENT_MACRO = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sweep.

    name: its flat dotted name. distribution: as W&B names it. values: the choices of `constant` and `categorical`.
    low, high: the inclusive range of the others. step: the grid of `q_uniform`.
    """

    name: str
    distribution: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None

    @property
    def varies(self) -> bool:
        """Whether it can take more than one value."""
        return len(self.values) > 1 or self.low < self.high


@dataclass(frozen=True)
class SweepSpec:
    """A sweep file. run_cap: the largest number of points, None if the file sets none."""

    path: Path
    method: Method
    parameters: tuple[Parameter, ...]
    metric: str
    maximise: bool
    command: tuple[str, ...]
    program: str
    run_cap: int | None

    def arguments(self, point: Mapping[str, Any]) -> list[str]:
        """The argument list that the W&B agent would run for a point, macros replaced.

        Raises:
            ConfigError: the command has a macro that is not supported here.
        """
        macros = _macros(point, self.program)
        arguments: list[str] = []
        for part in self.command:
            filled = _ENVIRONMENT_MACRO.sub(lambda match: os.environ.get(match[1], match[1]), str(part))
            if not (filled.startswith("${") and filled.endswith("}")):
                arguments.append(filled)
            elif (macro := filled[2:-1]) in macros:
                arguments += macros[macro]()
            else:
                raise ConfigError(f"{self.path}: command: macro {filled} is not supported; use {', '.join(macros)}")
        return arguments


def _macros(point: Mapping[str, Any], program: str) -> dict[str, Callable[[], list[str]]]:
    """The lists that the agent puts in place of `${NAME}`."""
    flags = [f"--{name}={value}" for name, value in point.items()]
    return {
        "env": lambda: [] if os.name == "nt" else ["/usr/bin/env"],
        "interpreter": lambda: ["python"],
        "program": lambda: [program],
        "args": lambda: flags,
        "args_no_hyphens": lambda: [flag[2:] for flag in flags],
        "args_no_equals": lambda: [part for name, value in point.items() for part in (f"--{name}", str(value))],
        "args_no_boolean_flags": lambda: _switches(point),
        "args_json": lambda: [json.dumps(dict(point))],
    }


def _switches(point: Mapping[str, Any]) -> list[str]:
    """Flags of which the boolean ones have no value: given where true, left out where false."""
    given = {name: value for name, value in point.items() if value is not False}
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]


def schema_violations(config: Mapping[str, Any]) -> list[str] | None:
    """What W&B's own JSON schema says against a sweep file.

    The schema is the one in W&B's package `sweeps` (0.3 or later), read without importing the package, which needs an
    old numpy (`pip install --no-deps sweeps`).

    Returns:
        One message per violation; None where the schema is not installed, or too old to know `run_cap`.
    """
    package = importlib.util.find_spec("sweeps")
    if package is None or importlib.util.find_spec("jsonschema") is None:
        return None
    folders = [Path(folder) / "config" / "schema.json" for folder in package.submodule_search_locations or []]
    file = next((file for file in folders if file.is_file()), None)
    schema = json.loads(file.read_text(encoding="utf-8")) if file else {}
    if "run_cap" not in schema.get("properties", {}):
        return None
    import jsonschema

    # W&B tells integers from floats by these formats.
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("float")(lambda value: isinstance(value, float))
    formats.checks("integer")(lambda value: isinstance(value, int))
    validator = jsonschema.Draft7Validator(schema, format_checker=formats)
    return [
        f"{'.'.join(map(str, error.absolute_path)) or 'file'}: {error.message}"
        for error in validator.iter_errors(config)
    ]


def _distribution(entry: Mapping[str, Any]) -> str:
    """A parameter's distribution; where none is given, the one that W&B infers from the bounds."""
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return "categorical"
    whole = all(isinstance(entry.get(bound), int) for bound in ("min", "max"))
    return str(entry.get("distribution", "int_uniform" if whole else "uniform"))


def _parameter(where: str, name: str, entry: Any) -> Parameter:
    """Read one parameter.

    Raises:
        ConfigError: it is nested, null, without values, or of a distribution that is not supported.
    """
    where = f"{where}: parameters.{name}"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} is {entry!r}; write `value:`, `values:` or `min:` and `max:`")
    if "parameters" in entry:
        raise ConfigError(f"{where} is nested, which does not survive the agent; use flat dotted names")
    if "probabilities" in entry:
        raise ConfigError(f"{where}: probabilities are not supported; leave them out or use `wandb agent`")
    kind = _distribution(entry)
    if kind not in _DISTRIBUTIONS:
        raise ConfigError(f"{where}: distribution {kind!r} is not supported; choose one of {', '.join(_DISTRIBUTIONS)}")
    if kind in ("constant", "categorical"):
        values = entry["values"] if kind == "categorical" else [entry["value"]]
        if not isinstance(values, list) or not values or any(value is None for value in values):
            raise ConfigError(f"{where}: values are {values!r}; list at least one, and no null")
        return Parameter(name, kind, values=tuple(values))
    low, high = _bound(entry, "min"), _bound(entry, "max")
    if not low < high or (kind == "log_uniform_values" and low <= 0):
        raise ConfigError(
            f"{where}: range is {entry.get('min')!r} to {entry.get('max')!r}; give numbers min < max "
            "(above 0 for log_uniform_values)"
        )
    return Parameter(name, kind, low=low, high=high, step=float(entry.get("q", 1.0)) if kind == "q_uniform" else None)


def _bound(entry: Mapping[str, Any], name: str) -> float:
    """A bound of a range; NaN, which no comparison accepts, where it is no number."""
    value = entry.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _load(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the sweep file cannot be read ({error.strerror}); check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: the sweep file is {type(config).__name__}, expected a mapping with `method`")
    return config


def _command(path: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    command = config.get("command", _DEFAULT_COMMAND)
    if not isinstance(command, Sequence) or isinstance(command, str) or not command:
        raise ConfigError(
            f"{path}: command is {command!r}; write a list such as [${{env}}, python, train.py, ${{args}}]"
        )
    if "${program}" in command and "program" not in config:
        raise ConfigError(f"{path}: program is missing, but the command needs it; name the script")
    return tuple(str(part) for part in command)


def read_sweep(path: Path) -> SweepSpec:
    """Read and validate a sweep file.

    Raises:
        ConfigError: it cannot be read, violates W&B's schema (where installed), or needs what only a server offers.
    """
    config = _load(path)
    violations = schema_violations(config)
    if violations:
        raise ConfigError(f"{path}: {violations[0]} (W&B's schema; {len(violations)} in all)")
    if config.get("method") not in _METHODS:
        raise ConfigError(f"{path}: method is {config.get('method')!r}; choose one of {', '.join(_METHODS)}")
    metric = config.get("metric")
    if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
        raise ConfigError(f"{path}: metric is {metric!r}; write `metric: {{name: NAME, goal: maximize}}`")
    goal = metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise ConfigError(f"{path}: metric.goal is {goal!r}; choose minimize or maximize")
    entries = config.get("parameters")
    if not isinstance(entries, Mapping) or not entries:
        raise ConfigError(f"{path}: parameters is {entries!r}; name at least one")
    run_cap = config.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or run_cap < 1):
        raise ConfigError(f"{path}: run_cap is {run_cap!r}; give a positive integer")
    return SweepSpec(
        path=path,
        method=cast("Method", config["method"]),
        parameters=tuple(_parameter(str(path), name, entry) for name, entry in entries.items()),
        metric=metric["name"],
        maximise=goal == "maximize",
        command=_command(path, config),
        program=str(config.get("program", "")),
        run_cap=run_cap,
    )
