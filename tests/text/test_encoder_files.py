"""Where encoders' files come from, when cached features are still theirs, and what is refused."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from lightning_realign.checkpoints.convert import convert
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.text import TEXT_SIZES, CachedTextEncoder, load_text_encoder, text_sizes
from lightning_realign.text.encoder import encoder_identity
from tests.helpers.tiny_encoders import CLIP_SIZES, write_clip
from tests.text.test_encoder import write_tiny_t5

SHORT = "clip-vit-base-patch32-22"
REVISION = "c237dc49a33fc61debc9276459120b7eac67e7ef"
HUB = {
    "clip-vit-large-patch14": ("openai/clip-vit-large-patch14", (768, 768)),
    "clip-vit-base-patch32": ("openai/clip-vit-base-patch32", (512, 512)),
    "clip-vit-base-patch32-pooled": ("openai/clip-vit-base-patch32", (512, 512)),
    SHORT: ("openai/clip-vit-base-patch32", (512, 512)),
    "distilbert-base-uncased": ("distilbert/distilbert-base-uncased", (768, 768)),
    "sentence-t5-large": ("sentence-transformers/sentence-t5-large", (1024, 768)),
}


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory):
    return write_tiny_t5(tmp_path_factory.mktemp("t5") / "encoder")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hugging Face cache of the test's own, without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def snapshot(hub, repository, revision):
    return hub / f"models--{repository.replace('/', '--')}" / "snapshots" / revision


@pytest.fixture
def copied(tmp_path):
    """A copy of an encoder's folder that a test may change."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / folder.name))


@pytest.mark.parametrize("name", HUB)
def test_what_is_not_in_the_cache_says_how_to_get_it(hub, name, tmp_path):
    repository, sizes = HUB[name]
    assert text_sizes(name) == TEXT_SIZES[name] == sizes
    encoder = CachedTextEncoder(name, tmp_path / "features")
    with pytest.raises(
        CheckpointError, match=f"hf download {repository} --revision [0-9a-f]{{40}} --include .*HF_HOME"
    ) as caught:
        encoder(["a man walks"])
    assert str(hub) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="--revision v2 "):
        load_text_encoder(f"{name}@v2")


def test_the_hub_s_cache_serves_at_the_pinned_revision(hub, tmp_path):
    pinned = write_clip(snapshot(hub, "openai/clip-vit-base-patch32", REVISION), 512, 1, 2, 512)
    encoder = CachedTextEncoder(SHORT, tmp_path / "features")
    features = encoder(["a man walks", "", "walks " * 40])
    assert features.tokens.shape == (3, 22, 512)
    assert features.lengths.tolist() == [5, 2, 22]
    expected = load_text_encoder(f"{SHORT}:{pinned}", "cpu").encode(["a man walks"])[0]
    torch.testing.assert_close(features.sentence[0], expected.sentence, atol=1e-6, rtol=0)
    # Another revision, and a branch: each its own weights, found by the branch's name in the cache.
    repository = "openai/clip-vit-base-patch32"
    other = "0" * 40
    write_clip(snapshot(hub, repository, other), 512, 1, 4, 512)
    refs = snapshot(hub, repository, other).parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(other)
    for revision in (other, "main"):
        found = load_text_encoder(f"{SHORT}@{revision}", "cpu").encode(["a man walks"])[0]
        assert not torch.allclose(found.sentence, expected.sentence, atol=1e-3)


def test_a_part_of_the_files_is_as_none(hub):
    """Another program may have fetched the tokenizer alone."""
    folder = write_clip(snapshot(hub, "openai/clip-vit-base-patch32", REVISION), 512, 1, 2, 512)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="hf download"):
        load_text_encoder(SHORT)


def test_foreign_files_in_the_cache_are_noticed(hub):
    write_clip(snapshot(hub, "openai/clip-vit-base-patch32", REVISION), **CLIP_SIZES)
    with pytest.raises(CheckpointError, match=r"sizes are \(32, 24\), .* has \(512, 512\)"):
        load_text_encoder(SHORT)


def test_padded_features_survive_the_cache(clip_folder, tmp_path):
    """MotionDiffuse finds the place of the end of text by equality, also behind the cache."""
    name = f"clip-vit-base-patch32:{clip_folder}"
    captions = ["a man walks", "", "walks " * 90]
    for _ in range(2):
        features = CachedTextEncoder(name, tmp_path)(captions)
        assert features.lengths.tolist() == [77, 77, 77]
        same = (features.tokens == features.sentence[:, None]).all(dim=-1)
        assert same.nonzero().tolist() == [[0, 4], [1, 1], [2, 76]]


def test_identities_name_the_revision_and_the_reading():
    assert encoder_identity(SHORT) == f"{SHORT}-{REVISION[:16]}"
    identities = [encoder_identity(name) for name in TEXT_SIZES]
    assert len(set(identities)) == len(TEXT_SIZES)
    assert encoder_identity(f"{SHORT}@main") == f"{SHORT}-main"
    assert encoder_identity(f"{SHORT}@refs/pr/4") == f"{SHORT}-refs-pr-4"


