"""Retrieval against an independent, naive reference; ties; order; repeated samples."""

import random

import numpy as np
import pytest
import torch

from lightning_realign.metrics import RetrievalByLevel, RetrievalMetrics
from lightning_realign.metrics.functional.retrieval import (
    cosine_similarity_matrix,
    median_rank,
    pool_order,
    recall_at_k,
    retrieval_ranks,
    retrieval_scores,
)


def latents(size, width=6, seed=0, signal=0.6):
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(size, width, generator=generator)
    return signal * text + torch.randn(size, width, generator=generator), text


def reference_place(similarities, own):
    """The average of the places (from 0) where a full sort could put the own match."""
    ordered = sorted(similarities, reverse=True)
    places = [place for place, value in enumerate(ordered) if value == similarities[own]]
    return sum(places) / len(places)


def reference_scores(motion, text, recalls=(1, 2, 3, 5, 10)):
    motion, text = motion.numpy().astype(np.float64), text.numpy().astype(np.float64)
    scores = {}
    for name, queries, gallery in (("t2m", text, motion), ("m2t", motion, text)):
        places = []
        for own, query in enumerate(queries):
            cosines = [
                float(np.float32(query @ item / np.linalg.norm(query) / np.linalg.norm(item))) for item in gallery
            ]
            places.append(reference_place(cosines, own))
        for k in recalls:
            scores[f"{name}_R@{k}"] = 100 * sum(place < k for place in places) / len(places)
        scores[f"{name}_MedR"] = float(np.median(places)) + 1
    return scores


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_scores_agree_with_a_naive_reference(size):
    motion, text = latents(size)
    scores = retrieval_scores(motion, text)
    assert {name: value.item() for name, value in scores.items()} == pytest.approx(reference_scores(motion, text))


def test_ties_take_the_average_place():
    similarity = torch.tensor([[0.5, 0.9, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 0.0], [0.0, 0.1, 0.2, 0.3]])
    assert retrieval_ranks(similarity).tolist() == [2.0, 2.0, 1.5, 0.0]
    quantised = torch.randint(0, 4, (30, 30), generator=torch.Generator().manual_seed(0)).float()
    expected = [reference_place(row, own) for own, row in enumerate(quantised.tolist())]
    assert retrieval_ranks(quantised).tolist() == expected


def test_many_queries_are_ranked_in_parts():
    motion, text = latents(1100)
    similarity = cosine_similarity_matrix(text, motion)
    unit = [values.double() / values.double().norm(dim=1, keepdim=True) for values in (text, motion)]
    assert torch.allclose(similarity.double(), unit[0] @ unit[1].T, atol=1e-7)
    same = torch.rand(1100, 1100, generator=torch.Generator().manual_seed(0)) < 0.001
    for matches in (None, same):
        whole = retrieval_ranks(similarity, matches)
        for row in (0, 511, 512, 1099):
            also = [] if matches is None else similarity[row][matches[row]].tolist()
            best = max([*also, similarity[row, row].item()])
            assert whole[row] == (similarity[row] > best).sum()
    assert retrieval_ranks(torch.stack([similarity, similarity.T]))[1].equal(retrieval_ranks(similarity.T))
    assert retrieval_ranks(torch.empty(0, 0)).shape == (0,)


def test_repeated_pairs_tie_wherever_they_stand():
    motion, text = latents(50)
    motion[37], text[37] = motion[3], text[3]
    similarity = cosine_similarity_matrix(text, motion)
    assert similarity[3, 3] == similarity[3, 37] == similarity[37, 3]
    ranks = retrieval_ranks(similarity)
    assert ranks[3] == ranks[37]
    assert ranks[3] % 1 == 0.5


def test_a_constant_model_is_no_better_than_chance():
    ones = torch.ones(32, 4)
    scores = retrieval_scores(ones, ones)
    assert scores["t2m_R@10"] == 0
    assert scores["t2m_MedR"] == 16.5


