"""The study's own metrics: distances, floors, matches of the training split, subsets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from experiments.mocap.report.ablation_sheets import Ablation, against_main
from experiments.mocap.report.analysis import (
    Training,
    bounded,
    first_replications,
    match,
    matched_metrics,
    pooled_distance,
    read_training,
    subset_metrics,
)
from lightning_realign.data.datamodule import OwnDataModule
from lightning_realign.data.labels import read_labels
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.judge_metrics import floor_distances
from lightning_realign.evaluation.paired import Side, differences, per_sample
from lightning_realign.evaluation.record import Embeddings
from lightning_realign.evaluation.scoring import score
from lightning_realign.metrics.functional.generation import embedding_distance, frechet_distance, gaussian_of
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.report.receipts import Receipt
from tests.helpers.small_runs import GROUPS, SAMPLES, WIDTH, a_record, a_training, normal
from tests.helpers.support import write_tiny_dataset


def by_definition(one, other) -> float:
    """FID with SciPy's root of the covariances' product."""
    one, other = one.double().numpy(), other.double().numpy()
    covariances = [np.cov(values, rowvar=False) for values in (one, other)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    return float(np.square(one.mean(0) - other.mean(0)).sum() + np.trace(sum(covariances) - 2 * root))


@pytest.mark.parametrize(("first", "second", "width"), [(30, 40, 64), (30, 40, 6), (200, 40, 64), (40, 40, 40)])
def test_distance_of_embeddings_is_that_of_their_gaussians(first, second, width):
    one, other = normal(first, width, seed=1, scale=2.0), normal(second, width, seed=2) + 0.5
    found = embedding_distance(one, other).item()
    assert found == pytest.approx(frechet_distance(gaussian_of(one), gaussian_of(other)).item(), rel=1e-9)
    # SciPy's root of a singular matrix is good to the root of a rounding error.
    assert found == pytest.approx(by_definition(one, other), rel=1e-4)


@pytest.mark.parametrize("size", [1, 3])
def test_distance_of_too_few_or_broken_embeddings_is_refused(size):
    values = normal(size, 8)
    values[0, 0] = math.nan
    with pytest.raises(DataError, match="have no covariance" if size == 1 else "NaN or infinity"):
        embedding_distance(values, normal(5, 8))


def test_the_floor_is_that_of_whole_parts():
    train, real = normal(95, WIDTH, seed=1), normal(30, WIDTH, seed=2)
    found = floor_distances(train, real)
    assert found == pytest.approx([by_definition(train[start : start + 30], real) for start in (0, 30, 60)])
    assert floor_distances(train[:29], real) == []


def test_pooled_distance_is_of_all_draws_together():
    judge = a_record().judges["guo"]
    pooled = judge.motion["guided"].reshape(-1, WIDTH)
    assert pooled_distance(judge, "guided") == pytest.approx(by_definition(pooled, judge.motion["real"][0]))


def test_pooled_distance_of_copies_is_that_of_one():
    real = normal(1, 1000, WIDTH, seed=1)
    motion = real + 0.2 + normal(1, 1000, WIDTH, seed=2)
    judge = Embeddings(real, {"real": real, "one": motion, "copies": motion.expand(6, -1, -1)}, {}, None)
    # But for the unbiased covariance's divisor: n - 1 of n.
    assert pooled_distance(judge, "copies") == pytest.approx(pooled_distance(judge, "one"), rel=5e-3)


def test_matches_have_the_caption_else_the_label_else_the_content():
    record = a_record()
    captions = ("new words", "other words", *record.captions[0][2:])
    labels = (record.labels[0], "content 1 / unknown", *record.labels[2:])
    training = a_training()
    found = match(replace(record, captions=(captions,), labels=labels), training, draws=3)
    assert (found.by_caption, found.by_label, found.by_content) == (SAMPLES - 2, 1, 1)
    for draw in found.indices.tolist():
        assert training.labels[draw[0]] == record.labels[0]
        assert training.labels[draw[1]] == "content 1 / style"
        assert [training.captions[index] for index in draw[2:]] == list(captions[2:])
        # There are 50 training motions of each caption for 10 samples.
        assert len(set(draw[2:])) == SAMPLES - 2
    assert not torch.equal(found.indices[0], found.indices[1])
    assert torch.equal(match(record, training, seed=5).indices, match(record, training, seed=5).indices)


def test_all_matches_are_taken_before_one_is_taken_again():
    record = a_record()
    few = Training(("caption 0", "caption 0", "caption 0", *(f"caption {n}" for n in range(1, GROUPS))), (None,) * 10)
    indices = match(record, few, draws=1).indices[0][::GROUPS]
    assert sorted(torch.bincount(indices, minlength=3)[:3].tolist()) == [3, 3, 4]


def test_a_sample_without_any_match_is_named():
    record = replace(a_record(), labels=(None,) * SAMPLES, captions=(("unheard of",) * SAMPLES,))
    with pytest.raises(DataError, match="'000' has no training motion of its caption"):
        match(record, a_training())


def test_the_matched_floor_is_the_distance_of_a_sampler_of_training_motions():
    record, training = a_record(draws=20), a_training()
    floor = matched_metrics(record, match(record, training, seed=1))
    judge = record.judges["guo"]
    copies = judge.train[match(record, training, draws=20, seed=2).indices]
    copying = replace(judge, motion={"real": judge.motion["real"], "copies": copies})
    own = [by_definition(draw, judge.motion["real"][0]) for draw in copies]
    assert floor["guo/FID"].mean == pytest.approx(np.mean(own), abs=4 * np.std(own) / math.sqrt(10))
    assert floor["guo/FID_pooled"].mean == pytest.approx(pooled_distance(copying, "copies"), rel=0.1)
    assert floor["guo/FID_pooled"].mean < floor["guo/FID"].mean < score(record)["guided"]["guo/FID"].mean
    assert floor["guo/R@1_caption"].mean > 0.5


def test_matched_motions_need_an_embedded_training_split():
    record = a_record()
    found = match(record, a_training(), draws=2)
    bare = replace(record, judges={"guo": replace(record.judges["guo"], train=None)})
    with pytest.raises(DataError, match="judge 'guo' has not embedded"):
        matched_metrics(bare, found)


def test_training_texts_are_in_the_order_of_the_embeddings(tmp_path):
    root = write_tiny_dataset(tmp_path)
    names = [f"{number:06d}" for number in range(44)]
    (root / "labels.csv").write_text("name,content\n" + "".join(f"{name},c{name[-1]}\n" for name in names))
    found = read_training(root)
    data = OwnDataModule(root)
    ids = sorted(data.ids("train"), key=lambda sample: id_keys([sample]).item())
    first = [(root / "texts" / f"{sample}.txt").read_text().split("#")[0] for sample in ids]
    assert list(found.captions) == first
    assert list(found.labels) == [read_labels(root / "labels.csv")[sample] for sample in ids]


def test_first_replications_are_those_of_a_shorter_run():
    record = a_record()
    short = first_replications(record, 2)
    values = record.judges["guo"].motion["guided"]
    assert short.replications == 2 and torch.equal(short.judges["guo"].motion["guided"], values[:2])
    assert short.judges["guo"].motion["real"].shape[0] == 1
    table, whole = score(short), score(record)
    assert table["guided"]["guo/R@1"].values == whole["guided"]["guo/R@1"].values[:2]
    assert table["guided"]["semantic_accuracy"].values == whole["guided"]["semantic_accuracy"].values[:2]
    with pytest.raises(ConfigError, match="replications is 5; the record has 4"):
        first_replications(record, 5)


def test_an_ablation_is_paired_with_the_replications_that_both_have():
    main_run = a_record()
    ablation = first_replications(a_record(gain=0.7, rows=("real", "guided")), 2)
    found = against_main(main_run, "unguided", Ablation("text", ablation, Receipt({"guided": {}}, {})), fid=False)
    before = score(first_replications(main_run, 2))["unguided"]["guo/MM-Dist"].mean
    assert found["guo/MM-Dist"].before == pytest.approx(before)
    assert found["guo/MM-Dist"].after == pytest.approx(score(ablation)["guided"]["guo/MM-Dist"].mean)
    other = replace(ablation, settings={"seed": 2})
    with pytest.raises(DataError, match="differ in seed"):
        against_main(main_run, "guided", Ablation("text", other, Receipt({"guided": {}}, {})))


def test_a_subset_keeps_the_pools_of_the_whole():
    record = a_record()
    side, base = Side(record, "guided"), Side(record, "unguided")
    ids = record.ids[3:40:2]
    places = list(range(3, 40, 2))
    values = per_sample(side)
    found = subset_metrics(side, [*ids, "of another split"])
    for name, value in found.items():
        assert value.mean == pytest.approx(values[name][places].nanmean().item())
        assert value.low <= value.mean <= value.high
    assert found["semantic_accuracy"].count == len([place for place in places if place % 9])
    whole, paired = subset_metrics(side, record.ids, base), differences(base, side, fid=False)
    for name in ("guo/R@1", "guo/MM-Dist", "foot_skating"):
        assert whole[name].mean == pytest.approx(paired[name].change)
    with pytest.raises(DataError, match="none of the 1 samples"):
        subset_metrics(side, ["of another split"])


def test_bootstrap_intervals_are_those_of_the_mean():
    values = normal(400, seed=3, scale=2.0).double()
    found = bounded(torch.cat([values, torch.full((50,), math.nan)]))
    error = values.std().item() / math.sqrt(400)
    assert found.count == 400 and found.mean == pytest.approx(values.mean().item())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert bounded(torch.full((3,), math.nan)) is None
