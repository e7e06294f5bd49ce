"""Captions as the evaluator of Guo et al. (CVPR 2022, github.com/EricGuo5513/text-to-motion) reads them.

A caption is a sequence of words with their parts of speech, between `sos` and `eos`. A table turns words into vectors:
the published GloVe excerpt, or one that is trained with the evaluator.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from lightning_realign.errors import DataError
from lightning_realign.files.inert_pickle import DAMAGED
from lightning_realign.files.reading import load_array

_T = TypeVar("_T")

# How a caption becomes words. "tagged": the word/POS tokens of the caption files, which the published evaluators were
# trained on. "plain": the words of the text itself, so that any caption can be read.
Reading = Literal["tagged", "plain"]

START, END, UNKNOWN = "sos", "eos", "unk"
OTHER = "OTHER"
MAX_WORDS = 20
POS_TAGS = (
    *("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV"),
    *("Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", OTHER),
)
# Words that carry the motion have a tag of their own, whatever part of speech they are.
_SPECIAL = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise "
    "wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
SPECIAL_TAG = {word: tag for tag, words in _SPECIAL.items() for word in words.split()}
_TAG_INDEX = {tag: index for index, tag in enumerate(POS_TAGS)}
_WORD = re.compile(r"\w+(?:'\w+)?")

VECTORS_FILE, WORDS_FILE, INDEX_FILE = "our_vab_data.npy", "our_vab_words.pkl", "our_vab_idx.pkl"


@dataclass(frozen=True)
class WordInput:
    """B captions as numbers.

    words: [B, L] int64 rows of the table of word vectors. tags: [B, L] int64 indices of `POS_TAGS`. lengths: [B] number
    of words, `sos` and `eos` included. Beyond the length, words are `unk`.
    """

    words: Tensor
    tags: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str) -> WordInput:
        """Move to a device."""
        return WordInput(self.words.to(device), self.tags.to(device), self.lengths.to(device))


def plain_tokens(text: str) -> tuple[str, ...]:
    """The lower-case words of a text as tokens without a part of speech.

    >>> plain_tokens("A person doesn't walk.")
    ('a/OTHER', 'person/OTHER', "doesn't/OTHER", 'walk/OTHER')
    """
    return tuple(f"{word}/{OTHER}" for word in _WORD.findall(text.lower()))


class Vocabulary:
    """Words and their rows in a table of vectors.

    Args:
        words: the words in the order of the table, `sos`, `eos` and `unk` included.

    Raises:
        DataError: one of those three is missing, or a word is no text or occurs twice.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._row = {word: row for row, word in enumerate(self.words)}
        if len(self._row) != len(self.words) or not all(isinstance(word, str) for word in self.words):
            raise DataError("the vocabulary has a word twice, or entries that are no words: take the published files")
        missing = [word for word in (START, END, UNKNOWN) if word not in self._row]
        if missing:
            raise DataError(f"the vocabulary lacks {missing[0]!r}: it needs {START}, {END} and {UNKNOWN}")

    @classmethod
    def of(cls, texts: Iterable[str], least: int = 1) -> Vocabulary:
        """The words that occur at least `least` times in texts, the most frequent first."""
        counts = Counter(token.rpartition("/")[0] for text in texts for token in plain_tokens(text))
        frame = (START, END, UNKNOWN)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([*frame, *(word for word, count in ranked if count >= least and word not in frame)])

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, captions: Sequence[Sequence[str]]) -> WordInput:
        """Captions of `word/POS` tokens as numbers, at most 20 tokens of each, [B, 22].

        As published: a special word overrides its tag, an unknown tag is `OTHER`, and an unknown word is `unk/OTHER`.
        """
        shape = len(captions), MAX_WORDS + 2
        words = torch.full(shape, self._row[UNKNOWN])
        tags = torch.full(shape, _TAG_INDEX[OTHER])
        lengths = torch.zeros(len(captions), dtype=torch.int64)
        for number, tokens in enumerate(captions):
            framed = [f"{START}/{OTHER}", *tokens[:MAX_WORDS], f"{END}/{OTHER}"]
            pairs = torch.tensor([self._pair(token) for token in framed])
            words[number, : len(framed)], tags[number, : len(framed)] = pairs.unbind(dim=1)
            lengths[number] = len(framed)
        return WordInput(words, tags, lengths)

    def _pair(self, token: str) -> tuple[int, int]:
        word, _, tag = token.rpartition("/")
        if word not in self._row:
            return self._row[UNKNOWN], _TAG_INDEX[OTHER]
        return self._row[word], _TAG_INDEX.get(SPECIAL_TAG.get(word, tag), _TAG_INDEX[OTHER])


