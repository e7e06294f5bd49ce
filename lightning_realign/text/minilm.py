"""The embedded sentence encoder, all-MiniLM-L6-v2, on torch alone.

Importing the libraries sentence-transformers or transformers takes longer than generating a motion. The tests compare
its features with those of sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from lightning_realign.files.weights import read_safetensors
from lightning_realign.text.base import EncodedCaption, FrozenTextEncoder
from lightning_realign.text.files import require_safetensors, usable

MAX_TOKENS = 256
_HEADS, _EPSILON, _SIZES = 12, 1e-12, (384, 384)
# As the library computes it: torch's own default, 1 / sqrt(size), is the next double, and changes features.
_SCALE = (_SIZES[0] // _HEADS) ** -0.5
_WORDS = "embeddings.word_embeddings.weight"


class MiniLMEncoder(FrozenTextEncoder):
    """tokens: the last hidden states. sentence: their mean, of unit length."""

    def __init__(self, name: str, weights: Mapping[str, Tensor], tokenizer: Tokenizer, device: str) -> None:
        """An encoder from the weights and the tokenizer of the published model."""
        super().__init__(name, _SIZES, MAX_TOKENS)
        # The table of words is half of the model, and a caption reads a few of its rows: they are widened alone.
        self._words = weights[_WORDS].to(device)
        self._weights = {
            key: value.to(device, torch.float64)
            for key, value in weights.items()
            if value.is_floating_point() and key != _WORDS
        }
        self._layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("encoder.layer."))
        self._tokenizer, self._device = tokenizer, device

    def _ids(self, captions: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch([text.strip() for text in captions])]

    def _token_counts(self, captions: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._ids(captions)]

    def _encode_batch(self, captions: list[str]) -> list[EncodedCaption]:
        rows = [
            ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]]
            for ids in self._ids(captions)
        ]
        states = self._states(torch.tensor(rows, device=self._device))
        sentences = F.normalize(F.normalize(states.mean(dim=1), dim=1).float().cpu(), dim=1)
        return list(map(EncodedCaption, states.float().cpu(), sentences))

    def _states(self, ids: Tensor) -> Tensor:
        """The last hidden states [B, L, E] of token ids [B, L] without padding (Devlin et al., 2019)."""
        table = self._weights
        x = (
            self._words[ids].double()
            + table["embeddings.token_type_embeddings.weight"][0]
            + table["embeddings.position_embeddings.weight"][: ids.shape[1]]
        )
        x = self._normed("embeddings.LayerNorm", x)
        for layer in range(self._layers):
            place = f"encoder.layer.{layer}"
            query, key, value = (
                self._linear(f"{place}.attention.self.{part}", x).reshape(*ids.shape, _HEADS, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            seen = F.scaled_dot_product_attention(query, key, value, scale=_SCALE).transpose(1, 2).flatten(2)
            attended = self._linear(f"{place}.attention.output.dense", seen)
            x = self._normed(f"{place}.attention.output.LayerNorm", attended + x)
            inner = F.gelu(self._linear(f"{place}.intermediate.dense", x))
            x = self._normed(f"{place}.output.LayerNorm", self._linear(f"{place}.output.dense", inner) + x)
        return x

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _normed(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, _SIZES[:1], self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], _EPSILON)


def load(name: str, folder: Path, device: str) -> MiniLMEncoder:
    """Load the encoder from the published model's folder.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    require_safetensors(folder)
    with usable(name, folder):
        tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return MiniLMEncoder(name, read_safetensors(folder / "model.safetensors"), tokenizer, device)
