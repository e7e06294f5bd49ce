"""Weights that come with the package: small models of the synthetic set, in `lightning_realign/weights/SET/MODEL`.

They are named `synthetic/generator`, whose VAE it holds, `synthetic/reward`, and the judges `synthetic/guo` and
`synthetic/tmr`. An existing path of that name comes first. `experiments/weights` makes them.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from lightning_realign.errors import CheckpointError
from lightning_realign.files.hashing import file_sha256

SHIPPED_SET = "synthetic"
WEIGHTS_FOLDER = Path(__file__).resolve().parents[1] / "weights"
MANIFEST_FILE = "manifest.json"


def shipped_weights(name: Path | str) -> Path | None:
    """The folder of a model that comes with the package, its files checked; None where the name means none.

    Args:
        name: such as `synthetic/reward`.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    parts = Path(name).parts
    if len(parts) != 2 or parts[0] != SHIPPED_SET or Path(name).exists():
        return None
    models = {Path(file).parts[0] for file in manifest()["files"]}
    if parts[1] not in models:
        raise CheckpointError(f"{name}: no such model comes with the package; it has {_listed(models)}")
    _check(parts[1])
    return WEIGHTS_FOLDER / SHIPPED_SET / parts[1]


@functools.cache
def manifest() -> dict[str, Any]:
    """What comes with the package: `files` with SHA-256, the `words` of its training captions, and `about`.

    Raises:
        CheckpointError: it is missing.
    """
    path = WEIGHTS_FOLDER / SHIPPED_SET / MANIFEST_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CheckpointError(f"{path}: is missing or damaged: install the package again") from None
    return content


@functools.cache
def _check(model: str) -> None:
    for file, digest in manifest()["files"].items():
        if Path(file).parts[0] != model:
            continue
        path = WEIGHTS_FOLDER / SHIPPED_SET / file
        if not path.is_file() or file_sha256(path) != digest:
            raise CheckpointError(f"{path}: is missing or damaged: install the package again")


def _listed(models: set[str]) -> str:
    return ", ".join(f"{SHIPPED_SET}/{model}" for model in sorted(models))


def unknown_words(text: str) -> list[str]:
    """The words of a prompt that none of the captions has from which the shipped weights learned, each once.

    Args:
        text: a prompt.
    """
    known = set(manifest()["words"])
    words = "".join(letter if letter.isalpha() else " " for letter in text.lower()).split()
    return [word for word in dict.fromkeys(words) if word not in known]
