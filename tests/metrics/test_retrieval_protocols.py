"""TMR's protocols against a naive reference, its batches, ties and similar captions by hand, and errors."""

import itertools
import random

import matplotlib
import numpy as np
import pytest
import torch

from lightning_realign.errors import DataError
from lightning_realign.files.hashing import stable_key
from lightning_realign.metrics import RetrievalMetrics, RetrievalProtocols
from lightning_realign.metrics.functional.retrieval import cosine_similarity_matrix, retrieval_ranks, retrieval_scores
from lightning_realign.metrics.protocols import dissimilar_subset, similar_captions, small_batches

COUNT = 70
IDS = [f"{number:06d}" for number in range(COUNT)]


def pairs(seed=0, size=COUNT, signal=0.6):
    """Latents of motions and of captions, and sentences of which every third is nearly that of another one."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(size, 6, generator=generator)
    sentences = torch.randn(size, 16, generator=generator)
    sentences[::3] = sentences[1::3][:1].repeat(len(sentences[::3]), 1) + 0.02 * sentences[::3]
    return signal * text + torch.randn(size, 6, generator=generator), text, sentences


def reference(motion, text, members, same=None, recalls=(1, 2, 3, 5, 10)):
    """Sort every row, find the columns of the nearest match, and take their average."""
    motion, text = (values.numpy().astype(np.float64)[members] for values in (motion, text))
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (text, motion)]
    scores = {}
    for name, distances in (("t2m", -(unit[0] @ unit[1].T)), ("m2t", -(unit[1] @ unit[0].T))):
        columns = []
        for row, distance in enumerate(distances.astype(np.float32)):
            nearest = min(distance[j] for j in range(len(members)) if j == row or (same is not None and same[row, j]))
            columns.append(np.mean(np.flatnonzero(np.sort(distance) == nearest)))
        for k in recalls:
            scores[f"{name}_R@{k}"] = 100 * np.mean(np.array(columns) < k)
        scores[f"{name}_MedR"] = np.median(columns) + 1
    return scores


def filled(metric, rows, size=COUNT):
    motion, text, sentences = pairs()
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        metric.update(motion[part], text[part], sentences[part], [IDS[i] for i in part])
    return metric


def scores_of(metric):
    return {name: value.item() for name, value in metric.compute().items()}


def test_all_protocols_agree_with_a_naive_reference():
    motion, text, sentences = pairs()
    subset = [5, 3, 60, 8, 13]
    metric = RetrievalProtocols(dissimilar=[IDS[i] for i in subset], ids=random.Random(0).sample(IDS, COUNT))
    scores = scores_of(filled(metric, list(range(COUNT))))
    unit = sentences.double() / sentences.double().norm(dim=1, keepdim=True)
    order = np.arange(COUNT)
    np.random.RandomState(0).shuffle(order)
    by_key = sorted(range(COUNT), key=lambda i: stable_key(IDS[i]))
    shuffled = [by_key[i] for i in torch.randperm(COUNT, generator=torch.Generator().manual_seed(0)).tolist()]
    batches, pools = (
        [reference(motion, text, members[first : first + 32]) for first in (0, 32)] for members in (order, shuffled)
    )
    expected = {
        "normal": reference(motion, text, range(COUNT)),
        "threshold": reference(motion, text, range(COUNT), (unit @ unit.T).numpy() > 0.9),
        "nsim": reference(motion, text, subset),
        "batches": {name: np.mean([batch[name] for batch in batches]) for name in batches[0]},
        "pool32": {name: np.mean([pool[name] for pool in pools]) for name in pools[0]},
    }
    assert scores == pytest.approx({f"{key}/{name}": x for key, part in expected.items() for name, x in part.items()})
    assert scores["threshold/t2m_R@1"] > scores["normal/t2m_R@1"]


def test_the_whole_gallery_is_that_of_retrieval_scores():
    motion, text, _ = pairs()
    expected = {f"normal/{name}": value.item() for name, value in retrieval_scores(motion, text).items()}
    assert scores_of(filled(RetrievalProtocols(["normal"]), list(range(COUNT)))) == pytest.approx(expected)


@pytest.mark.parametrize("ids", [None, IDS])
def test_the_pools_are_those_that_trainings_log(ids):
    motion, text, _ = pairs()
    other = RetrievalMetrics(pool=32)
    other.update(motion, text, IDS)
    metric = RetrievalProtocols(["pool32"], ids=ids)
    metric.update(motion, text, None, IDS)
    expected = {f"pool32/{name}": value.item() for name, value in other.compute().items()}
    assert scores_of(metric) == pytest.approx(expected)


def test_euclidean_distance_ranks_otherwise_than_the_cosine():
    motion, text, _ = pairs()
    motion, text = motion * torch.linspace(0.2, 4, COUNT)[:, None], text * torch.linspace(3, 0.1, COUNT)[:, None]
    scores = {}
    for similarity in ("cosine", "euclidean"):
        metric = RetrievalProtocols(["normal"], similarity=similarity)
        metric.update(motion, text, None, IDS)
        scores[similarity] = scores_of(metric)
    distances = np.linalg.norm(text.double().numpy()[:, None] - motion.double().numpy()[None], axis=2)
    for direction, rows in (("t2m", distances), ("m2t", distances.T)):
        ranks = (rows < rows.diagonal()[:, None]).sum(axis=1)
        assert scores["euclidean"][f"normal/{direction}_R@10"] == pytest.approx(100 * np.mean(ranks < 10))
        assert scores["euclidean"][f"normal/{direction}_MedR"] == np.median(ranks) + 1
    assert scores["euclidean"] != scores["cosine"]


def test_unit_vectors_rank_alike_by_both():
    motion, text, _ = pairs()
    scores = []
    for similarity in ("cosine", "euclidean"):
        metric = RetrievalProtocols(["normal", "batches"], similarity=similarity)
        metric.update(torch.nn.functional.normalize(motion), torch.nn.functional.normalize(text), None, IDS)
        scores.append(scores_of(metric))
    assert scores[0] == pytest.approx(scores[1])


def test_ranks_with_several_matches_by_hand():
    similarity = torch.tensor([[0.5, 0.9, 0.7, 0.1], [0.4, 0.3, 0.4, 0.4], [0.9, 0.8, 0.1, 0.8], [0.0, 0.1, 0.2, 0.3]])
    matches = torch.eye(4, dtype=torch.bool)
    assert torch.equal(retrieval_ranks(similarity, matches), retrieval_ranks(similarity))
    assert torch.equal(retrieval_ranks(similarity, torch.zeros_like(matches)), retrieval_ranks(similarity))
    matches[0, 2] = matches[1, 0] = matches[2, 3] = matches[3, 0] = True
    # The 2nd; one of three equal ones; one of two equal ones behind one nearer; and the own one, though 0 matches too.
    assert retrieval_ranks(similarity, matches).tolist() == [1.0, 1.0, 1.5, 0.0]


def test_similar_captions():
    angles = torch.tensor([0.0, 0.44, 0.46, 3.0])  # the cosine of 0.4510 is 0.9
    same = similar_captions(torch.stack([angles.cos(), angles.sin()], dim=1))
    assert same.tolist() == [
        [True, True, False, False],
        [True, True, True, False],
        [False, True, True, False],
        [False, False, False, True],
    ]
    assert similar_captions(torch.eye(3), threshold=1.0).equal(torch.eye(3, dtype=torch.bool))


def test_small_batches_are_those_of_the_frozen_generator():
    batches = small_batches(100)
    assert batches.shape == (3, 32)
    assert len(batches.unique()) == 96
    assert batches[0, :6].tolist() == [26, 86, 2, 55, 75, 93]
    assert not batches.equal(small_batches(100, seed=1))


def test_the_dissimilar_subset_is_spread_out():
    _, _, sentences = pairs()
    chosen = dissimilar_subset(sentences, 12)
    assert len(chosen.unique()) == 12
    assert chosen.equal(chosen.sort().values)

    def nearest(members):
        similarity = cosine_similarity_matrix(sentences[members], sentences[members])
        return similarity.fill_diagonal_(-1).max()

    generator = torch.Generator().manual_seed(0)
    drawn = [nearest(torch.randperm(COUNT, generator=generator)[:12]) for _ in range(50)]
    assert nearest(chosen) < min(drawn)
    # Four directions, each repeated: one of each.
    assert {i % 4 for i in dissimilar_subset(torch.eye(4).repeat(5, 1), 4).tolist()} == {0, 1, 2, 3}


@pytest.mark.parametrize("ids", [None, IDS])
def test_the_figure_depends_on_the_samples_only(ids):
    def metric():
        return RetrievalProtocols(dissimilar=20, ids=ids)

    expected = scores_of(filled(metric(), list(range(COUNT))))
    order = random.Random(0).sample(range(COUNT), COUNT)
    for size in (1, 7, 32):
        assert scores_of(filled(metric(), [*order, 3, 4], size)) == expected
    parts = [filled(metric(), order[:30]), filled(metric(), order[20:])]
    parts[0].merge_state(parts[1])
    assert scores_of(parts[0]) == expected
    assert len(expected) == 5 * 12


def test_plots():
    matplotlib.use("Agg")
    figure, _ = filled(RetrievalProtocols(["normal", "batches"]), list(range(COUNT))).plot()
    matplotlib.pyplot.close(figure)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "70 captions are too few for a dissimilar subset of 100"),
        ({"protocols": ["batches"], "pool": 71}, "70 samples do not fill one batch of 71"),
        ({"dissimilar": [IDS[0], "000999"]}, "1 of the 2 samples of the dissimilar subset were not given, '000999'"),
        ({"protocols": ["pool32"], "ids": IDS[:31]}, "31 samples do not fill one pool of 32"),
        ({"ids": [*IDS, "000998"]}, "1 of the 71 samples to score were not given, '000998'"),
    ],
)
def test_too_few_samples_are_an_error(settings, message):
    with pytest.raises(DataError, match=message) as error:
        filled(RetrievalProtocols(**settings), list(range(COUNT))).compute()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocols": []}, "choose from normal, threshold, nsim, batches, pool32"),
        ({"protocols": ["all"]}, "all"),
        ({"pool": 1}, "pool=1"),
        ({"dissimilar": ["000000"]}, "1 dissimilar captions"),
        ({"threshold": 1.5}, r"threshold=1\.5"),
        ({"recalls": (0,)}, "recalls"),
        ({"similarity": "manhattan"}, "choose cosine or euclidean"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RetrievalProtocols(**settings)


def test_wrong_batches_are_refused():
    metric = RetrievalProtocols()
    for sizes in itertools.product((1, 2), repeat=3):
        if sizes != (2, 2, 2):
            with pytest.raises(ValueError):
                metric.update(*(torch.zeros(size, 4) for size in sizes), ["a", "b"])
    with pytest.raises(ValueError, match="sentences is None"):
        metric.update(torch.zeros(2, 4), torch.zeros(2, 4), None, ["a", "b"])
    with pytest.raises(DataError, match="sentences of sample 'b'"):
        metric.update(torch.zeros(2, 4), torch.zeros(2, 4), torch.tensor([[0.0], [torch.nan]]), ["a", "b"])
