"""A file that would run something when unpickled is refused in one line wherever a file is read, and never runs it.

Families, judges, kinds and encoders are taken from their registries. A new one is tested as a single file; one that
reads a folder fails here until its files are written by `tests/helpers/published_NAME.py`, or by a line in `TREES`.
"""

import dataclasses
import json
import logging
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from lightning_realign import generators, rewards
from lightning_realign.checkpoints.hub import export_model
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.data.packed.packed import PACKED_FOLDER, pack, read_packed
from lightning_realign.errors import CheckpointError, RealignError
from lightning_realign.evaluation.judges import EVALUATORS, load_evaluator
from lightning_realign.evaluation.judges.embeddings import ExportedEmbeddings
from lightning_realign.evaluation.record import read_record
from lightning_realign.generators.base import LoadOptions, read_normaliser
from lightning_realign.generators.remodiffuse.database import DatabaseForm, RetrievalDatabase
from lightning_realign.motion.export import export_motions
from lightning_realign.motion.predictions import read_prediction
from lightning_realign.rewards.index import RewardIndex
from lightning_realign.text import CachedTextEncoder, load_text_encoder
from lightning_realign.text.encoder import TEXT_SIZES
from tests.helpers.every_kind import LOADERS, write
from tests.helpers.malicious import ARRAYS, PICKLES, TORCH, YAML, armed
from tests.helpers.published_evaluators import write_published
from tests.helpers.published_rewards import SMALL, write_tmr
from tests.helpers.support import write_tiny_dataset
from tests.helpers.tiny_encoders import CLIP_SIZES, write_clip
from tests.helpers.tiny_models import use_hashed_text

BINARY = TORCH | PICKLES | ARRAYS
REWARD = "configs/reward/mocap.yaml"
# Whatever is said of a file that was opened and is not what it should be; of none that was not opened.
READ = (
    *("refused unread", "damaged", "cannot be read", "not one array", "not a readable", "not a retrieval index"),
    *("field 'joints' is missing", "array 'ids' is missing", "has no array", "objects"),
)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


