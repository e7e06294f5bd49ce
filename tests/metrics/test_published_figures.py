"""The same random numbers through the field's published code, whose figures are kept here, and through ours.

Guo et al.'s functions and GMD's skating ratio as in github.com/korrawe/guided-motion-diffusion (commit 7bc73c0), and
the retrieval figures of github.com/Mathux/TMR (commit 7acb199), run in float64 on NumPy's frozen legacy generator.
"""

import numpy as np
import pytest
import torch

from lightning_realign.metrics.functional import median_rank, recall_at_k, retrieval_ranks
from lightning_realign.metrics.generation_functional import (
    frechet_distance,
    gaussian_of,
    matching_distance,
    r_precision,
)
from lightning_realign.metrics.physical_functional import foot_skating_ratio
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
