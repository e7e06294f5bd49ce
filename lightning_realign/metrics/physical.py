"""Physical quality as torchmetrics metrics: means over motions, independent of batch size, order and ranks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_realign.errors import DataError
from lightning_realign.metrics.functional.physical import (
    foot_height,
    foot_skating_ratio,
    ground_penetration,
    jerk,
)
from lightning_realign.metrics.keyed import KeyedMetric
from lightning_realign.motion import Skeleton


def frame_counts(joints: Tensor, lengths: Tensor | Sequence[int], ids: Sequence[str]) -> list[int]:
    """The lengths of B motions [B, T, J, 3] as numbers.

    Raises:
        ValueError: as many joints, lengths and ids are not given, or a length exceeds the frames.
    """
    counts = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    if not len(joints) == len(counts) == len(ids) or max(counts, default=0) > joints.shape[1]:
        raise ValueError(
            f"joints have shape {tuple(joints.shape)}, and there are {len(counts)} lengths up to "
            f"{max(counts, default=0)} and {len(ids)} ids: expected [B, T, J, 3], B lengths up to T, and B ids"
        )
    return counts


class PhysicalMetric(KeyedMetric):
    """The mean over motions of a function of their joints. Every motion counts the same, whatever its length.

    As input to `update`:
        joints: [B, T, J, 3] in the skeleton's unit.
        lengths: B numbers of frames; what lies beyond is padding.
        ids: B sample ids.

    As output of `compute`: a float64 scalar.

    Args:
        skeleton: the motions' skeleton.
        ids: see `KeyedMetric`.
    """

    higher_is_better: bool | None = False

    def __init__(self, skeleton: Skeleton, ids: Sequence[str] | None = None) -> None:
        super().__init__(("values",), ids=ids)
        self.skeleton = skeleton

    @abstractmethod
    def measure(self, joints: Tensor) -> Tensor:
        """The value of one motion [T, J, 3], a float64 scalar."""

    def update(self, joints: Tensor, lengths: Tensor | Sequence[int], ids: Sequence[str]) -> None:
        """Take in a batch of motions.

        Raises:
            ValueError: as many joints, lengths and ids are not given, or a length exceeds the frames.
            DataError: a motion that is too short, of another skeleton, or not finite; the message names it.
        """
        counts = frame_counts(joints, lengths, ids)
        values = torch.empty(len(ids), 1, dtype=torch.float64)
        for row, (motion, count, sample) in enumerate(zip(joints.detach(), counts, ids, strict=True)):
            try:
                values[row] = self.measure(motion[:count])
            except DataError as error:
                raise DataError(f"sample {sample!r}: {error}") from error
        self._store(ids, {"values": values})

    def compute(self) -> Tensor:
        """The mean over everything seen so far.

        Raises:
            DataError: no samples, or samples of `ids` are missing.
        """
        return self._rows()["values"].mean()


class FootSkatingRatio(PhysicalMetric):
    """Fraction of frames in which a foot on the ground slides; see `foot_skating_ratio` (GMD, ICCV 2023).

    Inputs, output and arguments are those of `PhysicalMetric`.

    Example:
        >>> import torch
        >>> from lightning_realign.motion import load_skeleton
        >>> metric = FootSkatingRatio(load_skeleton("humanml3d"))
        >>> metric.update(torch.zeros(2, 5, 22, 3), [5, 4], ["a", "b"])
        >>> metric.compute().item()
        0.0
    """

    plot_upper_bound = 1.0

    def measure(self, joints: Tensor) -> Tensor:
        """The ratio of one motion [T, J, 3]."""
        return foot_skating_ratio(joints, self.skeleton)


class FootHeight(PhysicalMetric):
    """Mean height of the lowest foot joint, in metres; see `foot_height`. The nearer to real motions', the better.

    Inputs, output and arguments are those of `PhysicalMetric`.

    Example:
        >>> import torch
        >>> from lightning_realign.motion import load_skeleton
        >>> metric = FootHeight(load_skeleton("humanml3d"))
        >>> metric.update(torch.full((2, 5, 22, 3), 0.5), [5, 4], ["a", "b"])
        >>> metric.compute().item()
        0.5
    """

    higher_is_better = None
    plot_lower_bound = None

    def measure(self, joints: Tensor) -> Tensor:
        """The height of one motion [T, J, 3]."""
        return foot_height(joints, self.skeleton)


class Jerk(PhysicalMetric):
    """Mean length of the joints' jerk, in m/s^3; see `jerk` (TransPose, SIGGRAPH 2021).

    Inputs, output and arguments are those of `PhysicalMetric`; a motion needs at least 4 frames.

    Example:
        >>> import torch
        >>> from lightning_realign.motion import load_skeleton
        >>> metric = Jerk(load_skeleton("humanml3d"))
        >>> steady = torch.arange(6.0).reshape(1, 6, 1, 1).expand(1, 6, 22, 3)
        >>> metric.update(steady, [6], ["a"])
        >>> metric.compute().item()
        0.0
    """

    def measure(self, joints: Tensor) -> Tensor:
        """The jerk of one motion [T, J, 3]."""
        return jerk(joints, self.skeleton)


class GroundPenetration(PhysicalMetric):
    """Mean depth of the lowest joint below the ground, in metres; see `ground_penetration` (after PhysDiff).

    Inputs, output and arguments are those of `PhysicalMetric`.

    Example:
        >>> import torch
        >>> from lightning_realign.motion import load_skeleton
        >>> metric = GroundPenetration(load_skeleton("humanml3d"))
        >>> metric.update(torch.full((1, 5, 22, 3), -0.25), [5], ["a"])
        >>> metric.compute().item()
        0.25
    """

    def measure(self, joints: Tensor) -> Tensor:
        """The depth of one motion [T, J, 3]."""
        return ground_penetration(joints, self.skeleton)
