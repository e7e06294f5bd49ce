"""The same random numbers through the field's published code, whose figures are kept here, and through ours.

Guo et al.'s functions as in github.com/EricGuo5513/text-to-motion (commit 72df96e) and, with GMD's skating ratio, in
github.com/korrawe/guided-motion-diffusion (commit 7bc73c0), and the retrieval figures of github.com/Mathux/TMR (commits
7acb199 and 6d74688), run in float64 on NumPy's frozen legacy generator. Where theirs draw pairs, they were given ours.
"""

import numpy as np
import pytest
import torch

from lightning_realign.metrics.functional.generation import (
    diversity,
    frechet_distance,
    gaussian_of,
    matching_distance,
    multimodality,
    r_precision,
)
from lightning_realign.metrics.functional.physical import foot_skating_ratio
from lightning_realign.metrics.functional.retrieval import median_rank, recall_at_k, retrieval_ranks
from lightning_realign.motion import load_skeleton


@pytest.fixture
def numbers():
    """Embeddings of captions and motions, joints, and tied similarities with pairs that count as the same."""
    random = np.random.RandomState(7)
    mixing = random.randn(16, 16)
    text = random.randn(320, 16) @ mixing
    motion = text + 1.5 * random.randn(320, 16) @ mixing
    joints = (0.03 * random.randn(80, 22, 3)).cumsum(axis=0)
    joints[..., 1] = joints[..., 1] / 3 + 0.03
    similarity = random.randint(0, 12, (60, 60)).astype(np.float64)
    same = random.rand(60, 60) < 0.03
    return [torch.from_numpy(values) for values in (text, motion, joints, similarity, same | same.T)]


def test_generation_figures(numbers):
    text, motion, *_ = numbers
    pools = torch.arange(320).reshape(10, 32)
    assert r_precision(text, motion, pools).tolist() == pytest.approx([0.24375, 0.3625, 0.471875], rel=1e-12)
    assert matching_distance(text, motion).item() == pytest.approx(21.504508045199884, rel=1e-12)
    found = frechet_distance(gaussian_of(text), gaussian_of(motion)).item()
    assert found == pytest.approx(143.048833562332, rel=1e-9)


@pytest.mark.parametrize(
    ("width", "count", "hits", "distance", "fid", "spread", "many"),
    [
        (
            64,
            640,
            [83, 117, 168, 204, 246, 281, 304, 339, 357, 386],
            10.437308155656941,
            2.2643968776248187,
            11.411621655383193,
            11.797256567383783,
        ),
        (
            512,
            1536,
            [765, 990, 1133, 1227, 1295, 1341, 1381, 1407, 1424, 1441],
            29.61533232266156,
            51.53434502765526,
            32.30702038516393,
            32.2478651780693,
        ),
    ],
)
def test_figures_of_wide_embeddings(width, count, hits, distance, fid, spread, many):
    random = np.random.RandomState(11)
    mixing = random.randn(width, width) / width**0.5
    text = random.randn(count, width) @ mixing
    motion = torch.from_numpy(0.15 * text + random.randn(count, width) @ mixing)
    text = torch.from_numpy(text)
    found = r_precision(text, motion, torch.arange(count).reshape(-1, 32), top=10)
    assert (count * found).tolist() == pytest.approx(hits, rel=1e-12)
    assert matching_distance(text, motion).item() == pytest.approx(distance, rel=1e-12)
    assert frechet_distance(gaussian_of(text), gaussian_of(motion)).item() == pytest.approx(fid, abs=1e-8)
    assert diversity(motion, 300, seed=5).item() == pytest.approx(spread, rel=1e-12)
    # 30 motions for each caption, as in the field.
    repeated = motion.reshape(-1, 32, width)[:, :30]
    assert multimodality(repeated, 10, seed=5).item() == pytest.approx(many, rel=1e-12)


@pytest.mark.parametrize(("grouped", "hits"), [(False, [14, 23, 29]), (True, [20, 35, 44])])
def test_r_precision_with_ties(grouped, hits):
    """Whole numbers, so that Guo et al.'s distances tie exactly; their rows ranked by TMR's rule, also by group."""
    random = np.random.RandomState(12)
    text, motion = (torch.from_numpy(random.randint(0, 3, (320, 4)).astype(np.float64)) for _ in range(2))
    groups = torch.from_numpy(random.randint(0, 40, 320))
    found = r_precision(text, motion, torch.arange(320).reshape(10, 32), groups if grouped else None)
    assert (320 * found).tolist() == pytest.approx(hits, rel=1e-12)


def test_foot_skating(numbers):
    found = foot_skating_ratio(numbers[2], load_skeleton("humanml3d")).item()
    assert found == pytest.approx(0.8734177215189873, rel=1e-12)


@pytest.mark.parametrize(
    ("threshold", "recalls", "median", "total"),
    [
        (False, [0, 5 / 3, 5, 25 / 3, 40 / 3], 30.25, 1802),
        (True, [10 / 3, 10, 85 / 3, 125 / 3, 160 / 3], 10, 679.5),
    ],
)
def test_retrieval_with_ties(numbers, threshold, recalls, median, total):
    similarity, same = numbers[3:]
    ranks = retrieval_ranks(similarity, same if threshold else None)
    assert [recall_at_k(ranks, k).item() for k in (1, 2, 3, 5, 10)] == pytest.approx(recalls, rel=1e-12)
    assert median_rank(ranks) == median
    assert ranks.sum() == total
