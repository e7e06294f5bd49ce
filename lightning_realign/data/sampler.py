"""The order of samples: shuffled, bucketed by length, split between ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data.distributed import DistributedSampler

# Training shuffles, then sorts this many global batches at a time by length. That is enough to keep padding small, and
# few enough that a motion shares its batch with other motions in every epoch.
CHUNK_BATCHES = 8


class BucketSampler(DistributedSampler[int | tuple[int, int]]):
    """An order of indices in which every run of `batch_size` consecutive ones has similar lengths.

    An ordinary `BatchSampler` on top of it yields the buckets, so Lightning can wrap it again for prediction. It is a
    `DistributedSampler`, so Lightning never replaces it by one that repeats samples.

    Training yields (epoch, index), shuffled anew in every epoch from (seed, epoch). Every rank gets the same number of
    full batches, and a random remainder is dropped. Together, W ranks with batches of B get the batches that one rank
    gets with batches of W * B. Evaluation yields indices, longest first, each on exactly one rank.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        training: bool,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        bucket: bool = True,
    ) -> None:
        """An order of `len(lengths)` indices.

        Args:
            lengths: frames of each sample.
            batch_size: samples per batch and rank.
            training: whether to shuffle and drop a remainder; otherwise every index comes once.
            seed: seed of the shuffling.
            num_replicas: number of ranks.
            rank: this rank.
            bucket: whether to bucket by length.
        """
        super().__init__(lengths, num_replicas, rank, shuffle=training, seed=seed, drop_last=training)  # type: ignore[arg-type]
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.batch_size = batch_size
        self.training = training
        self.bucket = bucket
        # How many samples the next iteration leaves out at its beginning, for a run that resumes within an epoch.
        self.skip = 0

    def __len__(self) -> int:
        count = len(self.lengths)
        if self.training:
            return count // (self.batch_size * self.num_replicas) * self.batch_size
        return len(range(self.rank, count, self.num_replicas))

    def __iter__(self) -> Iterator[int | tuple[int, int]]:
        order = self._training_order() if self.training else self._evaluation_order()
        order, self.skip = order[self.skip :], 0
        for index in order.tolist():
            yield (self.epoch, index) if self.training else index

    def _training_order(self) -> NDArray[np.int64]:
        random = np.random.default_rng((self.seed, self.epoch))
        size = self.batch_size * self.num_replicas
        batches = len(self.lengths) // size
        # The remainder is dropped before sorting; afterwards, it would always be the longest motions.
        order = random.permutation(len(self.lengths))[: batches * size]
        if self.bucket:
            chunks = [
                order[first : first + CHUNK_BATCHES * size] for first in range(0, len(order), CHUNK_BATCHES * size)
            ]
            order = np.concatenate(
                [chunk[np.argsort(self.lengths[chunk], kind="stable")] for chunk in chunks] or [order]
            )
        order = order.reshape(batches, size)[random.permutation(batches)]
        return order[:, self.rank :: self.num_replicas].reshape(-1).astype(np.int64)

    def _evaluation_order(self) -> NDArray[np.int64]:
        # The longest come first, so that memory runs out at the start or not at all.
        order = np.argsort(-self.lengths, kind="stable") if self.bucket else np.arange(len(self.lengths))
        return order[self.rank :: self.num_replicas].astype(np.int64)
