"""Metrics of generation: that the samples alone decide them, over batches and parts; and their errors."""

import math
import pickle
import random

import matplotlib
import pytest
import torch

from lightning_realign.errors import DataError
from lightning_realign.metrics import Diversity, FrechetDistance, MatchingDistance, MultiModality, RPrecision
from lightning_realign.metrics.functional.generation import (
    diversity,
    frechet_distance,
    gaussian_of,
    matching_distance,
    multimodality,
    pools_of,
    r_precision,
)
from tests.helpers.correlated import COUNT, embeddings, reference_r_precision

IDS = [f"clip{i}" for i in range(COUNT)]
CAPTIONS = [f"a person does number {i % 25}" for i in range(COUNT)]
LABELS = [str(i % 4) for i in range(COUNT)]


def metrics():
    return [RPrecision(labelled=True), MatchingDistance(), FrechetDistance(), Diversity(40), MultiModality(3)]


def fill(metric, rows, size=COUNT):
    text, motion = embeddings(signal=0.5)
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        ids = [IDS[i] for i in part]
        match metric:
            case RPrecision():
                words, labels = [CAPTIONS[i] for i in part], [LABELS[i] for i in part]
                metric.update(text[part], motion[part], ids, words, labels)
            case MatchingDistance():
                metric.update(text[part], motion[part], ids)
            case FrechetDistance():
                metric.update(motion[part], ids, real=False)
                metric.update(text[part], ids, real=True)
            case Diversity():
                metric.update(motion[part], ids)
            case MultiModality():
                for repetition in range(4):
                    metric.update(motion[part] + repetition * text[part], ids, repetition)
    return metric


def figures(metric):
    found = metric.compute()
    return {name: value.item() for name, value in (found if isinstance(found, dict) else {"": found}).items()}


@pytest.mark.parametrize("number", range(5))
def test_the_figure_depends_on_the_samples_only(number):
    expected = figures(fill(metrics()[number], list(range(COUNT))))
    order = list(range(COUNT))
    random.Random(0).shuffle(order)
    for size in (1, 7, 32):
        assert figures(fill(metrics()[number], order, size)) == expected
    assert figures(fill(metrics()[number], [*order, 3, 4, 3])) == expected


@pytest.mark.parametrize("number", range(5))
def test_merged_parts_agree_with_the_whole(number):
    expected = figures(fill(metrics()[number], list(range(COUNT))))
    parts = [fill(metrics()[number], rows) for rows in (list(range(10)), list(range(9, 60)), list(range(60, COUNT)))]
    parts[0].merge_state(parts[1])
    parts[0].merge_state(parts[2])
    parts[0].merge_state(metrics()[number])
    assert figures(parts[0]) == expected


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("number", range(5))
def test_metrics_behave_as_torchmetrics_should(number):
    metric = fill(metrics()[number], list(range(COUNT)))
    expected = figures(metric)
    assert all(isinstance(value, float) and math.isfinite(value) for value in expected.values())
    assert figures(pickle.loads(pickle.dumps(metric))) == expected
    metric.reset()
    with pytest.raises(DataError, match="has seen no samples"):
        metric.compute()
    assert figures(fill(metric, list(range(COUNT)))) == expected
    assert metric.full_state_update is metric.is_differentiable is False
    matplotlib.use("Agg")
    figure, _ = metric.plot()
    matplotlib.pyplot.close(figure)


def test_the_figures_are_those_of_the_functions():
    text, motion = embeddings(signal=0.5)
    named = fill(MatchingDistance(), list(range(COUNT))), fill(FrechetDistance(), list(range(COUNT)))
    assert figures(named[0])[""] == pytest.approx(matching_distance(text, motion).item(), rel=1e-12)
    expected = frechet_distance(gaussian_of(motion), gaussian_of(text)).item()
    assert figures(named[1])[""] == pytest.approx(expected, rel=1e-9)
    # With ids given, their own order is the samples' order.
    found = figures(fill(RPrecision(ids=IDS, labelled=True), random.Random(1).sample(range(COUNT), COUNT)))
    pools = pools_of(COUNT, 32, 0)
    for kind, texts in (("", IDS), ("_caption", CAPTIONS), ("_label", LABELS)):
        expected = reference_r_precision(text.numpy(), motion.numpy(), pools, texts, 3)
        assert [found[f"R@{k}{kind}"] for k in (1, 2, 3)] == pytest.approx(expected.tolist())
    assert found["R@1"] <= found["R@1_caption"] <= found["R@1_label"]


