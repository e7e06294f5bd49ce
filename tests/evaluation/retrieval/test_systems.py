"""Retrieval systems of every kind: figures against a reference, the receipt, what they do not depend on, errors."""

import json
import warnings

import numpy as np
import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.data.formats import read_split
from lightning_realign.errors import CheckpointError, ConfigError, DataError, FeatureSpecError
from lightning_realign.evaluation import RetrievalSystem
from lightning_realign.files.atomic import write_lines_atomic
from lightning_realign.files.hashing import file_sha256
from tests.evaluation.retrieval.conftest import COUNT, embedded
from tests.helpers.support import write_tiny_dataset
from tests.helpers.tiny_models import dataset_normaliser, write_reward
from tests.helpers.training_runs import trainer

SMALL = 12


def system(bench, kind, /, **settings):
    options = {"system": kind.upper(), "kind": kind, "path": str(bench.systems[kind]), "nsim": SMALL}
    if kind == "embeddings":
        options["metric"] = "cosine"
    return RetrievalSystem(**(options | settings))


def measured(bench, folder, module, batch_size=16, root=None, stage="test", **settings):
    """The receipt of a run, and the figures that it logged."""
    run = trainer(folder, **settings)
    getattr(run, stage)(module, datamodule=HumanML3DDataModule(root or bench.data, batch_size), verbose=False)
    split = {"test": "test", "validate": "val"}[stage]
    record = json.loads((folder / f"retrieval-{split}.json").read_text())
    return record, {name: value.item() for name, value in run.callback_metrics.items()}


def figures(record):
    (row,) = record["systems"].values()
    return {name: value["mean"] for name, value in row.items()}


def reference(distance):
    """R@k and median rank of the diagonal of distances [N, N], from text in rows to motions in columns."""
    found = {}
    for direction, rows in (("t2m", distance), ("m2t", distance.T)):
        own = rows.diagonal()[:, None]
        places = (rows < own).sum(axis=1) + ((rows == own).sum(axis=1) - 1) / 2
        found |= {f"{direction}_R@{k}": 100 * np.mean(places < k) for k in (1, 2, 3, 5, 10)}
        found[f"{direction}_MedR"] = np.median(places) + 1
    return found


def distances(kind, text, motion):
    text, motion = text.astype(np.float64), motion.astype(np.float64)
    if kind == "guo":
        return np.linalg.norm(text[:, None] - motion[None], axis=2)
    text, motion = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (text, motion))
    return (-text @ motion.T).astype(np.float32)


@pytest.mark.parametrize("kind", ["tmr", "guo", "embeddings"])
def test_every_kind_agrees_with_a_reference_and_leaves_a_receipt(bench, tmp_path, kind):
    record, logged = measured(bench, tmp_path, system(bench, kind))
    (name,) = record["systems"]
    assert name == kind.upper()
    scores = figures(record)
    assert len(scores) == 5 * 12
    assert {key.split("/")[0] for key in scores} == {"normal", "threshold", "nsim", "batches", "pool32"}
    ids, text, motion = embedded(
        "guo" if kind == "guo" else "tmr", bench.systems["guo" if kind == "guo" else "tmr"], bench.data
    )
    distance = distances(kind, text, motion)
    assert {key: scores[f"normal/{key}"] for key in reference(distance)} == pytest.approx(reference(distance))
    order = np.argsort(ids)
    places = np.arange(COUNT)
    np.random.RandomState(0).shuffle(places)
    members = order[places[:32]]
    expected = reference(distance[np.ix_(members, members)])
    assert {key: scores[f"batches/{key}"] for key in expected} == pytest.approx(expected)
    assert all(scores[f"threshold/{key}"] >= scores[f"normal/{key}"] for key in expected if "R@" in key)
    for key, value in record["systems"][name].items():
        assert value["ci95"] is None and value["values"] == [value["mean"]]
        assert logged[f"test/{key}"] == pytest.approx(value["mean"])
    settings = record["settings"]
    assert settings["metric"] == ("euclidean" if kind == "guo" else "cosine")
    assert (settings["split"], settings["kind"], settings["samples"], settings["left_out"]) == ("test", kind, COUNT, {})
    assert settings["provenance"]["files"]["system"]["sha256"] == file_sha256(bench.systems[kind])


