"""The training loader: a run that was stopped within an epoch continues with the batches that it has not had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from lightning_realign.data.sampler import BucketSampler
from lightning_realign.errors import ConfigError
from lightning_realign.types import MotionTextBatch


class TrainingLoader(DataLoader[Any]):
    """A `DataLoader` over a `BucketSampler` with a state, which Lightning keeps in a checkpoint's loops.

    The state counts the batches that were handed out, not the ones that workers have fetched ahead. It is the same on
    every rank.
    """

    _epoch = 0
    _batches = 0
    _batch_size = 0
    _resuming = False

    def __iter__(self) -> Iterator[MotionTextBatch]:  # type: ignore[override]
        """The batches of the sampler's epoch, without those that a loaded state has counted in this epoch.

        Nothing is fetched before the first batch is needed. Lightning makes the iterator of a resumed run before it
        knows which epoch it is in, and workers would begin at once.

        Raises:
            ConfigError: the state is from within this epoch and has another batch size.
        """
        sampler = self.sampler
        if not isinstance(sampler, BucketSampler):  # Trainer.overfit_batches replaces it
            yield from super().__iter__()
            return
        self._batches = self._to_skip(sampler)
        self._epoch, self._resuming = sampler.epoch, False
        sampler.skip = self._batches * sampler.batch_size
        for batch in super().__iter__():
            self._batches += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, the number of batches handed out in it, and the number of samples in a batch of all ranks."""
        size = self._batch_size if self._resuming else self._joint_batch_size()
        return {"epoch": self._epoch, "batches": self._batches, "batch_size": size}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue after the batches of `state_dict()` in the next iteration, if it belongs to the same epoch."""
        self._epoch, self._batches, self._batch_size = state["epoch"], state["batches"], state["batch_size"]
        self._resuming = True

    def _to_skip(self, sampler: BucketSampler) -> int:
        if not self._resuming or self._epoch != sampler.epoch or not self._batches:
            return 0
        size = self._joint_batch_size()
        if size != self._batch_size:
            raise ConfigError(
                f"data.batch_size times the number of devices is {size}, but the checkpoint is from within an epoch "
                f"of batches of {self._batch_size}: keep that, or resume from a checkpoint of the end of an epoch"
            )
        return self._batches

    def _joint_batch_size(self) -> int:
        ranks = self.sampler.num_replicas if isinstance(self.sampler, BucketSampler) else 1
        return (self.batch_size or 1) * ranks
