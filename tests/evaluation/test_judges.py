"""Evaluators behind one interface: published files, own checkpoints, reward models."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_realign.checkpoints.convert import convert
from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.checkpoints.evaluator import evaluator_spec
from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.errors import CheckpointError, ConfigError, DataError
from lightning_realign.evaluation.judges import load_evaluator
from lightning_realign.models import MotionTextEvaluator
from lightning_realign.motion import Normaliser, load_skeleton
from lightning_realign.text import CachedTextEncoder
from lightning_realign.text.word_vectors import CaptionReader, Vocabulary
from tests.helpers.published_evaluators import ENCODERS, WORDS, write_published
from tests.helpers.tiny_models import use_hashed_text, write_reward

SMALL = {"word_size": 6, "movement_hidden": 7, "movement_size": 8, "motion_hidden": 9, "text_hidden": 5}
CAPTIONS = ["a man walks slowly", "the person waves", "a man", "walks to the left of the person and waves"]
TOKENS = {
    CAPTIONS[0]: ("a/DET", "man/NOUN", "walk/VERB", "slowly/ADV"),
    CAPTIONS[1]: ("the/DET", "person/NOUN", "wave/VERB"),
    CAPTIONS[2]: ("a/DET", "man/NOUN"),
    CAPTIONS[3]: ("walk/VERB", "to/ADP", "the/DET", "left/NOUN", "person/NOUN", "wave/VERB"),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published"))


@pytest.fixture
def own(tmp_path):
    """A checkpoint of an evaluator with random weights and a learned vocabulary."""
    torch.manual_seed(0)
    vocabulary = Vocabulary.of(CAPTIONS)
    network, normaliser = MotionTextEvaluator(263, len(vocabulary), **SMALL), Normaliser(263)
    normaliser.set(torch.randn(263), torch.rand(263) + 0.5)
    spec = evaluator_spec(network, vocabulary, "plain", skeleton="humanml3d", fingerprint="abc")
    parts = {"network": network, "normaliser": normaliser}
    weights = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    torch.save({"state_dict": weights, SPEC_KEY: spec}, tmp_path / "own.ckpt")
    return SimpleNamespace(path=tmp_path / "own.ckpt", spec=spec, weights=weights, **parts, vocabulary=vocabulary)


def motions(lengths, features=263, seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch = torch.randn(len(lengths), max(lengths) + 9, features, generator=generator)
    return batch, torch.tensor(lengths)


def test_published_files_load_and_are_read_with_their_own_statistics(published):
    evaluator = load_evaluator("guo_published", published.path, word_vectors=published.glove)
    assert (evaluator.skeleton, evaluator.size, evaluator.trained_on) == ("humanml3d", 512, "")
    evaluator.prepare(TOKENS)
    features, lengths = motions((40, 196, 61))
    normalised = (features - torch.tensor(published.mean).float()) / torch.tensor(published.std).float()
    with torch.no_grad():
        expected = published.network.embed_motion(normalised, lengths)
        text = CaptionReader(Vocabulary(WORDS), "tagged")
        text.prepare(TOKENS)
        read = text(CAPTIONS)
        published.network.words.weight.copy_(torch.tensor(published.table))
        captions = published.network.embed_text(read.words, read.tags, read.lengths)
    assert torch.allclose(evaluator.embed_motion(features, lengths), expected, atol=1e-5)
    assert torch.allclose(evaluator.embed_text(CAPTIONS), captions, atol=1e-6)
    assert not evaluator.embed_motion(features, lengths).requires_grad


def test_the_kit_evaluator_is_known_by_its_weights(tmp_path):
    files = write_published(tmp_path, "kit")
    evaluator = load_evaluator("guo_published", files.path, statistics=files.statistics, word_vectors=files.glove)
    assert evaluator.skeleton == "kit"
    assert evaluator.embed_motion(*motions((24, 40), 251)).shape == (2, 512)


def test_a_published_file_with_python_objects_is_refused_and_read_once_converted(published, tmp_path):
    content = torch.load(published.path, weights_only=True)
    torch.save({**content, "iter": np.float64(3)}, tmp_path / "finest.tar")
    options = {"statistics": published.statistics, "word_vectors": published.glove}
    with pytest.raises(CheckpointError, match=r"refused unread.*lightning_realign convert"):
        load_evaluator("guo_published", tmp_path / "finest.tar", **options)
    convert(tmp_path / "finest.tar", tmp_path / "finest.safetensors")
    converted = load_evaluator("guo_published", tmp_path / "finest.safetensors", **options)
    original = load_evaluator("guo_published", published.path, **options)
    assert converted.fingerprint == original.fingerprint


class Hostile:
    def __reduce__(self):
        return exec, ("raise SystemExit('run')",)


def test_a_hostile_file_is_refused(tmp_path, published):
    (tmp_path / "finest.tar").write_bytes(pickle.dumps(Hostile()))
    torch.save({"movement_encoder": Hostile()}, tmp_path / "newer.tar")
    for name in ("finest.tar", "newer.tar"):
        with pytest.raises(CheckpointError, match=r"refused unread|damaged"):
            load_evaluator("guo_published", tmp_path / name, word_vectors=published.glove)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("fault", ["missing", "surplus", "shape"])
def test_published_weights_are_loaded_strictly(published, tmp_path, name, fault):
    content = torch.load(published.path, weights_only=True)
    key = sorted(content[name])[-1]
    if fault == "missing":
        del content[name][key]
    else:
        content[name][key if fault == "shape" else "more"] = torch.zeros(1, 2)
    torch.save(content, tmp_path / "finest.tar")
    with pytest.raises(CheckpointError, match=rf"{name}: its weights do not fit: 1 .*: give a published finest.tar"):
        load_evaluator(
            "guo_published", tmp_path / "finest.tar", statistics=published.statistics, word_vectors=published.glove
        )


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("mean", lambda x: x[:-1], "have shape"),
        ("mean", lambda x: np.where(np.arange(263) == 7, np.nan, x), r"Mean\[7\] is nan"),
        ("std", lambda x: np.where(np.arange(263) == 7, 0, x), r"Std\[7\] is 0"),
        ("std", lambda x: np.where(np.arange(263) > 258, 0.3559, x), "these are a data set's statistics"),
        ("std", None, "std.npy: statistics file is missing"),
    ],
)
def test_other_statistics_are_refused(published, tmp_path, file, change, message):
    for name, values in (("mean", published.mean), ("std", published.std)):
        if name != file or change is not None:
            np.save(tmp_path / f"{name}.npy", change(values) if name == file else values)
    with pytest.raises(DataError, match=message):
        load_evaluator("guo_published", published.path, statistics=tmp_path, word_vectors=published.glove)


def test_missing_files_are_named(published, tmp_path):
    lonely = tmp_path / "finest.tar"
    lonely.write_bytes(published.path.read_bytes())
    with pytest.raises(DataError, match=r"mean.npy and std.npy of this evaluator are not in Comp_v6_KLD01/meta"):
        load_evaluator("guo_published", lonely, word_vectors=published.glove)
    with pytest.raises(ConfigError, match="word_vectors is not set"):
        load_evaluator("guo_published", published.path)
    with pytest.raises(DataError, match=r"our_vab_data.npy is missing"):
        load_evaluator("guo_published", published.path, word_vectors=tmp_path)


def test_an_own_checkpoint_needs_no_other_file(own):
    evaluator = load_evaluator("guo", own.path)
    assert (evaluator.skeleton, evaluator.trained_on, evaluator.size) == ("humanml3d", "abc", 512)
    assert evaluator.bundle.vocabulary.words == own.vocabulary.words
    features, lengths = motions((40, 24))
    with torch.no_grad():
        expected = own.network.eval().embed_motion(own.normaliser.normalise(features), lengths)
    assert torch.allclose(evaluator.embed_motion(features, lengths), expected, atol=1e-6)
    # Plain words need no preparation, and a new caption is read like any other.
    assert evaluator.embed_text(["a man walks to somewhere"]).shape == (1, 512)


def test_embeddings_do_not_depend_on_the_batch(own):
    evaluator = load_evaluator("guo", own.path).to(dtype=torch.float64)
    features, lengths = motions((40, 24, 196, 61, 7))
    features[0, 40:] = float("nan")
    whole, text = evaluator.embed_motion(features, lengths), evaluator.embed_text(CAPTIONS)
    for order in ([4, 2, 0, 1, 3], [3], [1, 0]):
        parts = evaluator.embed_motion(features[order, : max(lengths[order])], lengths[order])
        assert torch.allclose(parts, whole[order], atol=1e-12, rtol=0)
    alone = torch.cat([evaluator.embed_text([caption]) for caption in CAPTIONS])
    assert torch.allclose(alone, text, atol=1e-12, rtol=0)


def test_the_fingerprint_tells_weights_statistics_and_words(own, tmp_path):
    def fingerprint(**changes):
        torch.save({"state_dict": own.weights, SPEC_KEY: own.spec, **changes}, tmp_path / "changed.ckpt")
        return load_evaluator("guo", tmp_path / "changed.ckpt").fingerprint

    words = own.spec["vocabulary"]
    found = {fingerprint(), fingerprint(**{SPEC_KEY: own.spec | {"vocabulary": [*words[:3], *reversed(words[3:])]}})}
    for key in ("network.text_encoder.hidden", "normaliser.mean"):
        found.add(fingerprint(state_dict=own.weights | {key: own.weights[key] + 1}))
    assert len(found) == 4 and fingerprint() in found


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "vae"}, "is a 'vae' checkpoint"),
        ({"vocabulary": ["a"]}, "field 'vocabulary' cannot be used"),
        ({"vocabulary": [["sos"], "eos", "unk"]}, "field 'vocabulary' cannot be used"),
        ({"reading": "aloud"}, "field 'reading' is 'aloud'"),
        ({"architecture": {"width": 3}}, "does not fit EvaluatorArchitecture"),
        ({"architecture": {"motion_hidden": 0}}, "cannot be built"),
        ({"architecture": SMALL | {"motion_hidden": 10}}, "of another shape"),
        ({"num_features": None}, "field 'num_features' is None"),
    ],
)
def test_an_own_checkpoint_that_does_not_fit_is_refused(own, change, message):
    torch.save({"state_dict": own.weights, SPEC_KEY: own.spec | change}, own.path)
    with pytest.raises(CheckpointError, match=message):
        load_evaluator("guo", own.path)


def test_names_and_options_are_checked(own, published):
    with pytest.raises(ConfigError, match="use one of guo, guo_published, tmr"):
        load_evaluator("glove", own.path)
    with pytest.raises(ConfigError, match="holds its own; leave it out"):
        load_evaluator("guo", own.path, statistics=published.statistics)
    with pytest.raises(CheckpointError, match="has the name 'guo'"):
        load_evaluator("guo_published", own.path, word_vectors=published.glove)
    with pytest.raises(CheckpointError, match="no checkpoint of this project"):
        load_evaluator("guo", published.path)


def test_a_reward_model_is_the_second_judge(tmp_path, monkeypatch):
    use_hashed_text(monkeypatch, tmp_path / "cache")
    normaliser = Normaliser(load_skeleton("humanml3d").num_features)
    normaliser.set(torch.randn(263), torch.rand(263) + 0.5)
    path = write_reward(tmp_path / "reward.ckpt", normaliser)
    evaluator = load_evaluator("tmr", path)
    evaluator.prepare(TOKENS)
    features, lengths = motions((40, 24, 61))
    motion, text = evaluator.embed_motion(features, lengths), evaluator.embed_text(CAPTIONS[:3])
    assert evaluator.architecture == "tmr" and motion.shape == text.shape == (3, evaluator.size)
    bundle = load_reward(path)
    captions = CachedTextEncoder(bundle.text_encoder)(CAPTIONS[:3])
    latents = bundle.network.encode_text(captions.tokens, captions.lengths).mean
    cosines = bundle.network.similarity(bundle.embed(features, lengths), latents)
    assert torch.allclose((motion - text).square().sum(dim=1), 2 - 2 * cosines, atol=1e-5)
