"""The tools of `realign`: each a function, whose signature and docstring are its command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning_realign.cli.tools import data, install, measuring, motions

TOOLS: Mapping[str, tuple[Callable[..., Any], str | None]] = {
    **motions.TOOLS,
    **measuring.TOOLS,
    **install.TOOLS,
}
"""Name on the command line -> the tool, and the argument that needs no name."""
DATA_TOOLS = data.TOOLS
"""The tools behind `realign data`."""