def assert_refused(read, target, marker):
    """One line that names the file, which was opened, and nothing has run."""
    with pytest.raises(RealignError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message
    assert str(target) in message
    assert any(word in message for word in READ), message
    assert not marker.exists()


@pytest.mark.parametrize("form", [*BINARY, *YAML])
def test_the_payloads_work(form, marker):
    assert armed((BINARY | YAML)[form], marker)


def write_judge(folder):
    return write_published(folder).path


def generator_trees():
    """The functions `write_NAME` of `tests/helpers/published_NAME.py`, for families that read a folder."""
    for name in generators.FAMILIES:
        if (Path(__file__).parents[1] / "helpers" / f"published_{name}.py").is_file():
            yield ("generator", name), getattr(import_module(f"tests.helpers.published_{name}"), f"write_{name}")


# Families of several files: a function that writes sound ones into a folder and returns the model's path.
TREES = {
    **dict(generator_trees()),
    ("reward", "tmr"): lambda folder: write_tmr(folder, SMALL),
    ("judge", "tmr_published"): lambda folder: write_tmr(folder, SMALL),
    ("judge", "guo_published"): write_judge,
}
READ_FILES = {".pt", ".pth", ".tar", ".npy", ".npz", ".pkl"}
FAMILIES = [
    *(("generator", name) for name in generators.FAMILIES),
    *(("reward", name) for name in rewards.FAMILIES),
    *(("judge", name) for name in EVALUATORS),
]


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """The trees, each written once: folder, and the model's path below it."""
    made = {}
    for position, build in TREES.items():
        folder = tmp_path_factory.mktemp("-".join(position))
        made[position] = folder, build(folder).relative_to(folder)
    return made


def load_family(kind, name, path, root):
    if kind == "generator":
        return generators.load_generator(path, name, None if name == "own" else root)
    if kind == "reward":
        return rewards.read_reward(path, name, statistics=root if name == "realign" else None)
    words = root / "glove" if name == "guo_published" else None
    return load_evaluator(name, path, statistics=root if name == "realign_published" else None, word_vectors=words)


@pytest.mark.parametrize("form", BINARY)
@pytest.mark.parametrize(("kind", "name"), FAMILIES)
def test_models_of_every_family(kind, name, form, trees, tmp_path, marker):
    content = BINARY[form](marker)
    if (kind, name) not in TREES:
        path = tmp_path / "model.pt"
        path.write_bytes(content)
        assert_refused(partial(load_family, kind, name, path, tmp_path), path, marker)
        return
    folder, model = trees[kind, name]
    load_family(kind, name, folder / model, folder)  # it is sound
    targets = [path for path in folder.rglob("*") if path.suffix in READ_FILES]
    assert targets
    for target in targets:
        sound = target.read_bytes()
        target.write_bytes(content)
        assert_refused(partial(load_family, kind, name, folder / model, folder), target, marker)
        target.write_bytes(sound)


def test_options_of_generators_name_no_other_files():
    """Another folder or file among them is a position to be tested here."""
    paths = {field.name for field in dataclasses.fields(LoadOptions) if "Path" in str(field.type)}
    assert paths == {"statistics", "text_cache"}


@pytest.mark.parametrize("form", BINARY)
@pytest.mark.parametrize("kind", LOADERS)
def test_own_checkpoints_and_folders(kind, form, tmp_path, marker):
    path = write(tmp_path / "last.ckpt", kind)
    folder = export_model(path, tmp_path / "model")
    for target, given in ((path, path), (folder / "model.safetensors", folder)):
        target.write_bytes(BINARY[form](marker))
        assert_refused(partial(LOADERS[kind], given), target, marker)
    (folder / "config.json").write_bytes(BINARY[form](marker))
    with pytest.raises(CheckpointError, match=r"config.json: configuration is not (UTF-8|valid JSON)"):
        LOADERS[kind](folder)
    assert not marker.exists()


def embeddings(path):
    return ExportedEmbeddings(path, "cosine")


def index(path):
    return RewardIndex.load(path, "f")


def database(path):
    return RetrievalDatabase(path, DatabaseForm(8, 8, 8, 8))


def exported(path):
    return export_motions([path], path.parent / "out")


def statistics(name, names):
    def read(path):
        for other in names:
            if other != name:
                np.save(path.parent / f"{other}.npy", np.ones(263))
        return read_normaliser(path.parent, 263, names)

    return read


# Name of the file -> what reads it.
SINGLE = {
    "embeddings.npz": embeddings,
    "database.npz": database,
    "prediction.npz": read_prediction,
    "exported.npz": exported,
    "exported.npy": exported,
    "index.safetensors": index,
    "samples-test.safetensors": read_record,
    "Mean.npy": lambda path: statistics("Mean", ("Mean", "Std"))(path),
    "Std.npy": lambda path: statistics("Std", ("Mean", "Std"))(path),
}


@pytest.mark.parametrize("form", BINARY)
@pytest.mark.parametrize("name", SINGLE)
def test_arrays_indexes_and_records(name, form, tmp_path, marker):
    path = tmp_path / name
    path.write_bytes(BINARY[form](marker))
    assert_refused(partial(SINGLE[name], path), path, marker)


def of_training(root, folder, suffix):
    """The files of all training motions: the loader leaves single damaged ones out, and says so."""
    return [root / folder / f"{name}{suffix}" for name in (root / "train.txt").read_text().split()]


DATA_FILES = {
    "mean": lambda root: [root / "Mean.npy"],
    "deviation": lambda root: [root / "Std.npy"],
    "motions": lambda root: of_training(root, "new_joint_vecs", ".npy"),
    "captions": lambda root: of_training(root, "texts", ".txt"),
    "metadata": lambda root: [root / "metadata.json"],
    "list": lambda root: [root / "train.txt"],
}


@pytest.mark.parametrize("form", BINARY)
@pytest.mark.parametrize("file", DATA_FILES)
def test_data_sets(file, form, tmp_path, marker):
    root = write_tiny_dataset(tmp_path / "data", train=3, val=2, test=2)
    for target in DATA_FILES[file](root):
        target.write_bytes(BINARY[form](marker))
    with pytest.raises(RealignError) as caught:
        HumanML3DDataModule(root).setup("fit")
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("form", BINARY)
def test_packed_splits(form, tmp_path, marker):
    root = write_tiny_dataset(tmp_path / "data", train=3, val=2, test=2)
    pack(root, 263)
    content = BINARY[form](marker)
    for suffix in ("npy", "captions", "json"):
        for target in (root / PACKED_FOLDER).glob(f"train.{suffix}"):
            sound = target.read_bytes()
            header = root / PACKED_FOLDER / "train.json"
            told = header.read_text()
            target.write_bytes(content)
            if suffix != "json":  # a header that agrees with the file
                changed = json.loads(told)
                changed["bytes"][suffix] = len(content)
                header.write_text(json.dumps(changed))
            with pytest.raises(RealignError) as caught:
                [clip.captions[0] for clip in read_packed(root, "train", 263)]
            assert "\n" not in str(caught.value)
            header.write_text(told)
            target.write_bytes(sound)
    assert not marker.exists()


@pytest.mark.parametrize("form", BINARY)
def test_cached_text_features_are_made_again(form, tmp_path, marker, monkeypatch, caplog):
    use_hashed_text(monkeypatch, tmp_path)
    shard = CachedTextEncoder("all-MiniLM-L6-v2", tmp_path).folder / "0.safetensors"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(BINARY[form](marker))
    with caplog.at_level(logging.WARNING):
        features = CachedTextEncoder("all-MiniLM-L6-v2", tmp_path)(["a person walks"])
    assert features.tokens.isfinite().all()
    assert str(shard) in caplog.text
    assert not marker.exists()


@pytest.mark.parametrize("form", TORCH | PICKLES)
@pytest.mark.parametrize("name", TEXT_SIZES)
def test_text_encoders_by_folder(name, form, tmp_path, marker):
    folder = write_clip(tmp_path / "encoder", **CLIP_SIZES)
    content = BINARY[form](marker)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    (folder / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.Transformer"}]))
    for read in (load_text_encoder, CachedTextEncoder):
        with pytest.raises(CheckpointError):
            read(f"{name}:{folder}")
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_text_encoder(f"{name}:{folder}")
    assert "\n" not in str(caught.value)
    assert not marker.exists()
