"""The text encoders of the published generators, by the library transformers: CLIP in its readings, and DistilBERT."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lightning_realign.errors import CheckpointError
from lightning_realign.text.base import EncodedCaption, FrozenTextEncoder
from lightning_realign.text.files import loading, read_config, require_safetensors

_CLIP = ("clip", "clip_text_model")
_DISTILBERT = ("distilbert",)
# OpenAI's tokenizer first repairs texts with ftfy. These are the repairs that typed captions need.
_REPAIRED = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\ufeff": None})


@dataclass(frozen=True)
class ClipReading:
    """How a generator reads a caption with CLIP (Radford et al., 2021, github.com/openai/CLIP).

    openai: whether the text is also cleaned as by OpenAI's tokenizer (HTML entities, curly quotes). max_tokens: how
    many tokens are read, start and end included; None reads the whole context, 77. A longer caption is cut, and its
    last token becomes the end of text. padded: whether the sequence is padded with token 0 to the whole context. If it
    is, `tokens` are the states of all places, and `sentence` is the one at the end of text. If not, `tokens` are the
    states of the caption alone, and `sentence` is the state at the end of text, projected. Neither is normalised.
    """

    openai: bool = True
    max_tokens: int | None = None
    padded: bool = False


class ClipTextEncoder(FrozenTextEncoder):
    """tokens: hidden states after the final layer norm. sentence: see `ClipReading`.

    CLIP's attention is causal: what follows the end of text changes neither the caption's states nor the sentence.
    Captions therefore need no padding, whatever the generator pads them with.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, reading: ClipReading, sizes: tuple[int, int]) -> None:
        """Freeze `model`, a `CLIPTextModelWithProjection`."""
        self._context = int(model.config.max_position_embeddings)
        super().__init__(name, sizes, min(reading.max_tokens or self._context, self._context))
        self._model = model.double().eval().requires_grad_(False)
        self._tokenizer, self._reading = tokenizer, reading
        self._end = int(tokenizer.eos_token_id)

    def token_ids(self, captions: Sequence[str]) -> list[list[int]]:
        """The token ids of captions as they are read: cut, start and end included, not padded."""
        return [
            ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], self._end]
            for ids in self._tokenized(captions)
        ]

    def _tokenized(self, captions: Sequence[str]) -> list[list[int]]:
        texts = [_cleaned(text) for text in captions] if self._reading.openai else list(captions)
        ids: list[list[int]] = self._tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        return ids

    def _token_counts(self, captions: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._tokenized(captions)]

    def _encode_batch(self, captions: list[str]) -> list[EncodedCaption]:
        rows = self.token_ids(captions)
        ends = [row.index(self._end) for row in rows]
        if self._reading.padded:
            rows = [[*row, *[0] * (self._context - len(row))] for row in rows]
        ids = torch.tensor(rows, device=self._model.device)
        with _default_float64():
            states = self._model.text_model(input_ids=ids).last_hidden_state
        if self._reading.padded:
            tokens = states.float().cpu()
            return [EncodedCaption(row, row[end].clone()) for row, end in zip(tokens, ends, strict=True)]
        sentences = self._model.text_projection(states[range(len(ends)), ends])
        return _rounded(states, sentences)


class DistilBertEncoder(FrozenTextEncoder):
    """tokens: last hidden states, [CLS] and [SEP] included. sentence: their mean, not normalised.

    The generators and rewards that use it (MDM's BERT decoder, TMR) read the tokens only.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, sizes: tuple[int, int]) -> None:
        """Freeze `model`, a `DistilBertModel`."""
        super().__init__(name, sizes, int(model.config.max_position_embeddings))
        self._model = model.double().eval().requires_grad_(False)
        self._tokenizer = tokenizer

    def _token_counts(self, captions: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._tokenizer(list(captions), truncation=False, verbose=False)["input_ids"]]

    def _encode_batch(self, captions: list[str]) -> list[EncodedCaption]:
        ids = self._tokenizer(captions, truncation=True, max_length=self.max_tokens, return_tensors="pt")["input_ids"]
        states = self._model(input_ids=ids.to(self._model.device)).last_hidden_state
        return _rounded(states, states.mean(dim=1))


@contextmanager
def _default_float64() -> Iterator[None]:
    """Make float64 the default type: transformers before 5 writes its lowest number into a mask of the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _rounded(tokens: torch.Tensor, sentences: torch.Tensor) -> list[EncodedCaption]:
    return [EncodedCaption(*item) for item in zip(tokens.float().cpu(), sentences.float().cpu(), strict=True)]


def _cleaned(text: str) -> str:
    return html.unescape(html.unescape(text)).translate(_REPAIRED)


def clip_sizes(folder: Path, reading: ClipReading) -> tuple[int, int]:
    """Token and sentence size of a CLIP model.

    Raises:
        CheckpointError: its configuration cannot be read.
    """
    config = read_config(folder, _CLIP)
    text = config.get("text_config", {}) if config["model_type"] == "clip" else config
    token, projected = int(text.get("hidden_size", 512)), int(text.get("projection_dim", 512))
    return token, token if reading.padded else projected


def distilbert_sizes(folder: Path) -> tuple[int, int]:
    """Token and sentence size of a DistilBERT model.

    Raises:
        CheckpointError: its configuration cannot be read.
    """
    size = int(read_config(folder, _DISTILBERT).get("dim", 768))
    return size, size


def load_clip(name: str, folder: Path, device: str, reading: ClipReading) -> ClipTextEncoder:
    """Load a CLIP model's text half.

    Raises:
        CheckpointError: if files are missing, damaged or pickled.
    """
    from transformers import CLIPTextModelWithProjection

    sizes = clip_sizes(folder, reading)
    model, tokenizer = _load(name, folder, CLIPTextModelWithProjection)
    with loading(name, folder):
        return ClipTextEncoder(name, model.to(device), tokenizer, reading, sizes)


def load_distilbert(name: str, folder: Path, device: str) -> DistilBertEncoder:
    """Load a DistilBERT model.

    Raises:
        CheckpointError: if files are missing, damaged or pickled.
    """
    from transformers import DistilBertModel

    sizes = distilbert_sizes(folder)
    model, tokenizer = _load(name, folder, DistilBertModel)
    with loading(name, folder):
        return DistilBertEncoder(name, model.to(device), tokenizer, sizes)


def _load(name: str, folder: Path, model_class: Any) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    require_safetensors(folder)
    with loading(name, folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, report = model_class.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{folder}: text encoder {name!r} lacks {len(missing)} weights, such as {missing[0]!r}; fetch it again"
        )
    return model, tokenizer
