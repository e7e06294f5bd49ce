"""Text features on disk: an encoder encodes every caption once, for all runs, ranks and data sets."""

from __future__ import annotations

import json
import logging
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.files.atomic import save_bytes_atomic
from lightning_realign.files.cache import cache_folder
from lightning_realign.text.encoder import (
    EncodedCaption,
    FrozenTextEncoder,
    encoder_identity,
    load_text_encoder,
    text_sizes,
)
from lightning_realign.types import TextFeatures

logger = logging.getLogger(__name__)

_FORMAT = "1"
# Captions per shard, which an interrupted run loses at most.
_SHARD_CAPTIONS = 2048


@dataclass(frozen=True)
class _Shard:
    """n captions: tokens [N, E] one after another, offsets [n + 1], sentences [n, S], checksums [n].

    The tensors are views of the memory-mapped file. The system reads only what is used, and may drop it again.
    """

    path: Path
    tokens: Tensor
    offsets: Tensor
    sentences: Tensor
    checks: Tensor

    def read(self, row: int) -> EncodedCaption:
        """The features of one caption, as views."""
        first, last = self.offsets[row : row + 2].tolist()
        return EncodedCaption(self.tokens[first:last], self.sentences[row])

    def is_sound(self, row: int) -> bool:
        """Whether one caption's features fit their checksum."""
        return _checksum(self.read(row)) == int(self.checks[row])


def _checksum(encoded: EncodedCaption) -> int:
    return zlib.crc32(encoded.sentence.numpy().tobytes(), zlib.crc32(encoded.tokens.numpy().tobytes()))


class CachedTextEncoder:
    """A text encoder that reads its features from disk, and loads the real encoder only for captions that are missing.

    Several processes may share a cache folder: shards have unique names, are written atomically, and never change. A
    damaged shard is ignored with a warning, and its captions are encoded again.

    Memory holds only where each caption's features are; the features of a large data set take many gigabytes.
    """

    def __init__(self, name: str, cache_dir: Path | str | None = None) -> None:
        """A cache for the encoder `name`; nothing is loaded yet.

        Args:
            name: as `load_text_encoder` takes it.
            cache_dir: where features are kept; None for the usual folder, see `cache_folder`.

        Raises:
            ConfigError: the encoder's name is unknown.
        """
        self.name = name
        self.token_size, self.sentence_size = text_sizes(name)
        self.identity = encoder_identity(name)
        self.folder = cache_folder("text", cache_dir) / self.identity
        self._encoder: FrozenTextEncoder | None = None
        self._known: set[Path] = set()
        self._places: dict[str, list[tuple[_Shard, int]]] = {}
        self._sound: dict[str, tuple[_Shard, int]] = {}

    def __reduce__(self) -> tuple[type[CachedTextEncoder], tuple[str, Path]]:
        """Copies and other processes read the folder again; copying mapped files would read them into memory."""
        return CachedTextEncoder, (self.name, self.folder.parent)

    def __call__(self, captions: Sequence[str]) -> TextFeatures:
        """Features of B captions, float32 on the CPU; tokens are padded with zeros to the longest caption."""
        self.prepare(captions, progress=False)
        encoded = [shard.read(row) for shard, row in map(self._sound.__getitem__, captions)]
        lengths = [len(item.tokens) for item in encoded]
        tokens = torch.zeros(len(encoded), max(lengths, default=0), self.token_size)
        for row, item in enumerate(encoded):
            tokens[row, : lengths[row]] = item.tokens
        sentence = torch.zeros(len(encoded), self.sentence_size)
        if encoded:
            torch.stack([item.sentence for item in encoded], out=sentence)
        return TextFeatures(tokens, torch.tensor(lengths, dtype=torch.int64), sentence)

    def prepare(self, captions: Iterable[str], progress: bool = True) -> None:
        """Make sure that the features of all captions are on disk, and sound.

        Args:
            captions: any number, in any order, repeated or not.
            progress: whether to show a progress bar while encoding.

        Raises:
            CheckpointError: captions are missing, and the encoder's weights cannot be loaded.
            ConfigError: the cache folder cannot be written.
        """
        if not (missing := self._missing(captions)):
            return
        self._scan()
        missing = self._missing(missing)
        if missing:
            self._encode(missing, progress)

    def _missing(self, captions: Iterable[str]) -> list[str]:
        return [
            caption for caption in dict.fromkeys(captions) if caption not in self._sound and not self._find(caption)
        ]

    def _find(self, caption: str) -> bool:
        """Whether the shards hold sound features of a caption."""
        places = self._places.get(caption, [])
        while places:
            shard, row = places[-1]
            if shard.is_sound(row):
                self._sound[caption] = places[-1]
                return True
            logger.warning("%s: the features of %r are damaged; they are encoded again", shard.path, caption[:80])
            places.pop()
        return False

    def _scan(self) -> None:
        """Index the shards that are new since the last scan, such as those of other ranks."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path not in self._known:
                self._known.add(path)
                self._index(path)

    def _index(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                captions = json.loads((file.metadata() or {})["captions"])
                shard = _Shard(path, *(file.get_tensor(name) for name in ("tokens", "offsets", "sentences", "checks")))
            self._check(shard, len(captions))
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
            logger.warning("%s: damaged text features are ignored (%s); delete the file", path, reason)
            return
        for row, caption in enumerate(captions):
            self._places.setdefault(caption, []).append((shard, row))

    def _check(self, shard: _Shard, count: int) -> None:
        offsets = shard.offsets
        fits = (
            shard.sentences.shape == (count, self.sentence_size)
            and shard.checks.shape == (count,)
            and offsets.shape == (count + 1,)
            and shard.tokens.shape == (int(offsets[-1]), self.token_size)
            and int(offsets[0]) == 0
            and bool((offsets.diff() >= 0).all())
        )
        if not fits:
            raise ValueError("its tensors do not fit each other or the encoder")

    def _encode(self, captions: list[str], progress: bool) -> None:
        from tqdm.auto import tqdm

        if self._encoder is None:
            self._encoder = load_text_encoder(self.name)
        # Sorted by length, a shard's captions fall into few groups of equal token counts, hence large batches.
        ordered = sorted(captions, key=lambda caption: (len(caption), caption))
        with tqdm(total=len(ordered), desc=f"encoding captions ({self.name})", disable=not progress) as bar:
            for first in range(0, len(ordered), _SHARD_CAPTIONS):
                part = ordered[first : first + _SHARD_CAPTIONS]
                self._write(part, self._encoder.encode(part))
                bar.update(len(part))
        self._scan()
        for caption in captions:
            if not self._find(caption):
                raise ConfigError(f"{self.folder}: features just written cannot be read back; choose another cache_dir")

    def _write(self, captions: Sequence[str], encoded: Sequence[EncodedCaption]) -> None:
        from safetensors.torch import save

        counts = torch.tensor([0] + [len(item.tokens) for item in encoded], dtype=torch.int64)
        tensors = {
            "tokens": torch.cat([item.tokens for item in encoded]),
            "offsets": counts.cumsum(0),
            "sentences": torch.stack([item.sentence for item in encoded]),
            "checks": torch.tensor([_checksum(item) for item in encoded], dtype=torch.int64),
        }
        metadata = {"captions": json.dumps(list(captions)), "encoder": self.identity, "format": _FORMAT}
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        try:
            save_bytes_atomic(path, save(tensors, metadata))
        except OSError as error:
            raise ConfigError(
                f"{self.folder}: text features cannot be written ({error.strerror}); set cache_dir or REALIGN_CACHE"
            ) from None
