"""A guard against sweeps that measure another point than they say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import yaml

from lightning_realign.errors import ConfigError

POINT_VARIABLE = "REALIGN_SWEEP_POINT"
_SECTIONS = ("model", "data", "trainer")
_PRIMITIVES = (str, int, float, bool, list, tuple, Path, type(None))


def _wandb_point() -> dict[str, Any] | None:
    """What the W&B agent asked for, from the parameter file that it writes for each run; None outside an agent."""
    if not os.environ.get("WANDB_SWEEP_ID"):
        return None
    path = Path(os.environ.get("WANDB_SWEEP_PARAM_PATH", ""))
    if not path.is_file():
        raise ConfigError(
            f"WANDB_SWEEP_PARAM_PATH is {str(path)!r}, which is not a file, so that the values asked for by sweep "
            f"{os.environ['WANDB_SWEEP_ID']} cannot be checked; start the run by `wandb agent`, or unset WANDB_SWEEP_ID"
        )
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return {name: entry["value"] for name, entry in entries.items() if isinstance(entry, Mapping) and "value" in entry}


def requested_point() -> dict[str, Any]:
    """The flat dotted names and values that a sweep asks this process for; empty outside a sweep.

    Raises:
        ConfigError: a sweep is announced, but its values cannot be read.
    """
    local = os.environ.get(POINT_VARIABLE)
    if local is None:
        return _wandb_point() or {}
    try:
        point = json.loads(local)
    except json.JSONDecodeError:
        point = None
    if not isinstance(point, dict):
        raise ConfigError(f"{POINT_VARIABLE} is {local!r}, expected a JSON object of names and values; unset it")
    return point


def _number(value: Any) -> float | None:
    """A number, also one written as text, as YAML 1.1 reads 1e-5; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def same_value(requested: Any, live: Any) -> bool:
    """Whether a live value is the requested one: numbers as numbers, sequences entry by entry, paths as text."""
    if isinstance(requested, list | tuple) and isinstance(live, list | tuple):
        return len(requested) == len(live) and all(map(same_value, requested, live))
    if isinstance(live, bool) or isinstance(requested, bool):
        return str(requested).lower() == str(live).lower()
    left, right = _number(requested), _number(live)
    if left is not None and right is not None:
        return left == right
    return str(requested) == str(live)


def _step(owner: Any, name: str) -> list[Any]:
    """What `name` means on an object: its attribute, its saved hyper-parameter, its entry; whatever exists."""
    found = []
    if isinstance(owner, Mapping):
        return [owner[name]] if name in owner else []
    if isinstance(owner, list | tuple):
        return [owner[int(name)]] if name.isdecimal() and int(name) < len(owner) else []
    if hasattr(owner, name):
        found.append(getattr(owner, name))
    saved = getattr(owner, "hparams", None)
    if isinstance(saved, Mapping) and name in saved:
        found.append(saved[name])
    return found


def live_values(owner: Any, path: Sequence[str]) -> list[Any]:
    """All primitive values that an object holds under a dotted path (without `init_args` parts)."""
    values = [owner]
    for name in path:
        values = [deeper for value in values for deeper in _step(value, name)]
    return [value for value in values if isinstance(value, _PRIMITIVES)]


class SweepGuard(L.Callback):
    """Fails a sweep point whose instantiated values are not the requested ones, before anything runs.

    Hyper-parameters stored in a checkpoint, a misspelt name or a later `--config` can silently win over a sweep's
    values, so that every point measures the same thing. This callback compares the values asked for (by the local
    runner through $REALIGN_SWEEP_POINT, or by the W&B agent through its parameter file) with the live model, data
    module and trainer, and does nothing outside a sweep.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check every requested value, on every rank.

        Raises:
            ConfigError: a value differs, or is nowhere to be found.
        """
        owners = {"model": pl_module, "data": getattr(trainer, "datamodule", None), "trainer": trainer}
        for name, requested in requested_point().items():
            self._check(name, requested, owners, trainer)

    def _check(self, name: str, requested: Any, owners: Mapping[str, Any], trainer: L.Trainer) -> None:
        section, *path = name.split(".")
        if section in _SECTIONS:
            values = live_values(owners[section], [part for part in path if part not in ("init_args", "dict_kwargs")])
        else:
            values = _global_values(name, trainer)
        if not values:
            raise ConfigError(
                f"sweep parameter {name}: asked for {requested!r}, but no such value is found on the {section}; "
                "keep the argument as an attribute or by save_hyperparameters(), or correct the name in the sweep file"
            )
        for value in values:
            if not same_value(requested, value):
                raise ConfigError(
                    f"sweep parameter {name}: asked for {requested!r}, but the {section} has {value!r}; look for a "
                    "later --config or stored hyper-parameters that override it"
                )


def _global_values(name: str, trainer: L.Trainer) -> list[Any]:
    """The values of options outside model, data and trainer."""
    if name == "seed_everything" and "PL_GLOBAL_SEED" in os.environ:
        return [os.environ["PL_GLOBAL_SEED"]]
    if name == "ckpt_path" and trainer.ckpt_path is not None:
        return [trainer.ckpt_path]
    return []
