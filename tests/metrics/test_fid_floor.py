"""FID of two samples of one distribution: zero for the same samples, and falling as 1/n otherwise."""

import json
import math

import numpy as np
import pytest
import torch

from lightning_realign.metrics import FrechetDistance
from lightning_realign.metrics.functional.generation import frechet_distance, gaussian_of
from tests.helpers.correlated import embeddings

SPLITS = 200


@pytest.mark.parametrize(("size", "width"), [(4384, 512), (100, 512), (512, 512), (2, 16), (600, 64)])
def test_the_same_motions_have_no_distance(size, width):
    # As wide as embeddings of published evaluators, whose lengths are some 5 to 10, and wider.
    values = 3 * embeddings(size, width)[0] / math.sqrt(width)
    metric = FrechetDistance()
    ids = [str(row) for row in range(size)]
    metric.update(values, ids, real=True)
    metric.update(values, ids, real=False)
    assert metric.compute().item() == pytest.approx(0, abs=1e-6)
    # The order of summation differs, the motions don't.
    assert frechet_distance(gaussian_of(values), gaussian_of(values.flip(0))).item() == pytest.approx(0, abs=1e-6)


def mean_of(distances):
    """The mean, and its standard error."""
    values = np.array(distances)
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


@pytest.mark.parametrize("size", [2, 5, 40])
def test_the_floor_of_gaussian_numbers_is_exact(size):
    """Of one channel: (m1 - m2)^2 + (s1 - s2)^2, whose expectation has a closed form for every n."""
    generator = torch.Generator().manual_seed(size)
    samples = 1.5 * torch.randn(4000, 2, size, 1, generator=generator, dtype=torch.float64)
    found, error = mean_of([frechet_distance(gaussian_of(a), gaussian_of(b)).item() for a, b in samples])
    unbias = math.sqrt(2 / (size - 1)) * math.exp(math.lgamma(size / 2) - math.lgamma((size - 1) / 2))
    expected = 1.5**2 * (2 / size + 2 * (1 - unbias**2))
    assert error < 0.03 * expected
    assert abs(found - expected) < 4 * error


@pytest.mark.parametrize("size", [200, 400, 800])
def test_the_floor_of_gaussian_vectors_is_that_of_theory(size):
    """The leading terms in 1/n: of the means, and of the covariances through the root's second derivative."""
    generator = torch.Generator().manual_seed(size)
    variances = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.25, 0.1], dtype=torch.float64)
    shape = (SPLITS, 2, size, len(variances))
    samples = torch.randn(shape, generator=generator, dtype=torch.float64) * variances.sqrt()
    found, error = mean_of([frechet_distance(gaussian_of(a), gaussian_of(b)).item() for a, b in samples])
    products = variances[:, None] * variances * (1 + torch.eye(len(variances)))
    covariance = (products / (variances[:, None] + variances)).sum() / (size - 1)
    expected = (2 * variances.sum() / size + covariance).item()
    assert error < 0.04 * expected
    assert abs(found - expected) < 4 * error + 2 * expected / size


@pytest.fixture(scope="module")
def real(test_data):
    """Motion capture embedded in 8 channels: a fixed projection of each motion's mean and extent, whitened."""
    folder = test_data / "bandai_namco"
    positions = np.load(folder / "positions.npz")["positions"]
    rows = []
    for motion in json.loads((folder / "index.json").read_text()):
        joints = positions[motion["start"] : motion["start"] + motion["length"]] * 0.00025
        rows.append(np.concatenate([joints.mean(axis=0).ravel(), joints.std(axis=0).ravel()]))
    features = torch.from_numpy(np.stack(rows))
    generator = torch.Generator().manual_seed(0)
    projected = features @ torch.randn(features.shape[1], 8, generator=generator, dtype=torch.float64)
    return torch.linalg.solve_triangular(
        torch.linalg.cholesky(gaussian_of(projected).covariance), (projected - projected.mean(dim=0)).T, upper=False
    ).T


def test_the_floor_of_real_motions_falls_as_one_over_n(real):
    """Disjoint random parts of n motions: n times the floor is the same for every n, to 8%."""
    generator = torch.Generator().manual_seed(1)
    scaled = {}
    for size in (160, 320, 640, 1280):
        floors, means = [], []
        for _ in range(SPLITS):
            order = torch.randperm(len(real), generator=generator)
            first, second = gaussian_of(real[order[:size]]), gaussian_of(real[order[size : 2 * size]])
            floors.append(frechet_distance(first, second).item())
            means.append((first.mean - second.mean).square().sum().item())
        scaled[size] = size * np.mean(floors)
        # Of disjoint parts, the means' share is exactly 2/n of the variances, which add up to 8.
        found, error = mean_of(means)
        assert abs(found - 2 * 8 / size) < 4 * error
        assert error < 0.06 * found
    assert list(scaled.values()) == pytest.approx([np.mean(list(scaled.values()))] * 4, rel=0.08)
