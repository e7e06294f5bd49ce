"""Figures of generation as functions, against closed forms, SciPy, loops and examples worked by hand."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from lightning_realign.metrics.functional.generation import (
    GaussianFit,
    diversity,
    draw,
    frechet_distance,
    gaussian_of,
    matching_distance,
    multimodality,
    pairwise_distance,
    pools_of,
    r_precision,
)
from tests.helpers.correlated import COUNT, embeddings, reference_r_precision


def sqrtm_distance(first, second):
    """The definition, by SciPy's matrix square root."""
    one, two = (np.cov(values.numpy(), rowvar=False) for values in (first, second))
    shift = (first.mean(0) - second.mean(0)).numpy()
    return shift @ shift + np.trace(one) + np.trace(two) - 2 * np.trace(scipy.linalg.sqrtm(one @ two)).real


@pytest.mark.parametrize("width", [2, 16, 64])
def test_fid_agrees_with_the_matrix_square_root(width):
    first, second = embeddings(40 * width, width, seed=1)
    found = frechet_distance(gaussian_of(first), gaussian_of(second + 0.3)).item()
    assert found == pytest.approx(sqrtm_distance(first, second + 0.3), rel=1e-8)


def test_fid_of_gaussians_in_closed_form():
    def diagonal(mean, deviations):
        return GaussianFit(
            torch.tensor(mean, dtype=torch.float64), torch.tensor(deviations, dtype=torch.float64).square().diag()
        )

    one, other = diagonal([0.0, 1.0, 2.0], [1.0, 2.0, 0.0]), diagonal([3.0, 1.0, 2.0], [4.0, 0.5, 0.0])
    assert frechet_distance(one, other).item() == pytest.approx(9 + (1 - 4) ** 2 + (2 - 0.5) ** 2)
    # Of multiples of one covariance, in any basis: (sqrt(a) - sqrt(b))^2 tr C.
    covariance = gaussian_of(embeddings(100)[0]).covariance
    zero = torch.zeros(len(covariance), dtype=torch.float64)
    found = frechet_distance(GaussianFit(zero, 2 * covariance), GaussianFit(zero, 5 * covariance)).item()
    assert found == pytest.approx((math.sqrt(5) - math.sqrt(2)) ** 2 * covariance.trace().item())


@pytest.mark.parametrize(("size", "width"), [(50, 128), (3, 16), (400, 64)])
def test_fid_of_a_set_with_itself_is_zero(size, width):
    values, _ = embeddings(size, width)
    gaussian = gaussian_of(values)
    assert frechet_distance(gaussian, gaussian).item() <= 1e-9 * gaussian.covariance.trace().item()
    shifted = frechet_distance(gaussian, gaussian_of(values + 1)).item()
    assert shifted == pytest.approx(width, rel=1e-6)


