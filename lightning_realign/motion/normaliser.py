"""The statistics that a network was trained with, and how those of a data set are computed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_realign.errors import DataError
from lightning_realign.motion.skeleton.skeleton import Skeleton


class Normaliser(nn.Module):
    """Mean and standard deviation of every feature, as buffers in a network's state dict. The identity until `set`.

    Args:
        shape: shape of what is normalised: D for frames of a motion, (n, d) for a latent.

    Attributes:
        mean, std: tensors of that shape, float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def set(self, mean: Tensor | NDArray[np.floating], std: Tensor | NDArray[np.floating]) -> None:
        """Take over statistics.

        Args:
            mean: mean, of the features' shape.
            std: standard deviation, of the same shape, positive.

        Raises:
            DataError: a shape differs, an entry is not finite, or a standard deviation is not positive.
        """
        values = {name: torch.as_tensor(value).detach() for name, value in (("Mean", mean), ("Std", std))}
        for name, value in values.items():
            if value.shape != self.mean.shape:
                shapes = f"{tuple(value.shape)}, not {tuple(self.mean.shape)}"
                raise DataError(f"{name} has shape {shapes}; use this skeleton's statistics")
            bad = ~value.isfinite() if name == "Mean" else ~(value.isfinite() & (value > 0))
            if bad.any():
                place = tuple(bad.nonzero()[0].tolist())
                index = ", ".join(map(str, place))
                raise DataError(
                    f"{name}[{index}] is {value[place].item():g}; compute the statistics again without broken motions"
                )
        self.mean.copy_(values["Mean"])
        self.std.copy_(values["Std"])

    def normalise(self, features: Tensor) -> Tensor:
        """Features [..., *shape] in their own units to zero mean and unit deviation."""
        return (features - self.mean) / self.std

    def denormalise(self, features: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return features * self.std + self.mean

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any of the statistics."""
        content = b"".join(
            value.detach().float().cpu().numpy().astype("<f4").tobytes() for value in (self.mean, self.std)
        )
        return hashlib.sha256(content).hexdigest()[:16]


def feature_statistics(
    motions: Iterable[Tensor | NDArray[np.floating]], skeleton: Skeleton
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation over all frames. The standard deviation is averaged within each feature block.

    As published (HumanML3D), all entries of a block share one standard deviation; a block that never varies gets 1.
    Moments are merged motion by motion in float64 (Chan et al., 1979), so that large means lose no digits.

    Args:
        motions: features [T, D] each.
        skeleton: the feature format.

    Returns:
        mean and std, [D] each.

    Raises:
        DataError: there is no frame, or a motion has another shape or a non-finite entry.
    """
    count, mean = 0, np.zeros(skeleton.num_features)
    squares = np.zeros(skeleton.num_features)
    for number, motion in enumerate(motions):
        rows = np.asarray(motion, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != skeleton.num_features or not np.isfinite(rows).all():
            raise DataError(
                f"motion {number} has shape {rows.shape} or NaN entries; statistics need finite [T, "
                f"{skeleton.num_features}] features, leave it out"
            )
        if len(rows) == 0:
            continue
        total = count + len(rows)
        change = rows.mean(axis=0) - mean
        squares += rows.var(axis=0) * len(rows) + change**2 * (count * len(rows) / total)
        mean += change * (len(rows) / total)
        count = total
    if count == 0:
        raise DataError("no motion to compute Mean and Std from; check the training split")
    std = np.sqrt(squares / count)
    for _, block in skeleton.blocks:
        average = std[block].mean()
        std[block] = average if average > 0 else 1.0
    return mean, std
