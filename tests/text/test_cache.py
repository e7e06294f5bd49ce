import copy
import multiprocessing
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.files.cache import cache_folder
from lightning_realign.text import CachedTextEncoder, cache, load_text_encoder
from lightning_realign.text.encoder import EncodedCaption

CAPTIONS = ["a man walks", "", "someone turns left, slowly", "a man walks", "jump"]


class StandIn:
    """Features that follow from the caption alone, and a count of what was encoded."""

    def __init__(self):
        self.encoded = []

    def encode(self, captions):
        self.encoded += captions
        results = []
        for caption in captions:
            generator = torch.Generator().manual_seed(sum(caption.encode()))
            tokens = torch.randn(len(caption.split()) + 2, 384, generator=generator)
            results.append(EncodedCaption(tokens, torch.nn.functional.normalize(tokens.sum(0), dim=0)))
        return results


@pytest.fixture
def stand_in(monkeypatch):
    encoder = StandIn()
    monkeypatch.setattr(cache, "load_text_encoder", lambda name: encoder)
    return encoder


@pytest.fixture
def make(tmp_path):
    return lambda: CachedTextEncoder("all-MiniLM-L6-v2", tmp_path)


def same(first, second):
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("tokens", "lengths", "sentence"))


def test_features_are_padded_encodings(make, stand_in):
    features = make()(CAPTIONS)
    assert features.lengths.tolist() == [5, 2, 6, 5, 3]
    assert features.tokens.shape == (5, 6, 384)
    for row, encoded in enumerate(StandIn().encode(CAPTIONS)):
        length = len(encoded.tokens)
        assert torch.equal(features.tokens[row, :length], encoded.tokens)
        assert (features.tokens[row, length:] == 0).all()
        assert torch.equal(features.sentence[row], encoded.sentence)


def test_the_real_encoder_s_features_come_back_exactly(make):
    encoded = load_text_encoder("all-MiniLM-L6-v2", "cpu").encode(CAPTIONS[:3])
    first = make()(CAPTIONS[:3])
    for row, item in enumerate(encoded):
        torch.testing.assert_close(first.tokens[row, : len(item.tokens)], item.tokens, atol=1e-6, rtol=0)
    assert same(make()(CAPTIONS[:3]), first)


def test_each_caption_is_encoded_once(make, stand_in):
    encoder = make()
    encoder.prepare(CAPTIONS, progress=False)
    encoder.prepare(reversed(CAPTIONS), progress=False)
    encoder(CAPTIONS)
    make()(CAPTIONS)
    assert sorted(stand_in.encoded) == sorted(set(CAPTIONS))
    make()([*CAPTIONS, "new"])
    assert stand_in.encoded.count("new") == 1
    assert len(stand_in.encoded) == len(set(CAPTIONS)) + 1


def test_a_warm_cache_never_loads_the_encoder(make, stand_in, monkeypatch):
    first = make()(CAPTIONS)

    def fail(name):
        raise CheckpointError(name)

    monkeypatch.setattr(cache, "load_text_encoder", fail)
    assert same(make()(CAPTIONS), first)
    with pytest.raises(CheckpointError):
        make()(["unseen"])


def test_several_shards(make, stand_in, monkeypatch):
    monkeypatch.setattr(cache, "_SHARD_CAPTIONS", 2)
    encoder = make()
    features = encoder(CAPTIONS)
    assert len(list(encoder.folder.iterdir())) == 2
    assert same(make()(CAPTIONS), features)


def test_another_process_s_shards_are_found(make, stand_in):
    first, second = make(), make()
    second(["a man walks"])
    first(CAPTIONS)
    second(CAPTIONS)
    assert sorted(stand_in.encoded) == sorted(set(CAPTIONS))


