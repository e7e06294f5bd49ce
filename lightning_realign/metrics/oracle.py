"""Semantic accuracy: how many motions do what was asked, by the oracle of the synthetic data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_realign.data.synthetic import is_right
from lightning_realign.errors import DataError
from lightning_realign.metrics.keyed import KeyedMetric
from lightning_realign.metrics.physical import frame_counts
from lightning_realign.motion import Skeleton


class OracleAccuracy(KeyedMetric):
    """Semantic accuracy: the fraction of motions that do all that was asked for, and nothing else.

    The rule-based oracle of the synthetic data decides. It reads joints alone and shares nothing with any network; see
    `lightning_realign.data.synthetic.is_right`. A motion that is not finite is wrong.

    As input to `update`:
        joints: [B, T, J, 3] in the skeleton's unit, y up.
        lengths: B numbers of frames; what lies beyond is padding.
        ids: B sample ids.
        attributes: what is asked of each motion, as in the data set's `attributes.json`.

    As output of `compute`: a float64 scalar in [0, 1].

    Args:
        skeleton: the motions' skeleton.
        ids: see `KeyedMetric`.

    Example:
        >>> import torch
        >>> from lightning_realign.data.synthetic import to_attributes
        >>> from lightning_realign.data.synthetic.dataset import make_motion
        >>> from lightning_realign.motion import load_skeleton
        >>> skeleton = load_skeleton("humanml3d")
        >>> motion = make_motion(skeleton, seed=0, split="test", index=0)
        >>> right, asked = torch.from_numpy(motion.joints), to_attributes(motion.actions)
        >>> frozen = right[:1].expand_as(right)
        >>> metric = OracleAccuracy(skeleton)
        >>> metric.update(torch.stack([right, frozen]), [len(right)] * 2, ["a", "b"], [asked, asked])
        >>> metric.compute().item()
        0.5
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, skeleton: Skeleton, ids: Sequence[str] | None = None) -> None:
        super().__init__(("values",), ids=ids)
        self.skeleton = skeleton

    def update(
        self,
        joints: Tensor,
        lengths: Tensor | Sequence[int],
        ids: Sequence[str],
        attributes: Sequence[Mapping[str, Any] | None],
    ) -> None:
        """Take in a batch of motions.

        Raises:
            ValueError: as many joints, lengths, ids and attributes are not given, or a length exceeds the frames.
            DataError: a motion without attributes, one that is too short, or of another skeleton; the message names it.
        """
        counts = frame_counts(joints, lengths, ids)
        if len(attributes) != len(ids):
            raise ValueError(f"there are {len(attributes)} attributes and {len(ids)} ids: expected as many")
        values = [self._right(*sample) for sample in zip(joints.detach().cpu(), counts, ids, attributes, strict=True)]
        self._store(ids, {"values": torch.tensor(values, dtype=torch.float64).reshape(-1, 1)})

    def compute(self) -> Tensor:
        """The fraction of right motions among all seen so far.

        Raises:
            DataError: no samples, or samples of `ids` are missing.
        """
        return self._rows()["values"].mean()

    def _right(self, motion: Tensor, count: int, sample: str, attributes: Mapping[str, Any] | None) -> bool:
        if attributes is None:
            raise DataError(f"sample {sample!r} has no attributes to check: score motions of the synthetic data")
        try:
            return bool(motion[:count].isfinite().all()) and is_right(motion[:count], self.skeleton, attributes)
        except DataError as error:
            raise DataError(f"sample {sample!r}: {error}") from error
