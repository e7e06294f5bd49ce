"""The configuration files that a command names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import yaml

from lightning_realign.errors import ConfigError
from lightning_realign.files.shipped_configs import resolve

_CONFIG_OPTIONS = ("--config", "-c")
_FILE_OPTIONS = (*_CONFIG_OPTIONS, "--data")


def config_files(words: Sequence[str]) -> list[str]:
    """The values of `--config`."""
    parts = [part for word in words for part in word.split("=", 1)]
    return [value for option, value in pairwise(parts) if option in _CONFIG_OPTIONS]


def with_shipped_configs(words: Sequence[str]) -> list[str]:
    """The words with `--config NAME` and `--data NAME` as paths, where the package has a configuration of that name."""
    resolved, before = [], ""
    for word in words:
        option, equals, value = word.partition("=")
        if before in _FILE_OPTIONS and not equals:
            word = str(resolve(word))
        elif equals and option in _FILE_OPTIONS:
            word = f"{option}={resolve(value)}"
        resolved.append(word)
        before = word
    return resolved


def check_config_files(words: Sequence[str]) -> None:
    """Name the `--config` file that is not YAML, which the parser's message does not.

    Raises:
        ConfigError: a file exists and cannot be parsed.
    """
    for path in map(Path, config_files(words)):
        try:
            if path.is_file():
                with path.open(encoding="utf-8") as file:
                    yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