def test_only_the_samples_asked_for_count():
    chosen = IDS[10:50]
    expected = figures(fill(MatchingDistance(), list(range(10, 50))))
    assert figures(fill(MatchingDistance(chosen), list(range(COUNT)))) == pytest.approx(expected)
    with pytest.raises(DataError, match=r"1 of the 40 samples to score were not given, 'clip49'"):
        fill(FrechetDistance(chosen), list(range(49))).compute()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (RPrecision(pool=80, labelled=True), "70 samples do not fill one pool of 80"),
        (Diversity(), "70 motions are too few for Diversity over 300 pairs"),
        (MultiModality(), "4 motions per caption are too few for MultiModality over 10 pairs"),
    ],
)
def test_too_few_samples_are_an_error(metric, message):
    with pytest.raises(DataError, match=message):
        fill(metric, list(range(COUNT))).compute()


def test_a_single_motion_has_no_covariance():
    with pytest.raises(DataError, match="1 generated motions have no covariance"):
        fill(FrechetDistance(), [0]).compute()
    metric = FrechetDistance()
    metric.update(torch.eye(3), IDS[:3], real=False)
    with pytest.raises(DataError, match="0 real motions have no covariance"):
        metric.compute()
    with pytest.raises(DataError, match="1 samples have no covariance"):
        gaussian_of(torch.zeros(1, 4))
    with pytest.raises(DataError, match=r"reach 1\.0e\+200 and have no finite covariance"):
        gaussian_of(1e200 * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_functions_give_no_number_for_broken_embeddings(broken):
    text, motion = embeddings()
    motion[33, 2] = broken
    pools = pools_of(COUNT, COUNT, seed=0)
    for figure in (
        lambda: gaussian_of(motion),
        lambda: r_precision(text, motion, pools),
        lambda: r_precision(motion, text, pools),
        lambda: matching_distance(text, motion),
        lambda: diversity(motion, COUNT),
        lambda: multimodality(motion[None], COUNT),
    ):
        with pytest.raises(DataError, match=r"embeddings hold NaN or infinity: .* is not defined for them") as error:
            figure()
        assert "\n" not in str(error.value)


def test_no_pairs_are_an_error():
    with pytest.raises(DataError, match="there are no pairs"):
        matching_distance(torch.empty(0, 4), torch.empty(0, 4))


@pytest.mark.parametrize(
    "metric",
    [
        RPrecision(labelled=True, ids=IDS),
        MatchingDistance(IDS),
        FrechetDistance(IDS),
        Diversity(3, ids=IDS),
        MultiModality(3, ids=IDS),
    ],
)
def test_missing_samples_are_an_error(metric):
    with pytest.raises(DataError, match=r"2 of the 70 samples to score were not given, 'clip68' among them") as error:
        fill(metric, list(range(68))).compute()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_embeddings_are_named(broken):
    motion = torch.zeros(3, 4)
    motion[1, 2] = broken
    with pytest.raises(DataError, match="motion of sample 'clip1' holds NaN or infinity") as error:
        Diversity().update(motion, IDS[:3])
    assert "\n" not in str(error.value)


def test_captions_need_the_same_repetitions():
    metric = MultiModality(2)
    for repetition, rows in enumerate((2, 2, 1)):
        metric.update(torch.zeros(rows, 4), IDS[:rows], repetition)
    with pytest.raises(DataError, match="different repetitions"):
        metric.compute()


@pytest.mark.parametrize(
    "make",
    [
        lambda: RPrecision(pool=1),
        lambda: RPrecision(top=0),
        lambda: RPrecision(pool=4, top=5),
        lambda: Diversity(0),
        lambda: MultiModality(0),
        lambda: MatchingDistance().update(torch.zeros(2, 3), torch.zeros(1, 3), ["a", "b"]),
        lambda: MatchingDistance().update(torch.zeros(2), torch.zeros(2), ["a", "b"]),
        lambda: RPrecision().update(torch.zeros(1, 2), torch.zeros(1, 2), ["a"], ["walk"], ["1"]),
        lambda: frechet_distance(gaussian_of(torch.eye(2)), gaussian_of(torch.eye(3))),
    ],
)
def test_wrong_settings_and_batches_are_refused(make):
    with pytest.raises(ValueError):
        make()
