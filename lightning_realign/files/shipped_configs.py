"""Configurations and sweeps that come with the package: in a clone at its top, else inside the installed package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["configs", "sweeps"]
KINDS: tuple[Kind, ...] = ("configs", "sweeps")
_PACKAGE = Path(__file__).resolve().parents[1]


def clone_folder() -> Path | None:
    """The top of the repository, where the package is used from a clone; None where it is installed by itself."""
    clone = _PACKAGE.parent
    return clone if (clone / "setup.cfg").is_file() else None


def shipped_folder(kind: Kind) -> Path:
    """Where the files of a kind lie: `configs/` of a clone, `lightning_realign/_configs/` of an installed package."""
    clone = clone_folder()
    return _PACKAGE / f"_{kind}" if clone is None else clone / kind


def shipped_files(kind: Kind) -> dict[str, Path]:
    """All files of a kind, sorted by the name that finds them, such as `reward/synthetic.yaml`."""
    folder = shipped_folder(kind)
    return {str(path.relative_to(folder).as_posix()): path for path in sorted(folder.rglob("*.yaml"))}


def find_shipped(name: str) -> Path | None:
    """The file that a name means; None where it means none.

    Args:
        name: such as `configs/reward/synthetic.yaml`, `reward/synthetic.yaml` or `reward/synthetic`.
    """
    path = Path(name)
    if not name or path.is_absolute() or ".." in path.parts:
        return None
    for kind in KINDS:
        inner = Path(*path.parts[1:]) if path.parts[:1] == (kind,) else path
        for candidate in (inner, inner.with_name(f"{inner.name}.yaml")) if inner.name else ():
            found = shipped_folder(kind) / candidate
            if found.suffix == ".yaml" and _exists(found) and found.is_file():
                return found
    return None


def resolve(name: str | Path) -> Path:
    """An existing file as it is named, else the one that comes with the package, else the name unchanged."""
    path = Path(name)
    return path if _exists(path) else find_shipped(str(name)) or path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no name that a file could have
        return False