@pytest.mark.parametrize("file", ["model.safetensors", "merges.txt", "vocab.json", "config.json"])
def test_features_of_a_changed_folder_are_encoded_again(clip_folder, copied, tmp_path, file):
    folder = copied(clip_folder)
    name = f"{SHORT}:{folder}"
    before = CachedTextEncoder(name, tmp_path / "features")
    before(["a man walks"])
    assert encoder_identity(name) == encoder_identity(f"{SHORT}:{clip_folder}")
    assert encoder_identity(name) != encoder_identity(f"clip-vit-base-patch32:{folder}")
    path = folder / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if file == "model.safetensors" else content + b"\n")
    after = CachedTextEncoder(name, tmp_path / "features")
    assert after.folder != before.folder
    assert not after.folder.exists()


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "ran")


def forms(clip_folder, bert_folder, t5_folder):
    return [
        (SHORT, clip_folder),
        ("distilbert-base-uncased", bert_folder),
        ("sentence-t5-large", t5_folder),
    ]


@pytest.mark.parametrize("protocol", ["pickle", "torch"])
def test_pickled_weights_are_refused_unread(clip_folder, bert_folder, t5_folder, copied, tmp_path, protocol):
    mark, control = tmp_path / "payload_ran", tmp_path / "control"
    pickle.loads(pickle.dumps(Payload(control)))
    assert control.exists()
    for label, original in forms(clip_folder, bert_folder, t5_folder):
        folder = copied(original)
        for weights in list(folder.rglob("model.safetensors")):
            weights.unlink()
            malicious = weights.with_name("pytorch_model.bin")
            if protocol == "torch":
                torch.save({"weight": Payload(mark)}, malicious)
            else:
                malicious.write_bytes(pickle.dumps(Payload(mark)))
        for name in (f"{label}:{folder}", *([str(folder)] if label == "sentence-t5-large" else [])):
            for function in (load_text_encoder, encoder_identity, CachedTextEncoder):
                with pytest.raises(
                    CheckpointError, match=r"pytorch_model\.bin: pickled .* not read.* convert"
                ) as caught:
                    function(name)
                assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_pickle_beside_safetensors_is_never_opened(clip_folder, bert_folder, t5_folder, copied, tmp_path):
    mark = tmp_path / "payload_ran"
    for label, original in forms(clip_folder, bert_folder, t5_folder):
        folder = copied(original)
        for weights in list(folder.rglob("model.safetensors")):
            weights.with_name("pytorch_model.bin").write_bytes(pickle.dumps(Payload(mark)))
        assert load_text_encoder(f"{label}:{folder}", "cpu").encode(["a man walks"])
    assert not mark.exists()


def test_converted_weights_serve(clip_folder, copied):
    """As the message of the refusal advises."""
    from safetensors.torch import load_file

    folder = copied(clip_folder)
    name, weights = f"{SHORT}:{folder}", folder / "model.safetensors"
    expected = load_text_encoder(name, "cpu").encode(["a man walks"])[0]
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    convert(folder / "pytorch_model.bin", weights)
    assert torch.equal(load_text_encoder(name, "cpu").encode(["a man walks"])[0].sentence, expected.sentence)


def test_a_single_pickled_part_is_refused(t5_folder, copied, tmp_path):
    folder = copied(t5_folder)
    weights = next(path for path in folder.rglob("model.safetensors") if "Dense" in path.parent.name)
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: pickled"):
        load_text_encoder(str(folder))


def test_a_folder_s_own_code_is_never_run(t5_folder, copied, tmp_path):
    folder = copied(t5_folder)
    mark = tmp_path / "code_ran"
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Module: pass\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = "own.Module"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"'own\.Module', code outside"):
        load_text_encoder(str(folder))
    assert not mark.exists()


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_unusable_folders_are_named(clip_folder, bert_folder, copied, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copied(clip_folder)
    name = f"{SHORT}:{folder}"
    with pytest.raises(CheckpointError, match="model_type is 'distilbert', this text encoder needs 'clip'"):
        text_sizes(f"{SHORT}:{bert_folder}")
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "fc2.bias" not in key}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"lacks 2 weights, such as 'text_model\.encoder\.layers\.0\.mlp\.fc2\.bias'"
    ):
        load_text_encoder(name)
    (folder / "model.safetensors").write_bytes((clip_folder / "model.safetensors").read_bytes()[:300])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_text_encoder(name)
    shutil.copy(clip_folder / "model.safetensors", folder)
    config = json.loads((folder / "config.json").read_text())["text_config"]
    change_config(folder, text_config=config | {"hidden_size": 64})
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_text_encoder(name)
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="cannot be read"):
        text_sizes(name)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        encoder_identity(name)


@pytest.mark.parametrize(
    "name, message",
    [
        (f"{SHORT}:/nowhere", "is no folder"),
        (f"{SHORT}@", "no such revision"),
        ("all-MiniLM-L6-v2@main", "no such revision"),
        ("clip-vit-base", "is not known; use one of .*NAME:FOLDER"),
        ("", "is not known"),
    ],
)
def test_names_that_are_none(name, message):
    for function in (text_sizes, encoder_identity, load_text_encoder):
        with pytest.raises(ConfigError, match=message):
            function(name)