def test_fid_with_fewer_samples_than_dimensions_is_that_of_their_span():
    first, second = embeddings(20, 6)
    plane = torch.linalg.qr(torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    expected = frechet_distance(gaussian_of(first), gaussian_of(second)).item()
    found = frechet_distance(gaussian_of(first @ plane.T), gaussian_of(second @ plane.T)).item()
    assert found == pytest.approx(expected, rel=1e-9)
    # The trace of the root is also the nuclear norm of the product of the centred data.
    first, second = embeddings(10, 40)
    centred = [(values - values.mean(0)).numpy() / 3 for values in (first, second)]
    root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    shift = (first.mean(0) - second.mean(0)).square().sum().item()
    expected = shift + sum((values**2).sum() for values in centred) - 2 * root
    assert frechet_distance(gaussian_of(first), gaussian_of(second)).item() == pytest.approx(expected, rel=1e-9)


def test_fid_is_symmetric_and_free_of_rotations():
    first, second = embeddings(60, 10)
    rotation = torch.linalg.qr(embeddings(10, 10, seed=5)[0]).Q
    found = frechet_distance(gaussian_of(first), gaussian_of(second)).item()
    assert frechet_distance(gaussian_of(second), gaussian_of(first)).item() == pytest.approx(found, rel=1e-9)
    turned = frechet_distance(gaussian_of(first @ rotation), gaussian_of(second @ rotation)).item()
    assert turned == pytest.approx(found, rel=1e-9)


def test_r_precision_by_hand():
    # Motions on a line at 0, 1, 2, 3; the captions' places put their own motions 1st, 2nd, 2nd and 4th.
    motion = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    text = torch.tensor([[0.1], [1.6], [1.4], [0.0]])
    pools = torch.arange(4)[None]
    assert r_precision(text, motion, pools).tolist() == [0.25, 0.75, 0.75]
    # Captions 1 and 2 are the same text: each finds the other's motion first.
    groups = torch.tensor([0, 1, 1, 3])
    assert r_precision(text, motion, pools, groups).tolist() == [0.75, 0.75, 0.75]
    # Caption 3 at 0 finds motion 0 first if that one's caption is the same.
    assert r_precision(text, motion, pools, torch.tensor([3, 1, 2, 3])).tolist() == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("repeats", [COUNT, 25, 4])
def test_r_precision_agrees_with_a_loop(repeats):
    text, motion = embeddings(signal=0.4)
    pools, groups = pools_of(COUNT, 16, seed=3), torch.arange(COUNT) % repeats
    expected = reference_r_precision(text.numpy(), motion.numpy(), pools, groups.tolist(), 5)
    assert r_precision(text, motion, pools, groups, top=5).tolist() == pytest.approx(expected.tolist())
    if repeats == COUNT:
        assert r_precision(text, motion, pools, top=5).tolist() == pytest.approx(expected.tolist())


def test_r_precision_of_ties_is_no_better_than_chance():
    text, motion = embeddings(32)
    assert r_precision(text, torch.ones_like(motion), torch.arange(32)[None]).tolist() == [0, 0, 0]
    motion[1] = motion[0]
    distance = pairwise_distance(text, motion)
    assert torch.equal(distance[:, 0], distance[:, 1])


def test_matching_distance_is_the_mean_of_norms():
    text, motion = embeddings()
    expected = np.mean([np.linalg.norm(a - b) for a, b in zip(text.numpy(), motion.numpy(), strict=True)])
    assert matching_distance(text, motion).item() == pytest.approx(expected)


def test_diversity_and_multimodality_agree_with_loops():
    values, _ = embeddings()
    generator = torch.Generator().manual_seed(4)
    first, second = draw(COUNT, 30, generator).tolist(), draw(COUNT, 30, generator).tolist()
    assert len(set(first)) == len(set(second)) == 30
    assert first != second
    expected = np.mean([np.linalg.norm(values[i] - values[j]) for i, j in zip(first, second, strict=True)])
    assert diversity(values, 30, seed=4).item() == pytest.approx(expected)
    motions = values.reshape(7, 10, -1)
    generator = torch.Generator().manual_seed(4)
    first, second = draw(10, 6, generator).tolist(), draw(10, 6, generator).tolist()
    distances = [
        np.linalg.norm(motion[i] - motion[j]) for motion in motions for i, j in zip(first, second, strict=True)
    ]
    assert multimodality(motions, 6, seed=4).item() == pytest.approx(np.mean(distances))


def test_diversity_of_gaussians_approaches_its_expectation():
    values = torch.randn(3000, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # The distance of two standard normal vectors is sqrt(2) chi_50; pairs of a motion with itself lower it by 1/N.
    expected = 2 * math.exp(math.lgamma(51 / 2) - math.lgamma(25)) * (1 - 1 / 3000)
    assert diversity(values, 3000).item() == pytest.approx(expected, rel=0.01)


def test_draws_leave_the_global_random_state_alone():
    values, _ = embeddings()
    before = torch.get_rng_state()
    assert diversity(values, 30) == diversity(values, 30)
    assert diversity(values, 30) != diversity(values, 30, seed=1)
    multimodality(values.reshape(7, 10, -1))
    assert torch.equal(torch.get_rng_state(), before)