class CaptionReader:
    """Reads captions with a vocabulary.

    Args:
        vocabulary: the words that have vectors.
        reading: how a caption becomes words.
    """

    def __init__(self, vocabulary: Vocabulary, reading: Reading) -> None:
        self.vocabulary, self.reading = vocabulary, reading
        self._tokens: dict[str, tuple[str, ...]] = {}

    def prepare(self, tokens: Mapping[str, Sequence[str]]) -> None:
        """Learn the `word/POS` tokens of captions, by their texts. The reading `plain` needs none."""
        if self.reading == "tagged":
            self._tokens.update({text: tuple(own) for text, own in tokens.items()})

    def __call__(self, captions: Sequence[str]) -> WordInput:
        """Captions as numbers.

        Raises:
            DataError: the tokens of a caption are needed and unknown.
        """
        if self.reading == "plain":
            return self.vocabulary.encode([plain_tokens(text) for text in captions])
        unknown = [text for text in captions if text not in self._tokens]
        if unknown:
            raise DataError(
                f"caption {unknown[0][:60]!r} has no word/POS tokens, which this evaluator reads: prepare it with the "
                "tokens of the data set's texts/ID.txt, or use an evaluator with a learned vocabulary"
            )
        return self.vocabulary.encode([self._tokens[text] for text in captions])


@dataclass(frozen=True)
class WordVectors:
    """A vocabulary and its vectors [V, W], float32."""

    vocabulary: Vocabulary
    vectors: Tensor


def read_word_vectors(folder: Path) -> WordVectors:
    """The published GloVe excerpt: `our_vab_data.npy`, `our_vab_words.pkl`, `our_vab_idx.pkl`.

    Raises:
        DataError: a file is missing, damaged, names a Python object, or does not fit the others.
    """
    for name in (VECTORS_FILE, WORDS_FILE, INDEX_FILE):
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing: give the folder of the published GloVe files")
    table = load_array(folder / VECTORS_FILE, "word vector file")
    words, rows = _read_plain_pickle(folder / WORDS_FILE, list), _read_plain_pickle(folder / INDEX_FILE, dict)
    if table.ndim != 2:
        raise DataError(f"{folder / VECTORS_FILE}: has shape {table.shape}, expected (words, channels): copy it again")
    words = list(dict.fromkeys(words))
    order = [rows.get(word) if isinstance(word, str) else None for word in words]
    bad = [word for word, row in zip(words, order, strict=True) if type(row) is not int or not 0 <= row < len(table)]
    if bad:
        raise DataError(f"{folder}: word {bad[0]!r} has no row in {VECTORS_FILE}: take all three files from one source")
    vectors = torch.from_numpy(table.astype("float32"))[torch.tensor(order, dtype=torch.int64)]
    if not vectors.isfinite().all():
        raise DataError(f"{folder / VECTORS_FILE}: has NaN or infinite entries: copy it again")
    return WordVectors(Vocabulary(words), vectors)


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers. Everything that a pickle names is refused, so that nothing runs."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse."""
        raise _NamedObject(f"{module}.{name}")


class _NamedObject(pickle.UnpicklingError):
    """A pickle names a Python object."""


def _read_plain_pickle(path: Path, kind: type[_T]) -> _T:
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except _NamedObject as error:
        raise DataError(
            f"{path}: names the Python object {error}, which is refused unread: the published file holds plain words"
        ) from None
    except DAMAGED as error:
        raise DataError(f"{path}: is damaged or no pickle ({type(error).__name__}): copy it again") from None
    if not isinstance(content, kind):
        raise DataError(f"{path}: is damaged, it holds no {kind.__name__}: copy it again")
    return content
