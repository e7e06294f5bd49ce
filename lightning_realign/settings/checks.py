"""Checks that several settings share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from lightning_realign.errors import ConfigError


def check_finite(what: str, values: Mapping[str, float]) -> None:
    """Refuse numbers that are NaN or infinite.

    Raises:
        ConfigError: one is.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise ConfigError(f"{what}{name}={value} is not finite; give a number")


def check_choice(what: str, value: str | None, allowed: Any) -> None:
    """Refuse a value that is none of a Literal's; None is allowed.

    Raises:
        ConfigError: the value is unknown.
    """
    if value is not None and value not in get_args(allowed):
        raise ConfigError(f"{what}={value!r} is unknown; use one of {', '.join(get_args(allowed))}")


def check_least(what: str, value: int, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        ConfigError: it is below `least`.
    """
    if value < least:
        raise ConfigError(f"{what} is {value}; set it to {least} or more")
