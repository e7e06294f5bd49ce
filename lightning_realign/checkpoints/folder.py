"""Models as folders, here or in a repository of the Hugging Face Hub: `config.json` and `model.safetensors`.

`config.json` holds the entry that a checkpoint has beside its weights, and the number of this form; `model.safetensors`
holds the weights, by the names that they have in the checkpoint.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_realign.errors import CheckpointError, DataError
from lightning_realign.files.hashing import file_sha256
from lightning_realign.files.reading import read_json
from lightning_realign.files.shipped_weights import shipped_weights
from lightning_realign.files.weights import read_safetensors

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
VERSION_FIELD, VERSION = "format_version", 1
_COMMIT = re.compile("[0-9a-f]{40}")
# A pathlib path makes one slash of two.
_ADDRESS = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@([\w.-]+(?:/[\w.-]+)*))?")


@dataclass(frozen=True)
class Located:
    """Where a checkpoint lies on this machine.

    path: file or folder. label: what messages call it. revision: the commit of a repository on the Hub, else empty.
    """

    path: Path
    label: str
    revision: str = ""


def is_address(path: Path | str) -> bool:
    """Whether a path is written as a repository on the Hub, `hf://owner/name`, not as a place on this machine."""
    return str(path).replace("\\", "/").startswith("hf:/")


def located(path: Path | str) -> Located:
    """Where a path leads.

    `synthetic/reward` and its like come with the package. A repository,
    `hf://owner/name[@revision]`, is downloaded if it is not in the cache yet.

    In one process, an address always means the same commit, whatever happens to the repository.

    Raises:
        CheckpointError: the address is malformed, or cannot be downloaded.
    """
    if not is_address(path):
        return Located(shipped_weights(path) or Path(path), str(path))
    found = _ADDRESS.fullmatch(str(path).replace("\\", "/"))
    if found is None:
        raise CheckpointError(f"{path}: is no repository of the Hub: write hf://owner/name or hf://owner/name@revision")
    folder = _pinned(found[1], found[2])
    return Located(folder, f"hf://{found[1]}@{folder.name}", folder.name)


@functools.cache
def _pinned(repository: str, revision: str | None) -> Path:
    return download(repository, revision)


def download(
    repository: str,
    revision: str | None,
    *,
    cache_dir: Path | str | None = None,
    token: str | bool | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """The folder of a repository's model in the Hugging Face cache; its name is the commit.

    A commit that is cached needs no network. For a branch, the network is asked for the newest commit; without a
    network, the cached one is taken.

    Args:
        repository: `owner/name`.
        revision: commit, tag or branch; None is the main branch.
        cache_dir: folder of the downloads; None is the usual one.
        token: for private repositories.
        force_download: download even what is cached.
        local_files_only: use no network.

    Raises:
        CheckpointError: it is not there, or there is no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    fetch = functools.partial(
        snapshot_download,
        repository,
        revision=revision,
        allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
        cache_dir=cache_dir,
        token=token,
    )
    try:
        if _COMMIT.fullmatch(revision or "") and not force_download:
            with suppress(LocalEntryNotFoundError):
                cached = Path(fetch(local_files_only=True))
                if (cached / CONFIG_FILE).is_file() and (cached / WEIGHTS_FILE).is_file():
                    return cached
        return Path(fetch(force_download=force_download, local_files_only=local_files_only))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        address = f"hf://{repository}" + (f"@{revision}" if revision else "")
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{address}: cannot be downloaded ({reason}): check owner, name and revision, and the network, or give a "
            "folder"
        ) from None


def read_model_folder(folder: Path, entry: str, label: str) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    """The entry and the weights in a model's folder.

    Args:
        folder: the folder.
        entry: the name of the entry in `config.json`.
        label: what messages call the folder.

    Raises:
        CheckpointError: it holds no model of this project, one of another version, or damaged files.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{label}: no such checkpoint: a folder needs {CONFIG_FILE} and {WEIGHTS_FILE}, as `export-model` writes"
        )
    try:
        config = read_json(folder / CONFIG_FILE, "configuration")
    except DataError as error:
        raise CheckpointError(str(error).replace(str(folder), label, 1)) from None
    spec = config.get(entry)
    if not isinstance(spec, dict):
        raise CheckpointError(f"{label}: {CONFIG_FILE} has no {entry!r} entry, so it is no checkpoint of this project")
    if config.get(VERSION_FIELD) != VERSION:
        raise CheckpointError(
            f"{label}: {VERSION_FIELD} in {CONFIG_FILE} is {config.get(VERSION_FIELD)!r}, this version reads "
            f"{VERSION}: use the version of lightning_realign that wrote it"
        )
    if not (folder / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"{label}: {WEIGHTS_FILE} is missing: copy the whole folder again")
    return spec, read_safetensors(folder / WEIGHTS_FILE)


def checkpoint_sha256(path: Path) -> str:
    """The SHA-256 of a checkpoint file; of a folder or repository, that of its weight and configuration files."""
    path = located(path).path
    if not path.is_dir():
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(
        file for file in path.rglob("*") if file.suffix in (".pt", ".tar", ".safetensors", ".json", ".npy")
    ):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\0".encode())
    return digest.hexdigest()
