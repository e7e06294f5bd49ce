"""Base forms of inflected English verbs and nouns, for descriptions of motions."""

from __future__ import annotations

import functools
from typing import Literal

from lightning_realign.data.tagging.lexicon import IRREGULAR_NOUNS, IRREGULAR_VERBS, NOUNS, VERBS

Form = Literal["base", "s", "ing", "past"]

_VOWELS = "aeiou"
_HISSING = ("s", "x", "z", "ch", "sh")
# Endings that are no plural or third person: `across`, `focus`, `axis`.
_NO_S = ("ss", "us", "is")


@functools.lru_cache(maxsize=4096)
def verb_form(word: str) -> tuple[str, Form]:
    """The base form of a word as a verb, and which form of the verb it is.

    >>> verb_form("stepping"), verb_form("raises"), verb_form("bent")
    (('step', 'ing'), ('raise', 's'), ('bend', 'past'))
    """
    if word in IRREGULAR_VERBS:
        form: Form = "ing" if word.endswith("ing") else "s" if word.endswith("s") else "past"
        return IRREGULAR_VERBS[word], form
    if word in VERBS or word in NOUNS:
        return word, "base"
    if len(word) > 4 and word.endswith("ing") and any(letter in "aeiouy" for letter in word[:-3]):
        return _without_ending(word[:-3]), "ing"
    if len(word) > 3 and word.endswith("ied"):
        return word[:-3] + "y", "past"
    if len(word) > 3 and word.endswith("ed") and any(letter in "aeiouy" for letter in word[:-2]):
        return _without_ending(word[:-2]), "past"
    if len(word) > 2 and word.endswith("s") and not word.endswith(_NO_S):
        return _without_s(word, VERBS), "s"
    return word, "base"


@functools.lru_cache(maxsize=4096)
def noun_lemma(word: str) -> str:
    """The singular of a word as a noun.

    >>> noun_lemma("knees"), noun_lemma("feet"), noun_lemma("circle"), noun_lemma("punches")
    ('knee', 'foot', 'circle', 'punch')
    """
    if word in IRREGULAR_NOUNS:
        return IRREGULAR_NOUNS[word]
    if word in NOUNS or len(word) < 3 or not word.endswith("s") or word.endswith(_NO_S):
        return word
    return _without_s(word, NOUNS)


def _without_s(word: str, known: frozenset[str]) -> str:
    """Take off -s, -es or -ies."""
    if word[:-1] in known:
        return word[:-1]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("es") and (word[:-2] in known or word[:-2].endswith(_HISSING)):
        # `raises`, `places`, `judges` have lost an e as well as got -s; `passes` and `catches` have not.
        return word[:-2] if word[:-2] in known or word[:-2].endswith(("ss", "x", "zz", "ch", "sh")) else word[:-1]
    return word[:-1]


def _without_ending(stem: str) -> str:
    """The base form of what remains without -ing or -ed: `stepp`, `rais`, `walk`."""
    doubled = len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS
    for base in (stem, f"{stem}e", stem[:-1] if doubled else stem):
        if base in VERBS:
            return base
    if doubled and stem[-1] not in "lsz":
        return stem[:-1]
    return f"{stem}e" if _lost_e(stem) else stem


def _lost_e(stem: str) -> bool:
    """Whether an unknown stem is likely to end in a silent e."""
    if stem.endswith(("at", "iz", "v", "rs", "ns", "c", "u", "dg", "ng")) and not stem.endswith(("eat", "oat", "ing")):
        return len(stem) > 3
    return False
