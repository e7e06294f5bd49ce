"""Captions as words with parts of speech, and the published files of word vectors."""

import pickle

import numpy as np
import pytest
import torch

from lightning_realign.errors import DataError
from lightning_realign.text.word_vectors import (
    POS_TAGS,
    SPECIAL_TAG,
    CaptionReader,
    Vocabulary,
    plain_tokens,
    read_word_vectors,
)
from tests.helpers.published_evaluators import WORDS, write_glove


def decoded(vocabulary, tokens):
    """The first `length` (word, tag) pairs of an encoded caption."""
    encoded = vocabulary.encode([tokens])
    assert encoded.words.shape == encoded.tags.shape == (1, 22)
    length = int(encoded.lengths[0])
    unk, other = vocabulary.words.index("unk"), POS_TAGS.index("OTHER")
    assert (encoded.words[0, length:] == unk).all() and (encoded.tags[0, length:] == other).all()
    return [
        (vocabulary.words[word], POS_TAGS[tag])
        for word, tag in zip(encoded.words[0, :length], encoded.tags[0, :length], strict=True)
    ]


def test_parts_of_speech_are_numbered_as_published():
    published = "VERB NOUN DET ADP NUM AUX PRON ADJ ADV Loc_VIP Body_VIP Obj_VIP Act_VIP Desc_VIP OTHER"
    assert tuple(published.split()) == POS_TAGS
    counts = {tag: sum(other == tag for other in SPECIAL_TAG.values()) for tag in POS_TAGS[9:14]}
    assert counts == {"Loc_VIP": 12, "Body_VIP": 13, "Obj_VIP": 10, "Act_VIP": 34, "Desc_VIP": 12}


def test_special_words_override_tags_and_the_unknown_is_other():
    tokens = ("a/DET", "person/NOUN", "walk/VERB", "left/ADV", "zigzag/ADV", "kick/VERB", "man/SPACE")
    assert decoded(Vocabulary(WORDS), tokens) == [
        ("sos", "OTHER"),
        ("a", "DET"),
        ("person", "NOUN"),
        ("walk", "Act_VIP"),
        ("left", "Loc_VIP"),
        ("unk", "OTHER"),  # no vector
        ("unk", "OTHER"),  # special, but no vector either
        ("man", "OTHER"),  # no such tag
        ("eos", "OTHER"),
    ]


@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 60])
def test_captions_are_cut_to_20_words_and_framed(count):
    pairs = decoded(Vocabulary(WORDS), ("the/DET",) * count)
    assert pairs[0] == ("sos", "OTHER") and pairs[-1] == ("eos", "OTHER")
    assert pairs[1:-1] == [("the", "DET")] * min(count, 20)


def test_a_learned_vocabulary_has_the_words_of_the_captions():
    vocabulary = Vocabulary.of(["A man walks, eos.", "a man's walks", "a dog"], least=2)
    assert vocabulary.words == ("sos", "eos", "unk", "a", "walks")
    assert len(Vocabulary.of(["A man walks"])) == 6
    read = CaptionReader(vocabulary, "plain")
    assert torch.equal(read(["A DOG walks!"]).words[0, :5], torch.tensor([0, 3, 2, 4, 1]))


def test_tagged_captions_need_their_tokens():
    read = CaptionReader(Vocabulary(WORDS), "tagged")
    read.prepare({"the man walked": ("the/DET", "man/NOUN", "walk/VERB")})
    assert read(["the man walked"]).lengths.tolist() == [5]
    with pytest.raises(DataError, match="'a man' has no word/POS tokens"):
        read(["the man walked", "a man"])


def test_plain_words():
    assert plain_tokens("Don't STOP--now, 2x") == ("don't/OTHER", "stop/OTHER", "now/OTHER", "2x/OTHER")


def test_published_files_are_read_by_their_index(tmp_path):
    expected = write_glove(tmp_path)
    found = read_word_vectors(tmp_path)
    assert found.vocabulary.words == WORDS
    assert torch.equal(found.vectors, torch.from_numpy(expected.astype(np.float32)))


class Hostile:
    def __reduce__(self):
        return exec, ("raise SystemExit('run')",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["our_vab_words.pkl", "our_vab_idx.pkl"])
def test_a_pickle_that_names_anything_is_refused_unread(tmp_path, name, protocol):
    write_glove(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps([Hostile()], protocol))
    with pytest.raises(DataError, match=rf"{name}: names the Python object \w+\.exec, which is refused"):
        read_word_vectors(tmp_path)
    # Not even a harmless one, and not by copyreg's table.
    (tmp_path / name).write_bytes(pickle.dumps({"walk": np.int64(3)}, protocol))
    with pytest.raises(DataError, match="refused"):
        read_word_vectors(tmp_path)


def changed(folder, name, content):
    write_glove(folder)
    path = folder / name
    if content is None:
        path.unlink()
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("our_vab_words.pkl", None, "is missing"),
        ("our_vab_idx.pkl", b"\x80\x04", "damaged"),
        ("our_vab_idx.pkl", b"P1\n.", "damaged"),  # a persistent id
        ("our_vab_words.pkl", {"walk": 0}, "no list"),
        ("our_vab_words.pkl", [*WORDS, "moonwalk"], "'moonwalk' has no row"),
        ("our_vab_words.pkl", [*WORDS, ("walk",)], "no row"),
        ("our_vab_words.pkl", [word for word in WORDS if word != "unk"], "lacks 'unk'"),
        ("our_vab_data.npy", np.zeros((3, 300)), "no row"),
        ("our_vab_data.npy", np.zeros(300), "has shape"),
        ("our_vab_data.npy", np.full((len(WORDS), 300), np.nan), "NaN"),
        ("our_vab_data.npy", np.array([None]), "cannot be read"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, name, content, message):
    changed(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as caught:
        read_word_vectors(tmp_path)
    assert "\n" not in str(caught.value)