def test_exported_embeddings_get_the_figures_of_the_system_that_made_them(bench, tmp_path):
    records = [measured(bench, tmp_path / kind, system(bench, kind))[0] for kind in ("tmr", "embeddings")]
    assert figures(records[0]) == pytest.approx(figures(records[1]), abs=1e-9)


@pytest.mark.parametrize("kind", ["tmr", "guo"])
def test_figures_do_not_depend_on_the_batches(bench, tmp_path, kind):
    found = [figures(measured(bench, tmp_path / str(size), system(bench, kind), size)[0]) for size in (1, 7, 32)]
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert found[0] == pytest.approx(found[2], abs=1e-4)


def test_samples_of_one_caption_tie_exactly(bench, tmp_path):
    root = write_tiny_dataset(tmp_path / "data", train=4, val=2, test=COUNT)
    for sample in read_split(root / "test.txt"):
        write_lines_atomic(root / "texts" / f"{sample}.txt", ["a person walks#a/DET person/NOUN walks/VERB#0.0#0.0"])
    for kind in ("tmr", "guo"):
        module = system(bench, kind, protocols=["normal", "batches"])
        scores = figures(measured(bench, tmp_path / kind, module, 7, root)[0])
        assert (scores["normal/m2t_MedR"], scores["batches/m2t_MedR"]) == ((COUNT + 1) / 2, 16.5)
        assert scores["normal/m2t_R@10"] == scores["batches/m2t_R@10"] == 0


def test_small_splits_leave_protocols_out_with_a_warning(bench, tmp_path):
    with pytest.warns(UserWarning, match="protocol nsim is left out: 4 samples, it needs 100"):
        record, _ = measured(bench, tmp_path, system(bench, "tmr", nsim=100), stage="validate")
    assert {name.split("/")[0] for name in figures(record)} == {"normal", "threshold"}
    assert record["settings"]["protocols"] == ["normal", "threshold"]
    assert set(record["settings"]["left_out"]) == {"nsim", "batches", "pool32"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ConfigError, match="split 'val' is too small for pool32, batches \\(4 samples\\)"):
            measured(bench, tmp_path, system(bench, "tmr", protocols=["pool32", "batches"]), stage="validate")


def test_a_list_of_dissimilar_captions(bench, tmp_path):
    ids, text, motion = embedded("tmr", bench.systems["tmr"], bench.data)
    chosen = [30, 2, 17, 9, 5]
    path = tmp_path / "nsim_test.txt"
    write_lines_atomic(path, [ids[place] for place in chosen])
    module = system(bench, "tmr", protocols=["nsim"], nsim=str(path))
    assert module.sentences is None
    expected = reference(distances("tmr", text[chosen], motion[chosen]))
    record, _ = measured(bench, tmp_path, module)
    assert figures(record) == pytest.approx({f"nsim/{key}": value for key, value in expected.items()})
    write_lines_atomic(path, [ids[0], ids[1], "999999", "999998"])
    with pytest.raises(DataError, match=r"nsim_test\.txt: 2 of 4 ids are not among the 41 motions .*'999998' first"):
        measured(bench, tmp_path, system(bench, "tmr", protocols=["nsim"], nsim=str(path)))
    with pytest.raises(DataError, match=r"none\.txt: split list is missing"):
        system(bench, "tmr", nsim=str(tmp_path / "none.txt"))


def test_parts_of_motions_are_in_the_pools_alone(bench, tmp_path):
    root = write_tiny_dataset(tmp_path / "data", train=4, val=2, test=36)
    for sample in read_split(root / "test.txt")[:3]:
        with (root / "texts" / f"{sample}.txt").open("a") as file:
            file.write("a person turns#a/DET person/NOUN turns/VERB#0.0#2.1\n")
    ids = HumanML3DDataModule(root).ids("test")
    parts = [sample for sample in ids if sample.startswith("A_")]
    assert len(parts) == 3
    generator = np.random.default_rng(0)
    text, motion = generator.normal(size=(39, 4)), generator.normal(size=(39, 4))
    np.savez(tmp_path / "x.npz", ids=np.array(ids), text=text, motion=motion)
    module = system(
        bench, "embeddings", path=str(tmp_path / "x.npz"), metric="euclidean", protocols=["normal", "pool32"]
    )
    whole = [place for place, sample in enumerate(ids) if sample not in parts]
    expected = reference(distances("guo", text[whole], motion[whole]))
    record, _ = measured(bench, tmp_path, module, root=root)
    scores = figures(record)
    assert {key: scores[f"normal/{key}"] for key in expected} == pytest.approx(expected)
    assert record["settings"]["samples"] == 39
    assert module._protocol_metrics()[1].ids == tuple(sorted(ids))


