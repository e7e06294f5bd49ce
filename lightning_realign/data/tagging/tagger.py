"""Part-of-speech tokens `word/POS` for captions that have none, in the form of HumanML3D's caption files.

HumanML3D's tokens (Guo et al., CVPR 2022, github.com/EricGuo5513/HumanML3D) come from spaCy: hyphens are removed, only
words of letters are kept, and nouns and verbs are lemmas, except "left". If spaCy or its model is not installed, a
small tagger for the vocabulary of motion descriptions is used: a lexicon, endings, and rules on the neighbouring words.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Protocol

from lightning_realign.data.tagging.forms import noun_lemma, verb_form
from lightning_realign.data.tagging.lexicon import ADJECTIVES, ADVERBS, CLOSED, NOUN_FIRST, NOUNS, PARTICLES, VERBS

SPACY_MODEL = "en_core_web_sm"

_PIECE = re.compile(r"\w+(?:['\u2019]\w+)?|[.,;:!?()]")
_CLITIC = re.compile(r"(?:n['\u2019]t|['\u2019]\w+)$")
# Tags after which a word that may be a noun or a verb is a noun.
_BEFORE_NOUN = frozenset(("DET", "ADJ", "NUM", "ADP"))
_ADJECTIVE_ENDINGS = ("ful", "ous", "ive", "able", "ible", "less", "ical", "ish", "handed", "footed", "legged", "sided")
_NOUN_ENDINGS = ("tion", "sion", "ment", "ness", "ity", "ance", "ence", "ball", "body", "ism")
_NOT_ADVERBS = frozenset(("belly", "family", "jelly", "bully", "fly"))


class Tagger(Protocol):
    """Makes the tokens of a caption. name: what metadata.json calls it."""

    name: str

    def __call__(self, text: str) -> tuple[str, ...]:
        """The caption's tokens."""
        ...


def load_tagger() -> Tagger:
    """The tagger of spaCy with its model where both are installed, else the built-in one."""
    try:
        return SpacyTagger(importlib.import_module("spacy").load(SPACY_MODEL))
    except (ImportError, OSError):  # OSError is what spaCy raises without its model
        return BuiltInTagger()


class SpacyTagger:
    """HumanML3D's procedure with a spaCy pipeline, on the caption in lower case."""

    name = f"spacy {SPACY_MODEL}"

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def __call__(self, text: str) -> tuple[str, ...]:
        """The caption's tokens."""
        words = [word for word in self._pipeline(text.replace("-", "").lower()) if word.text.isalpha()]
        return tuple(f"{self._shown(word)}/{word.pos_}" for word in words)

    @staticmethod
    def _shown(word: Any) -> str:
        is_lemma = word.pos_ in ("NOUN", "VERB") and word.text != "left"
        return str(word.lemma_ if is_lemma else word.text)


class BuiltInTagger:
    """Tags by lexicon, ending and neighbours, from left to right.

    >>> BuiltInTagger()("A man kicks with his left leg.")
    ('a/DET', 'man/NOUN', 'kick/VERB', 'with/ADP', 'his/DET', 'left/ADJ', 'leg/NOUN')
    """

    name = "built-in"

    def __call__(self, text: str) -> tuple[str, ...]:
        """The caption's tokens."""
        sentence = _Sentence(text)
        for place in range(len(sentence.words)):
            sentence.tags.append(sentence.tag(place))
        return tuple(f"{_shown(word, tag)}/{tag}" for word, tag in zip(sentence.words, sentence.tags, strict=True))


def _shown(word: str, tag: str) -> str:
    if tag == "VERB" and word != "left":
        return verb_form(word)[0]
    return noun_lemma(word) if tag == "NOUN" else word


def _split(text: str) -> tuple[list[str], set[int]]:
    """The words that consist of letters, and the places before which there is punctuation."""
    words: list[str] = []
    breaks = {0}
    for piece in _PIECE.findall(text.replace("-", "").lower()):
        word = _CLITIC.sub("", piece)
        if word.isalpha():
            words.append(word)
        elif piece in ".,;:!?()":
            breaks.add(len(words))
    return words, breaks


