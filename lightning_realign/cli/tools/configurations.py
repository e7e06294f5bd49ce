"""The configurations and sweeps that come with the package: listed, shown and copied."""

from __future__ import annotations

from pathlib import Path

import yaml

from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.shipped_configs import KINDS, find_shipped, shipped_files, shipped_folder


def listing(name: str) -> str:
    """One configuration's text where `name` means one, else a line for each whose name holds `name`.

    Raises:
        ConfigError: there is none.
    """
    found = find_shipped(name)
    if found is not None:
        return found.read_text(encoding="utf-8").rstrip()
    lines = []
    for kind in KINDS:
        chosen = {f"{kind}/{file}": path for file, path in shipped_files(kind).items() if name in f"{kind}/{file}"}
        width = max(map(len, chosen), default=0)
        lines += [f"{file:<{width}}  {described(path)}" for file, path in chosen.items()]
    if not lines:
        raise ConfigError(f"configs: no configuration is named {name!r}; `realign configs` lists them all")
    return "\n".join(lines)


def described(path: Path) -> str:
    """What a file's header says of it: its first comment line that is no launch line."""
    comments = [line.removeprefix("#").strip() for line in _header(path)]
    return next((line for line in comments if not line.startswith(("python ", "wandb ", "Without a server:"))), "")


def _header(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[: next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))]


def copied(name: str, out: Path) -> list[Path]:
    """Copy a configuration, or all of a folder such as `reward`, and the configurations of data that they name.

    The copies lie below `out` as they lie in the package, so that relative names in them mean the same.

    Returns:
        The new files.

    Raises:
        ConfigError: there is no such configuration, or a file of that name exists already.
    """
    sources = _chosen(name)
    for source in list(sources.values()):
        for wanted in _data_of(source):
            sources[str(wanted.relative_to(shipped_folder("configs")))] = wanted
    targets = {out / file: source for file, source in sorted(sources.items())}
    for target in targets:
        if target.exists():
            raise ConfigError(f"out: {target} exists already; choose another folder, or remove it")
    for target, source in targets.items():
        write_text_atomic(target, source.read_text(encoding="utf-8"))
    return list(targets)


def _chosen(name: str) -> dict[str, Path]:
    """The files that a name means, by where they lie in the folder of their kind."""
    found = find_shipped(name)
    if found is not None:
        kind = next(kind for kind in KINDS if found.is_relative_to(shipped_folder(kind)))
        return {str(found.relative_to(shipped_folder(kind))): found}
    folder = name.removeprefix("configs").strip("/")
    prefix = f"{folder}/" if folder else ""
    chosen = {file: path for file, path in shipped_files("configs").items() if name and file.startswith(prefix)}
    if not chosen:
        raise ConfigError(
            f"copy is {name!r}, which means no configuration; give one such as reward/synthetic.yaml, or a folder such "
            "as reward (`realign configs` lists them)"
        )
    return chosen


def _data_of(source: Path) -> list[Path]:
    content = yaml.safe_load(source.read_text(encoding="utf-8"))
    data = content.get("data") if isinstance(content, dict) else None
    return [(source.parent / data).resolve()] if isinstance(data, str) else []