def test_broken_latents_never_count_as_hits():
    motion, text = latents(8, signal=50)
    motion[2] = torch.nan
    scores = retrieval_scores(motion, text)
    assert scores["m2t_R@1"] < 100
    assert retrieval_ranks(cosine_similarity_matrix(text, motion))[2] == 7


def test_recall_and_median():
    ranks = torch.tensor([0.0, 0.5, 1.0, 4.0])
    assert recall_at_k(ranks, 1) == 50
    assert recall_at_k(ranks, 5) == 100
    assert median_rank(ranks) == np.median(ranks.numpy()) + 1
    assert median_rank(ranks[:3]) == 1.5


def test_pools_are_full_disjoint_and_private():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    order = pool_order(100, 32, seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert order.shape == (3, 32)
    assert len(order.unique()) == 96
    assert torch.equal(order, pool_order(100, 32, seed=0))
    assert not torch.equal(order, pool_order(100, 32, seed=1))


def test_pool_scores_are_the_mean_over_pools():
    motion, text = latents(70, signal=1.5)
    order = pool_order(70, 32, seed=0)
    parts = [reference_scores(motion[members], text[members]) for members in order]
    expected = {name: np.mean([part[name] for part in parts]) for name in parts[0]}
    scores = retrieval_scores(motion, text, pool=32)
    assert {name: value.item() for name, value in scores.items()} == pytest.approx(expected)
    assert retrieval_scores(motion[:31], text[:31], pool=32)["t2m_R@1"].isnan()


def filled(metric, order, size=10, repeat=()):
    motion, text = latents(70)
    ids = [f"clip{i}" for i in range(70)]
    rows = [*order, *repeat]
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        metric.update(motion[part], text[part], [ids[i] for i in part])
    return metric


def scores_of(metric):
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize("pool", [None, 32])
def test_the_figure_depends_on_the_samples_only(pool):
    expected = scores_of(filled(RetrievalMetrics(pool), range(70)))
    order = list(range(70))
    random.Random(0).shuffle(order)
    assert scores_of(filled(RetrievalMetrics(pool), order, size=7)) == expected
    assert scores_of(filled(RetrievalMetrics(pool), order, size=70, repeat=(3, 4, 5))) == expected


def test_compute_is_pure_and_reset_forgets():
    metric = filled(RetrievalMetrics(), range(70))
    first = scores_of(metric)
    metric._computed = None
    assert scores_of(metric) == first
    metric.reset()
    filled(metric, range(70))
    assert scores_of(metric) == first
    assert not metric.state_dict()


def test_whole_gallery_agrees_with_the_reference():
    motion, text = latents(70)
    assert scores_of(filled(RetrievalMetrics(), range(70))) == pytest.approx(reference_scores(motion, text))


@pytest.mark.parametrize(
    ("settings", "message"), [({"pool": 1}, "pool=1"), ({"recalls": (0, 1)}, "recalls"), ({"recalls": ()}, "recalls")]
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RetrievalMetrics(**settings)


@pytest.mark.parametrize(("rows", "ids"), [(3, ["a", "b"]), (2, ["a"])])
def test_wrong_batches_are_refused(rows, ids):
    with pytest.raises(ValueError, match="expected"):
        RetrievalMetrics().update(torch.zeros(rows, 4), torch.zeros(rows, 4), ids)
    with pytest.raises(ValueError, match="one match per query"):
        retrieval_ranks(torch.zeros(2, 3))


def test_levels_keep_apart():
    levels = RetrievalByLevel((0, 500), (None, 32))
    motion, text = latents(40)
    ids = [str(i) for i in range(40)]
    levels.update(0, text, text, ids)
    levels.update(500, motion, text, ids)
    figures = levels.compute()
    assert len(figures) == 2 * 2 * 12
    assert figures["t0/t2m_R@1"] == 100
    assert figures["t0/pool32/m2t_MedR"] == 1
    assert figures["t500/t2m_R@1"].item() == pytest.approx(retrieval_scores(motion, text)["t2m_R@1"].item())