class _Sentence:
    """The words of a caption, and the tags of the words before the current one."""

    def __init__(self, text: str) -> None:
        self.words, self.breaks = _split(text)
        self.tags: list[str] = []

    def word(self, place: int) -> str:
        return self.words[place] if 0 <= place < len(self.words) else ""

    def before(self, place: int) -> str:
        """The tag before a place; empty at the beginning and after punctuation."""
        return "" if place in self.breaks else self.tags[place - 1]

    def tag(self, place: int) -> str:
        word = self.words[place]
        if word == "to":
            return "PART" if self._is_base_verb(place + 1) else "ADP"
        if word in ("left", "right"):
            return self._side(place)
        if word == "back":
            return self._back(place)
        if word in PARTICLES:
            return self._particle(place)
        if word in ("forward", "backward", "straight", "clockwise", "counterclockwise", "fast", "low", "high"):
            return "ADJ" if self._noun_follows(place) and self.before(place) in ("DET", "ADJ", "NUM") else "ADV"
        if word == "one":
            return "NUM"
        if word == "her":
            return "DET" if self._noun_follows(place) else "PRON"
        return CLOSED.get(word) or self._open(place)

    def _open(self, place: int) -> str:
        """The tag of a word of the open classes (nouns, verbs, adjectives, adverbs)."""
        word, before = self.words[place], self.before(place)
        lemma, form = verb_form(word)
        is_noun = noun_lemma(word) in NOUNS
        if lemma in VERBS and is_noun:
            return self._noun_or_verb(place, form, noun_lemma(word) in NOUN_FIRST)
        if word in ADVERBS and word in ADJECTIVES:
            return "ADJ" if self._noun_follows(place) else "ADV"
        if word in ADJECTIVES and (self._noun_follows(place) or not (is_noun or lemma in VERBS)):
            return "ADJ"
        if word in ADVERBS:
            return "ADV"
        if is_noun:
            return "NOUN"
        if lemma in VERBS:
            return "NOUN" if form == "base" and before in ("DET", "ADJ") else "VERB"
        return self._unknown(place, form)

    def _unknown(self, place: int, form: str) -> str:
        """The tag of a word that is not in the lexicon."""
        word, before = self.words[place], self.before(place)
        if word.endswith(("ly", "wise", "wards", "ward")) and word not in _NOT_ADVERBS:
            return "ADV"
        if word.endswith(_NOUN_ENDINGS):
            return "NOUN"
        if word.endswith(_ADJECTIVE_ENDINGS):
            return "ADJ"
        if form in ("ing", "past"):
            return "VERB"
        if form == "s" and self._starts_clause(place):
            return "VERB"
        if before == "DET" and self.word(place + 1) and self._is_lexical_noun(place + 1):
            return "ADJ"
        return "NOUN"

    def _starts_clause(self, place: int) -> bool:
        """Whether `Xs` is probably a clause's verb: after its subject, or before an object at a new clause."""
        before = self.before(place)
        if before in ("NOUN", "PRON"):
            return not self._has_verb(place)
        return before in ("CCONJ", "ADV") and self._object_follows(place)

    def _noun_or_verb(self, place: int, form: str, noun_first: bool) -> str:
        """The tag of a word that may be a noun or a verb, such as `kicks`."""
        before, previous = self.before(place), self.word(place - 1)
        if form in ("ing", "past"):
            return "VERB"
        if before == "PART":
            return "VERB"
        if previous in ("that", "which", "who") and before:
            return "VERB"
        if before in _BEFORE_NOUN and not self._after_particle(place):
            return "NOUN"
        if before in ("AUX", "VERB"):
            return "VERB" if before == "AUX" and form == "base" and not noun_first else "NOUN"
        if before == "NOUN":
            return self._after_noun(place, form)
        if before == "CCONJ" and form == "base" and self.tags[max(place - 2, 0)] == "NOUN":
            return "NOUN"
        if noun_first:
            starts = before in ("PRON", "CCONJ", "ADV", "ADP", "") and form == "s" and place > 0
            return "VERB" if starts and self._object_follows(place) else "NOUN"
        return "VERB"

    def _after_noun(self, place: int, form: str) -> str:
        """`person walks` is a clause, `karate kicks` a compound where the clause has its verb."""
        plural = noun_lemma(self.words[place - 1]) != self.words[place - 1] or self.words[place - 1] == "people"
        if self._has_verb(place) or (form == "base" and not plural):
            return "NOUN"
        return "VERB"

    def _has_verb(self, place: int) -> bool:
        """Whether the clause has a verb before a place."""
        for earlier in range(place - 1, -1, -1):
            attributive = earlier > 0 and self.tags[earlier - 1] == "DET"  # `the standing person`
            if self.tags[earlier] in ("VERB", "AUX") and not attributive:
                return True
            if self.tags[earlier] in ("CCONJ", "SCONJ") or earlier + 1 in self.breaks:
                return False
        return False

    def _after_particle(self, place: int) -> bool:
        """Whether the word before is a verb's particle, as in `stands up`."""
        return place > 1 and self.words[place - 1] in PARTICLES and self.tags[place - 2] == "VERB"

    def _side(self, place: int) -> str:
        before = self.before(place)
        if before in ("DET", "ADJ", "NUM"):
            return "ADJ" if self._noun_follows(place) else "NOUN"
        if self._is_lexical_noun(place + 1):
            return "ADJ"
        return "NOUN" if before == "ADP" and not self._after_particle(place) else "ADV"

    def _back(self, place: int) -> str:
        if self.before(place) in ("DET", "ADJ"):
            return "ADJ" if self._noun_follows(place) else "NOUN"
        if self.before(place) in ("NOUN", "PRON", "CCONJ", "") and self.word(place + 1) in ("up", "away", "off"):
            return "ADV" if self._has_verb(place) else "VERB"
        return "ADV"

    def _particle(self, place: int) -> str:
        if self.before(place) in ("VERB", "PRON") and self.words[place] not in ("around", "about"):
            return "ADP"
        return "ADP" if self._phrase_follows(place) else "ADV"

    def _phrase_follows(self, place: int) -> bool:
        """Whether a noun phrase comes next."""
        if place + 1 in self.breaks or not self.word(place + 1):
            return False
        following = self.word(place + 1)
        if following in ("left", "right", "back", "front", "one"):
            return True
        if CLOSED.get(following) in ("DET", "PRON", "NUM") or following in ADJECTIVES - ADVERBS:
            return True
        return self._is_lexical_noun(place + 1) or verb_form(following)[1] == "ing"

    def _object_follows(self, place: int) -> bool:
        following = self.word(place + 1)
        return CLOSED.get(following) in ("DET", "PRON", "ADP", "NUM") or following in ADVERBS | PARTICLES | {"to"}

    def _noun_follows(self, place: int) -> bool:
        """Whether a noun comes next, perhaps after adjectives."""
        following = place + 1
        while following not in self.breaks and self.word(following) in ADJECTIVES - {"left", "right"}:
            if noun_lemma(self.word(following)) in NOUNS and not self._noun_follows(following):
                return True
            following += 1
        return following not in self.breaks and self._may_be_noun(following)

    def _may_be_noun(self, place: int) -> bool:
        word = self.word(place)
        if not word or word in CLOSED or word in PARTICLES or word in ADVERBS or word == "to" or word.endswith("ly"):
            return False
        return noun_lemma(word) in NOUNS or (verb_form(word)[1] in ("base", "ing") and word not in VERBS)

    def _is_lexical_noun(self, place: int) -> bool:
        """Whether a word is a noun without looking at its neighbours."""
        lemma = noun_lemma(self.word(place))
        known = lemma in NOUNS and self.word(place) not in CLOSED and lemma not in ("left", "right", "back")
        return known and place not in self.breaks and (lemma not in VERBS or lemma in NOUN_FIRST)

    def _is_base_verb(self, place: int) -> bool:
        word = self.word(place)
        if word in ("be", "have", "do"):
            return True
        return word in VERBS and word not in NOUN_FIRST and CLOSED.get(word) is None
