"""Tensors of all ranks together, as the contrastive loss needs them for its negatives."""

from __future__ import annotations

import lightning as L
from torch import Tensor


def of_all_ranks(module: L.LightningModule, x: Tensor) -> Tensor:
    """The tensors [B, W] of all ranks, one after the other, with gradient: [ranks B, W].

    Raises:
        TypeError: the ranks hold something else than tensors.
    """
    everyone = module.all_gather(x, sync_grads=True)
    if not isinstance(everyone, Tensor):
        raise TypeError(f"gathering a tensor gave {type(everyone).__name__}")
    # One process gets [B, W] back, several get [ranks, B, W].
    return everyone.reshape(-1, x.shape[-1])