def test_results_are_the_caller_s_own(make, stand_in):
    encoder = make()
    first = encoder(CAPTIONS)
    with torch.inference_mode():
        encoder(["seen first in inference mode"])
    weight = torch.ones(384, requires_grad=True)
    (encoder(["seen first in inference mode"]).tokens * weight).sum().backward()
    first.tokens.zero_()
    first.sentence.zero_()
    assert encoder(CAPTIONS).tokens.abs().sum() > 0


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_shards_are_encoded_again(make, stand_in, caplog, part):
    encoder = make()
    features = encoder(CAPTIONS)
    (path,) = encoder.folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert same(make()(CAPTIONS), features)
    assert "damaged" in caplog.text
    assert len(stand_in.encoded) == 2 * len(set(CAPTIONS))


def test_no_flipped_bit_ever_changes_features(make, stand_in, caplog):
    encoder = make()
    features = encoder(CAPTIONS)
    (path,) = encoder.folder.iterdir()
    content = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for place in [*torch.randint(len(content), (40,), generator=generator).tolist(), 0, 9, len(content) - 1]:
        for old in encoder.folder.iterdir():
            old.unlink()
        broken = bytearray(content)
        broken[place] ^= 16
        path.write_bytes(broken)
        assert same(make()(CAPTIONS), features)
    assert "damaged" in caplog.text


def test_foreign_files_are_ignored(make, stand_in):
    encoder = make()
    encoder.folder.mkdir(parents=True)
    (encoder.folder / "notes.txt").write_text("x")
    (encoder.folder / ".abc.safetensors.1.tmp").write_text("half")
    (encoder.folder / "other.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    assert encoder(CAPTIONS).tokens.shape == (5, 6, 384)


def test_a_folder_that_cannot_be_written(tmp_path, stand_in):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="REALIGN_CACHE"):
        CachedTextEncoder("all-MiniLM-L6-v2", tmp_path / "file")(["a"])


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path))
    assert CachedTextEncoder("all-MiniLM-L6-v2").folder.parent == tmp_path / "text"
    monkeypatch.delenv("REALIGN_CACHE")
    assert cache_folder("text").parts[-3:] == (".cache", "lightning_realign", "text")


def test_no_captions(make, stand_in):
    features = make()([])
    assert features.tokens.shape == (0, 0, 384)
    assert features.sentence.shape == (0, 384)


def _fill(folder, barrier):
    cache.load_text_encoder = lambda name: StandIn()
    encoder = CachedTextEncoder("all-MiniLM-L6-v2", folder)
    barrier.wait(timeout=60)
    encoder([f"{text} {number}" for text in CAPTIONS for number in range(20)])


def test_processes_may_write_at_once(tmp_path, make, stand_in):
    # Not forked: a fork has no threads of its own, and waits for ever on a lock that one of its parent's threads held.
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_fill, args=(tmp_path, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    make()([f"{text} {number}" for text in CAPTIONS for number in range(20)])
    assert stand_in.encoded == []


def test_lookups_are_fast(make, stand_in):
    encoder = make()
    captions = [f"a person walks {number} steps and turns around" for number in range(64)]
    encoder(captions)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        encoder(captions)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.01


def test_import_is_light():
    code = (
        "import sys, lightning_realign.text\n"
        "heavy = {'transformers', 'sentence_transformers', 'lightning', 'huggingface_hub', 'safetensors'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _private_memory():
    """Mebibytes of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's process status")
def test_features_stay_on_disk(make, stand_in, monkeypatch):
    """96 MiB of them, also in a copy such as weight averaging makes."""
    monkeypatch.setattr(cache, "_SHARD_CAPTIONS", 8)
    captions = [f"{number} " + "word " * 2000 for number in range(32)]
    first = make()(captions[:3])
    make().prepare(captions, progress=False)
    before = _private_memory()
    encoder = make()
    encoder.prepare(captions, progress=False)
    copied = copy.deepcopy(encoder)
    copied.prepare(captions, progress=False)
    for caption in captions:
        encoder([caption])
    assert same(pickle.loads(pickle.dumps(copied))(captions[:3]), first)
    assert _private_memory() - before < 40
    assert len(stand_in.encoded) == len(captions)
