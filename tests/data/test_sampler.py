import numpy as np
import pytest
from torch.utils.data import BatchSampler

from lightning_realign.data.sampler import BucketSampler

LENGTHS = np.random.default_rng(0).integers(40, 200, 501).tolist()


def make(batch_size=16, training=True, ranks=1, rank=0, seed=3, epoch=0, **rest):
    sampler = BucketSampler(LENGTHS, batch_size, training=training, seed=seed, num_replicas=ranks, rank=rank, **rest)
    sampler.set_epoch(epoch)
    return sampler


def indices(sampler):
    return [item[1] if isinstance(item, tuple) else item for item in sampler]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("bucket", [True, False])
def test_evaluation_sees_every_sample_once(ranks, bucket):
    shards = [make(training=False, ranks=ranks, rank=rank, bucket=bucket) for rank in range(ranks)]
    assert sorted(index for shard in shards for index in indices(shard)) == list(range(501))
    assert [len(shard) for shard in shards] == [len(indices(shard)) for shard in shards]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_training_ranks_are_disjoint_and_have_equally_many_full_batches(ranks):
    shards = [make(ranks=ranks, rank=rank, epoch=5) for rank in range(ranks)]
    drawn = [index for shard in shards for index in indices(shard)]
    assert len(set(drawn)) == len(drawn) == 501 // (16 * ranks) * 16 * ranks
    assert {len(shard) for shard in shards} == {len(drawn) // ranks}
    assert all(epoch == 5 for shard in shards for epoch, _ in shard)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_together_see_the_batches_of_one_rank_with_the_joint_batch(ranks):
    joint = list(BatchSampler(indices(make(16 * ranks)), 16 * ranks, drop_last=True))
    shards = [
        list(BatchSampler(indices(make(16, ranks=ranks, rank=rank)), 16, drop_last=True)) for rank in range(ranks)
    ]
    for batch, parts in zip(joint, zip(*shards, strict=True), strict=True):
        assert sorted(batch) == sorted(index for part in parts for index in part)


def test_order_depends_on_seed_and_epoch_alone():
    assert list(make(epoch=2)) == list(make(epoch=2))
    assert indices(make(epoch=2)) != indices(make(epoch=3))
    assert indices(make(seed=3)) != indices(make(seed=4))


def test_batch_mates_change_between_epochs():
    def pairs(epoch):
        batches = BatchSampler(indices(make(epoch=epoch)), 16, drop_last=True)
        return {(a, b) for batch in batches for a in batch for b in batch if a < b}

    assert len(pairs(0) & pairs(1)) < 0.5 * len(pairs(0))


def test_no_length_is_favoured_by_the_dropped_remainder():
    seen = np.zeros(501)
    for epoch in range(200):
        seen[indices(make(epoch=epoch))] += 1
    long = np.asarray(LENGTHS) > 180
    assert abs(seen[long].mean() - seen[~long].mean()) < 1.0


def waste(sampler, batch_size):
    lengths = np.asarray(LENGTHS)
    batches = [lengths[batch] for batch in BatchSampler(indices(sampler), batch_size, drop_last=False)]
    return 1 - sum(batch.sum() for batch in batches) / sum(len(batch) * batch.max() for batch in batches)


def test_buckets_waste_little_padding():
    assert waste(make(), 16) < 0.10
    assert waste(make(training=False), 16) < 0.03
    assert waste(make(bucket=False), 16) > 0.25


def test_fewer_samples_than_a_batch_yield_nothing():
    sampler = BucketSampler([50] * 5, 8, training=True)
    assert list(sampler) == []
    assert len(sampler) == 0
