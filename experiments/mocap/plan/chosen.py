"""What was chosen on the validation split, read from one small file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_realign.errors import ConfigError
from lightning_realign.files.reading import read_text

# On motion capture, and on the synthetic set.
GENERATORS = ("mld", "mdm", "synthetic")
SETTINGS = {
    "checkpoint": str,
    "reward": str,
    "sampling.cfg_scale": float,
    "sampling.steps": int,
    "guidance.mu": float,
    "guidance.eta": float,
    "guidance.scale": str,
    "guidance.location": str,
}
# What a generator may have besides: the guided window, and the weights of physical rewards.
OPTIONAL = {"guidance.start": float, "guidance.stop": float, "guidance.physical": dict}
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Chosen:
    """Settings of a generator and its guidance by generator; what single ablations have otherwise, by ablation."""

    generators: Mapping[str, Settings]
    ablations: Mapping[str, Settings]


def read_chosen(path: Path) -> Chosen:
    """The choices.

    Raises:
        ConfigError: the file is no YAML mapping, or a generator lacks a setting, has another one, or a wrong type.
    """
    try:
        content = yaml.safe_load(read_text(path, "chosen settings"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or set(content) != {*GENERATORS, "ablations"}:
        raise ConfigError(f"{path}: write the entries {', '.join(GENERATORS)} and ablations, and no others")
    ablations = content["ablations"] or {}
    if not isinstance(ablations, dict) or not all(isinstance(settings, dict) for settings in ablations.values()):
        raise ConfigError(f"{path}: ablations is {ablations!r}; write `ablations: {{NAME: {{SETTING: VALUE}}}}`")
    return Chosen({name: _settings(path, name, content[name]) for name in GENERATORS}, ablations)


def _settings(path: Path, generator: str, entry: Any) -> Settings:
    known = SETTINGS | OPTIONAL
    if not isinstance(entry, dict) or not set(SETTINGS) <= set(entry) <= set(known):
        raise ConfigError(
            f"{path}: {generator} is {entry!r}; give it {', '.join(SETTINGS)}, perhaps {', '.join(OPTIONAL)}, and no "
            "others"
        )
    for name, value in entry.items():
        kind = known[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number if kind is float else isinstance(value, kind) and not isinstance(value, bool)):
            raise ConfigError(f"{path}: {generator}.{name} is {value!r}; give a {kind.__name__}")
    return entry
