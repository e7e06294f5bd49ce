"""Sentence encoders of the library sentence-transformers: sentence-t5-large, and saved folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lightning_realign.errors import CheckpointError
from lightning_realign.text.base import EncodedCaption, FrozenTextEncoder
from lightning_realign.text.files import loading, require_safetensors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MAX_TOKENS = 256


class SentenceEncoder(FrozenTextEncoder):
    """tokens: the transformer's last hidden states. sentence: the model's own embedding, of unit length."""

    def __init__(self, name: str, model: SentenceTransformer, sizes: tuple[int, int]) -> None:
        """Freeze `model`."""
        super().__init__(name, sizes, min(int(model.max_seq_length or MAX_TOKENS), MAX_TOKENS))
        self._model = model.double().eval().requires_grad_(False)
        self._model.max_seq_length = self.max_tokens

    def _token_counts(self, captions: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._model.tokenizer([text.strip() for text in captions])["input_ids"]]

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


def load(name: str, folder: Path, device: str) -> SentenceEncoder:
    """Load an encoder that `SentenceTransformer.save` wrote.

    Raises:
        CheckpointError: files are missing, damaged or pickled, or need code of their own.
    """
    # Imported here, since the import takes seconds, and cached features do not need it.
    from sentence_transformers import SentenceTransformer

    sizes = folder_sizes(folder)
    require_safetensors(folder)
    with loading(name, folder):
        model = SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    return SentenceEncoder(name, model, sizes)


def folder_sizes(folder: Path) -> tuple[int, int]:
    """Token size, from the transformer's config.json, and sentence size, from the last module that states one.

    Raises:
        CheckpointError: the configuration cannot be read, or names classes outside the library.
    """
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        config = json.loads((folder / modules[0]["path"] / "config.json").read_text(encoding="utf-8"))
        token = sentence = int(config["hidden_size"] if "hidden_size" in config else config["d_model"])
        # Versions of the library before 6 import such classes from a local folder, trusted or not.
        foreign = [module["type"] for module in modules if not module["type"].startswith("sentence_transformers.")]
        for module in modules[1:]:
            path = folder / module["path"] / "config.json"
            if module["type"].endswith(".Dense") and path.is_file():
                sentence = int(json.loads(path.read_text(encoding="utf-8"))["out_features"])
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder}: the text encoder's configuration cannot be read ({error!r:.80}); save the encoder again"
        ) from None
    if foreign:
        raise CheckpointError(
            f"{folder / 'modules.json'}: names the class {foreign[0]!r}, code outside sentence-transformers, which is "
            "not run; use an encoder of the library's own modules"
        )
    return token, sentence
