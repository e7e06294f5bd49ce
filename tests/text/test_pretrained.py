"""The published generators' text encoders: against OpenAI's code (golden numbers) and against transformers itself."""

import logging
from pathlib import Path

import pytest
import torch

from lightning_realign.text import load_text_encoder, text_sizes
from tests.helpers.fixed_weights import golden, relative_error

ROWS = golden(Path(__file__).parent / "golden" / "clip.json")["rows"]
CAPTIONS = [row["caption"] for row in ROWS]
LARGE, PADDED, POOLED, SHORT = (
    "clip-vit-large-patch14",
    "clip-vit-base-patch32",
    "clip-vit-base-patch32-pooled",
    "clip-vit-base-patch32-22",
)


@pytest.fixture(scope="module")
def clip(clip_folder):
    return {name: load_text_encoder(f"{name}:{clip_folder}", "cpu") for name in (LARGE, PADDED, POOLED, SHORT)}


@pytest.fixture(scope="module")
def bert(bert_folder):
    return load_text_encoder(f"distilbert-base-uncased:{bert_folder}", "cpu")


@pytest.mark.parametrize("name, key", [(PADDED, "ids"), (POOLED, "ids"), (SHORT, "ids22")])
def test_tokens_are_openai_s(clip, name, key):
    """Among them the empty caption, one of 92 tokens, ones of 22 and 23, curly quotes, HTML, other scripts."""
    assert clip[name].token_ids(CAPTIONS) == [row[key] for row in ROWS]


def test_padded_states_are_openai_s(clip):
    """MotionDiffuse: 77 states of the zero-padded sequence; the sentence marks the place of the end of text."""
    for row, item in zip(ROWS, clip[PADDED].encode(CAPTIONS), strict=True):
        assert item.tokens.shape == (77, 32)
        assert relative_error(item.tokens, row["states"]) < 2e-7
        places = (item.tokens == item.sentence).all(dim=1).nonzero().flatten().tolist()
        assert places == [row["end"]]


@pytest.mark.parametrize("name, ids, pooled", [(POOLED, "ids", "pooled"), (SHORT, "ids22", "pooled22")])
def test_pooled_sentences_are_openai_s(clip, name, ids, pooled):
    for row, item, whole in zip(ROWS, clip[name].encode(CAPTIONS), clip[PADDED].encode(CAPTIONS), strict=True):
        assert item.tokens.shape == (len(row[ids]), 32)
        assert item.sentence.shape == (24,)
        assert relative_error(item.sentence, row[pooled]) < 2e-7
        if row[ids] == row["ids"]:
            torch.testing.assert_close(item.tokens, whole.tokens[: len(item.tokens)], atol=1e-6, rtol=0)


def test_padding_does_not_matter_to_the_large_model(clip, clip_folder):
    """MLD: `get_text_features` of captions padded to 77 with transformers' own pad token, in float32."""
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    model = CLIPTextModelWithProjection.from_pretrained(clip_folder).eval()
    ids = tokenizer(CAPTIONS, padding="max_length", truncation=True, max_length=77, return_tensors="pt")["input_ids"]
    assert ids.shape[1] == 77
    with torch.no_grad():
        expected = model(input_ids=ids)
    for index, item in enumerate(clip[LARGE].encode(CAPTIONS)):
        torch.testing.assert_close(item.sentence, expected.text_embeds[index], atol=5e-6, rtol=0)
        states = expected.last_hidden_state[index, : len(item.tokens)]
        torch.testing.assert_close(item.tokens, states, atol=2e-5, rtol=0)


def test_only_openai_s_readings_clean_captions(clip):
    curly, straight = "a man\u2019s &amp; left", "a man's & left"
    assert clip[SHORT].token_ids([curly]) == clip[SHORT].token_ids([straight])
    assert clip[LARGE].token_ids([curly]) != clip[LARGE].token_ids([straight])


def test_clip_s_sentences_keep_their_length(clip):
    for name in (LARGE, PADDED, POOLED, SHORT):
        norms = torch.stack([item.sentence for item in clip[name].encode(CAPTIONS)]).norm(dim=1)
        assert (norms - 1).abs().min() > 0.05


def test_distilbert_is_transformers_own(bert, bert_folder):
    """Padded and masked, as MDM and TMR call it, in float32."""
    from transformers import AutoTokenizer, DistilBertModel

    captions = ["", "a person walks slowly", "A MAN turns left!", "a man"]
    batch = AutoTokenizer.from_pretrained(bert_folder)(captions, padding=True, return_tensors="pt")
    model = DistilBertModel.from_pretrained(bert_folder).eval()
    with torch.no_grad():
        states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    for item, expected, mask in zip(bert.encode(captions), states, batch["attention_mask"].bool(), strict=True):
        torch.testing.assert_close(item.tokens, expected[mask], atol=1e-5, rtol=0)
        torch.testing.assert_close(item.sentence, expected[mask].mean(dim=0), atol=1e-5, rtol=0)


def encoders(clip, bert):
    return [*clip.values(), bert]


def test_features_do_not_depend_on_the_batch(clip, bert):
    for encoder in encoders(clip, bert):
        together = encoder.encode(CAPTIONS * 2, batch_size=7)
        for index, caption in enumerate(CAPTIONS * 2):
            (alone,) = encoder.encode([caption])
            # One rounding of a float32 at most.
            torch.testing.assert_close(together[index].tokens, alone.tokens, atol=1e-9, rtol=1.2e-7)
            torch.testing.assert_close(together[index].sentence, alone.sentence, atol=1e-9, rtol=1.2e-7)
        assert encoder.encode([]) == []


def test_features_are_plain_and_frozen(clip, bert, clip_folder, bert_folder):
    for encoder in encoders(clip, bert):
        assert text_sizes(encoder.name) == (encoder.token_size, encoder.sentence_size)
        assert not encoder._model.training
        assert not any(parameter.requires_grad for parameter in encoder._model.parameters())
        for item in encoder.encode(["", "a man walks"]):
            assert item.tokens.dtype == item.sentence.dtype == torch.float32
            assert not item.tokens.requires_grad
            assert not item.sentence.requires_grad
    assert [text_sizes(f"{name}:{clip_folder}") for name in (PADDED, SHORT)] == [(32, 32), (32, 24)]
    assert text_sizes(f"distilbert-base-uncased:{bert_folder}") == (24, 24)


@pytest.mark.parametrize("which, limit", [(LARGE, 77), (PADDED, 77), (SHORT, 22), ("bert", 32)])
def test_long_captions_are_cut_with_one_warning(clip, bert, caplog, which, limit):
    encoder = bert if which == "bert" else clip[which]
    with caplog.at_level(logging.WARNING):
        long, fits, other = encoder.encode(["walks " * 90, "walks " * (limit - 2), "man " * 90])
    assert len(long.tokens) == len(other.tokens) == len(fits.tokens) == (77 if which == PADDED else limit)
    # Cut before the end token, so that a caption of exactly the limit reads the same.
    torch.testing.assert_close(long.tokens, fits.tokens, atol=1e-6, rtol=0)
    (record,) = caplog.records
    assert f"reads {limit} tokens: 2 longer captions were cut" in record.getMessage()


def test_loading_is_silent(clip_folder, bert_folder, capfd):
    """Though CLIP's image half and DistilBERT's word predictor are left out."""
    load_text_encoder(f"{SHORT}:{clip_folder}", "cpu")
    load_text_encoder(f"distilbert-base-uncased:{bert_folder}", "cpu")
    out, err = capfd.readouterr()
    assert out + err == ""
