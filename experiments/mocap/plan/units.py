"""A unit of the study: one command whose results lie in a folder of its own."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = "{folder}"
MARK = "unit.json"


@dataclass(frozen=True)
class PlannedUnit:
    """A command whose results lie in a folder of its own.

    Attributes:
        name: of the unit and its folder.
        command: argument list in which `{folder}` stands for that folder; `python` is the running interpreter.
        needs: units that must be finished before.
        files: files that it depends on beside its command; a change of one makes it run again.
        resume: what happens to a unit that was stopped. `anew`: it begins anew. `checkpoint`: it goes on from its
            training's last.ckpt. `folder`: it runs in the folder as it was left, for commands that know by themselves
            what is done.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    resume: Literal["anew", "checkpoint", "folder"] = "anew"

    def arguments(self, folder: Path) -> list[str]:
        """The command, for a folder."""
        return [word.replace(FOLDER, str(folder)) for word in self.command]

    def line(self, out: Path) -> str:
        """The command as a user would type it."""
        return shlex.join(self.arguments(self.folder(out)))

    def folder(self, out: Path) -> Path:
        """Where its results are once it is done."""
        return out / "units" / self.name

    def part(self, out: Path) -> Path:
        """Where it works."""
        return out / "units" / f".{self.name}.part"

    def mark(self, out: Path) -> Path:
        """The file that says that it is done."""
        return self.folder(out) / MARK
