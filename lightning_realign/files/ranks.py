"""Files that the first process of a machine makes and its other processes read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning import Trainer


def fill_first(trainer: Trainer, fill: Callable[[], None], name: str) -> None:
    """Call `fill` on every rank, first on the first rank of each machine, and then on the others.

    `fill` makes what its cache lacks and reads the rest. Only the first rank of a machine therefore works; the others
    find its files.

    Args:
        trainer: of the run.
        fill: fills a cache, and reads it.
        name: of the barrier at which the ranks meet.
    """
    first = trainer.local_rank == 0
    if first:
        fill()
    trainer.strategy.barrier(name)
    if not first:
        fill()
