"""The tools that tell what is there: configurations, and the installation. Each imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def configs(name: str = "", copy: str | None = None, out: Path = Path()) -> None:
    """List the configurations and sweeps that come with the package, show one, or copy some to change them.

    Args:
        name: A file such as reward/synthetic.yaml, which is shown, or a part of the names that are listed.
        copy: The file, or the folder such as reward, that is copied instead, with the data configurations it names.
        out: Folder of the copies; their files must not exist yet.
    """
    from lightning_realign.cli.tools.configurations import copied, listing

    print(listing(name) if copy is None else "\n".join(str(path) for path in copied(copy, out)))


def doctor() -> None:
    """Say what is installed, which devices, caches and data sets are found, and what is missing for what."""
    from lightning_realign.cli.tools.installation import report

    print(report(Path()))


TOOLS: Mapping[str, tuple[Callable[..., Any], str | None]] = {
    "configs": (configs, "name"),
    "doctor": (doctor, None),
}
"""Name on the command line -> the tool, and the argument that needs no name."""