def test_part_of_a_split_gives_no_figures(bench, tmp_path):
    with pytest.raises(DataError, match="samples to score were not given"):
        measured(bench, tmp_path, system(bench, "tmr", protocols=["normal"]), 8, limit_test_batches=2)
    assert not list(tmp_path.glob("retrieval-*"))


def spoilt(content, **changes):
    return {name: value for name, value in (content | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None}, "array 'text' is missing"),
        ({"ids": np.arange(3)}, "'ids' is not one row of strings"),
        ({"ids": np.array(["a", "b", "a"])}, "id 'a' is there twice"),
        ({"ids": np.array(["a", "b", None])}, "cannot be read"),
        ({"motion": np.zeros((2, 4))}, r"'motion' is float64 of shape \(2, 4\)"),
        ({"motion": np.zeros((3, 5))}, "text has width 4, motion 5"),
        ({"text": np.full((3, 4), np.nan)}, "'text' has NaN or infinity for 'a'"),
        ({"text": np.array([["x"] * 4] * 3)}, "'text' is <U1"),
        ({}, "41 of the 41 samples of the split are missing, '000014' first"),
    ],
)
def test_embeddings_that_cannot_be_used(bench, tmp_path, changes, message):
    content = {"ids": np.array(["a", "b", "c"]), "text": np.ones((3, 4)), "motion": np.ones((3, 4))}
    path = tmp_path / "lamp.npz"
    np.savez(path, **spoilt(content, **changes))
    with pytest.raises(DataError, match=message) as error:
        measured(bench, tmp_path, system(bench, "embeddings", path=str(path)))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn", b"no archive"])
def test_files_that_are_no_archive(bench, tmp_path, content):
    path = tmp_path / "lamp.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"lamp\.npz: (the embeddings are missing|cannot be read)"):
        measured(bench, tmp_path, system(bench, "embeddings", path=str(path)))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("tmr", {"system": " "}, "system is empty"),
        ("tmr", {"kind": "lamp"}, "kind is 'lamp'; choose one of guo, guo_published, tmr, tmr_published"),
        ("tmr", {"protocols": []}, r"protocols is \[\]; choose from normal"),
        ("tmr", {"protocols": ["all"]}, r"protocols is \[all\]"),
        ("tmr", {"nsim": 1}, "nsim is 1"),
        ("tmr", {"threshold": 1.2}, r"threshold is 1\.2"),
        ("tmr", {"metric": "cosine"}, "metric is cosine, but kind tmr has a metric of its own"),
        ("tmr", {"statistics": "x"}, "statistics is x"),
        ("embeddings", {"metric": None}, "metric is None; for kind embeddings choose cosine or euclidean"),
        ("embeddings", {"word_vectors": "x"}, "word_vectors is x, but kind embeddings needs none"),
    ],
)
def test_wrong_settings_are_refused(bench, tmp_path, kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        measured(bench, tmp_path, system(bench, kind, **settings))


def test_misuse_is_refused(bench, tmp_path):
    data = HumanML3DDataModule(bench.data)
    with pytest.raises(MisconfigurationException):
        trainer(tmp_path).predict(system(bench, "tmr"), datamodule=data)
    with pytest.raises(CheckpointError, match="no checkpoint of its own"):
        system(bench, "tmr").on_load_checkpoint({})
    with pytest.raises(ConfigError, match="has loaded nothing yet"):
        _ = system(bench, "tmr").source
    kit = write_tiny_dataset(tmp_path / "kit", "kit", train=4, val=2, test=4)
    other = write_reward(tmp_path / "kit.ckpt", dataset_normaliser(kit, "kit"), "kit")
    with pytest.raises(FeatureSpecError, match="kit"):
        trainer(tmp_path).test(system(bench, "tmr", path=str(other)), datamodule=data)
