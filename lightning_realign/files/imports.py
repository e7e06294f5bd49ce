"""Imports by name: parts of a user's own, named by their path in a configuration, and public names on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from lightning_realign.errors import ConfigError

T = TypeVar("T")


def named_part(what: str, name: str, known: Mapping[str, T]) -> T:
    """A part that a configuration names: one of the project's, or a user's own by its path `package.module.Name`.

    Args:
        what: the setting, for the message.
        name: its value.
        known: the project's own parts by name.

    Raises:
        ConfigError: there is no such part.
    """
    if name in known:
        return known[name]
    module, _, attribute = name.rpartition(".")
    if not module:
        raise ConfigError(
            f"{what}={name!r} is unknown; use one of {', '.join(known)}, or the path of your own, package.module.Name"
        )
    try:
        part: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{what}={name!r} cannot be imported ({error}); its file has to lie in the folder that you start from, or "
            "be installed"
        ) from None
    found: T = part
    return found


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__` that imports its public names on first use, so that importing it stays light.

    Args:
        package: its `__name__`.
        modules: name -> module of the package that has it, relative to the package.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return get
