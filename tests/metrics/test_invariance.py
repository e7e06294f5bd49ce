"""Every figure is a property of the samples: not of batches, their order, the loader's workers, or the ranks."""

import random

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader

from tests.helpers.correlated import COUNT
from tests.helpers.every_metric import Samples, figures_of

SIZES = (1, 7, 32)
# By the number of ranks: each one's samples, uneven, some of them seen by two.
SHARDS = {
    1: [range(COUNT)],
    2: [range(42), range(40, COUNT)],
    3: [range(1), range(1, 50), range(48, COUNT)],
}


@pytest.fixture(scope="module")
def expected():
    found = figures_of(DataLoader(Samples(range(COUNT)), batch_size=COUNT))
    assert len(found) == 9 + 4 + 2 * 12 + 2 * 60 + 1 + 4
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    apart = {
        name: (found[name], value)
        for name, value in expected.items()
        if not abs(found[name] - value) <= (1e-6 if name.startswith("FID") else 1e-9)
    }
    assert not apart


def test_other_samples_have_other_figures(expected):
    samples = Samples(range(COUNT))
    samples.motion, samples.joints = 1.5 * samples.motion.flip(0), 1.5 * samples.joints
    found = figures_of(DataLoader(samples, batch_size=COUNT))
    changed = {name.split("/")[0] for name, value in expected.items() if found[name] != value}
    assert changed == {name.split("/")[0] for name in expected}


@pytest.mark.parametrize("size", SIZES)
def test_batches_and_order_do_not_matter(size, expected):
    order = random.Random(size).sample(range(COUNT), COUNT)
    assert_same(figures_of(DataLoader(Samples([*order, *order[:5]]), batch_size=size)), expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_matter(workers, expected):
    loader = DataLoader(Samples(range(COUNT)), batch_size=7, num_workers=workers, multiprocessing_context="spawn")
    assert_same(figures_of(loader), expected)


def _rank(rank, folder):
    """The figures of 3 ranks, then of 2, then of 1, in one start of three processes."""
    torch.set_num_threads(1)
    found = {}
    for world in sorted(SHARDS, reverse=True):
        if rank < world:
            dist.init_process_group("gloo", init_method=f"file://{folder}/store{world}", rank=rank, world_size=world)
            for size in SIZES:
                found[world, size] = figures_of(DataLoader(Samples(SHARDS[world][rank]), batch_size=size))
            dist.destroy_process_group()
    torch.save(found, f"{folder}/{rank}.pt")


def test_ranks_do_not_matter(tmp_path, expected):
    mp.spawn(_rank, args=(str(tmp_path),), nprocs=max(SHARDS))
    for rank in range(max(SHARDS)):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert len(found) == len(SIZES) * (max(SHARDS) - rank)
        for figures in found.values():
            assert_same(figures, expected)
