"""Part-of-speech tokens of captions that have none."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_realign.data.build.caption_lines import CaptionLines
from lightning_realign.data.build.captions import CaptionFolder, CaptionTable
from lightning_realign.data.formats import parse_caption_line, read_captions
from lightning_realign.data.tagging.tagger import BuiltInTagger, load_tagger
from lightning_realign.errors import DataError

TAGS = {"ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "SCONJ", "VERB"}

# Written for these tests; the tags follow the conventions of HumanML3D's tokens.
SENTENCES = [
    "a/DET person/NOUN kick/VERB|a person kicks",
    "the/DET person/NOUN does/AUX two/NUM kick/NOUN|The person does (1, 2:) two kicks.",
    "he/PRON take/VERB a/DET step/NOUN forward/ADV and/CCONJ turn/VERB left/ADV|he takes a step forward and turns left",
    "turn/VERB to/ADP the/DET left/NOUN|turning to the left",
    "raise/VERB left/ADJ hand/NOUN|raises left hand",
    "a/DET man/NOUN pretend/VERB to/PART walk/VERB to/ADP the/DET wall/NOUN|a man pretends to walk to the wall",
    "she/PRON is/AUX lie/VERB on/ADP her/DET back/NOUN|she is lying on her back",
    "she/PRON step/VERB back/ADV|she steps back",
    "someone/PRON back/VERB up/ADP|someone backs up",
    "a/DET tired/ADJ woman/NOUN does/AUX not/PART run/VERB fast/ADV|a tired woman does not run fast",
    "the/DET stand/VERB man/NOUN place/VERB both/DET foot/NOUN together/ADV|the standing man places both feet together",
    "walk/VERB in/ADP a/DET small/ADJ circle/NOUN counterclockwise/ADV|walks in a small circle counter-clockwise",
    "man/NOUN stumble/VERB while/SCONJ wave/VERB|man stumbles while waving",
]


@pytest.fixture
def built_in(monkeypatch):
    """As without spaCy, wherever the tests run."""
    monkeypatch.setitem(sys.modules, "spacy", None)


@pytest.mark.parametrize("case", SENTENCES)
def test_built_in_tagger(case):
    expected, text = case.split("|")
    assert " ".join(BuiltInTagger()(text)) == expected


@given(st.text(max_size=60))
def test_any_text_gives_valid_tokens(text):
    """Words of letters alone, with a known tag; the same text, the same tokens."""
    tokens = BuiltInTagger()(text)
    assert tokens == BuiltInTagger()(text)
    for token in tokens:
        word, _, tag = token.rpartition("/")
        assert word.isalpha()
        assert tag in TAGS


def agreement(lines):
    """Parts of the given tokens that the built-in tagger has too, and of words alone."""
    same, words, total = 0, 0, 0
    for line in lines:
        caption = parse_caption_line(line if line.count("#") == 3 else f"{line}#0.0#0.0", "captions", 1)
        found = BuiltInTagger()(caption.text)
        assert len(found) == len(caption.tokens), caption.text
        for given_token, token in zip(caption.tokens, found, strict=True):
            total += 1
            same += token == given_token
            words += token.split("/")[0] == given_token.split("/")[0]
    return same / total, words / total


def test_agreement_with_published_tokens(test_data):
    same, words = agreement((test_data / "humanml3d_samples" / "texts" / "000000.txt").read_text().splitlines())
    assert same >= 0.95
    assert words == 1.0


def test_agreement_with_tokens_of_captured_motions(test_data):
    index = json.loads((test_data / "bandai_namco" / "index.json").read_text())
    same, words = agreement(sorted({line for motion in index for line in motion["captions"]}))
    assert same >= 0.97
    assert words >= 0.98


def test_captions_of_people_have_few_unknown_words(test_data):
    """KIT-ML's captions have no tokens; every one gets some, and nearly all have a verb."""
    motions = json.loads((test_data / "kit_ml" / "annotations.json").read_text()).values()
    texts = sorted({item["text"] for motion in motions for item in motion["annotations"]})
    tagged = [BuiltInTagger()(text) for text in texts if any(letter.isalpha() for letter in text)]
    assert len(tagged) > 6000
    assert all(tagged)
    assert sum(any(token.endswith(("/VERB", "/AUX")) for token in tokens) for tokens in tagged) > 0.97 * len(tagged)


class StandInPipeline:
    """What spaCy gives, as far as it is used."""

    def __call__(self, text):
        tags = {"left": ("VERB", "leave"), "kicks": ("VERB", "kick"), "legs": ("NOUN", "leg"), "is": ("AUX", "be")}
        for word in text.split():
            pos, lemma = tags.get(word, ("X", word))
            yield SimpleNamespace(text=word, pos_=pos, lemma_=lemma)


def test_spacy_is_used_where_it_is(monkeypatch):
    spacy = ModuleType("spacy")
    spacy.load = lambda name: {"en_core_web_sm": StandInPipeline()}[name]
    monkeypatch.setitem(sys.modules, "spacy", spacy)
    tagger = load_tagger()
    assert tagger.name == "spacy en_core_web_sm"
    assert tagger("He is kicks LEFT legs side-ways 2 .") == (
        *("he/X", "is/AUX", "kick/VERB", "left/VERB", "leg/NOUN", "sideways/X"),
    )


def test_spacy_without_its_model(monkeypatch):
    def missing(name):
        raise OSError(f"[E050] Can't find model {name!r}")

    spacy = ModuleType("spacy")
    spacy.load = missing
    monkeypatch.setitem(sys.modules, "spacy", spacy)
    assert load_tagger().name == "built-in"


def test_plain_text_files(tmp_path, built_in):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfA person walks.\r\n\r\nwaves#wave/VERB#0.0#2.5\r\n")
    (tmp_path / "b.txt").write_bytes(b"waves#wave/VERB#0.0#0.0\r\n")
    folder = CaptionFolder(tmp_path)
    assert folder.captions("b") == (tmp_path / "b.txt").read_bytes()
    assert folder.lines.pos_tagger == "given"
    assert folder.captions("a").decode().splitlines() == [
        "A person walks.#a/DET person/NOUN walk/VERB#0.0#0.0",
        "waves#wave/VERB#0.0#2.5",
    ]
    assert folder.lines.pos_tagger == "given, else built-in"
    (tmp_path / "out.txt").write_bytes(folder.captions("a"))
    assert len(read_captions(tmp_path / "out.txt")) == 2


def test_tables(tmp_path, built_in):
    path = tmp_path / "captions.csv"
    path.write_text("name,caption\na,walks\nb,runs\n")
    table = CaptionTable(path)
    assert table.captions("a") == b"walks#walk/VERB#0.0#0.0\n"
    assert table.lines.pos_tagger == "built-in"
    path.write_text("name,caption\na,walks#walk/VERB\n")
    assert CaptionTable(path).lines.pos_tagger == "given"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("123 456", "has no tokens"),
        ("walks#walk#0.0#0.0", "no part of speech"),
        ("walks#walk/VERB#0.0", "3 of 4 fields"),
        ("walks##0.0#0.0", "has no tokens"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path, built_in, line, reason):
    path = tmp_path / "a.txt"
    path.write_text(f"walks#walk/VERB#0.0#0.0\n{line}\n")
    with pytest.raises(DataError, match=f"a.txt, line 2: .*{reason}"):
        CaptionLines().read(path)
