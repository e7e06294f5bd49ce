"""Generators whose noisy state is the normalised motion itself."""

from __future__ import annotations

from torch import Tensor

from lightning_realign.errors import FeatureSpecError
from lightning_realign.generators.base import convert_normalisation
from lightning_realign.generators.network import NetworkGenerator
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import zero_padding


class MotionStateGenerator(NetworkGenerator):
    """Base of generators whose state x is a motion [B, T, D] in the generator's normalisation.

    A state usually has as many frames as its motion. Some networks also react to padded frames; their states all have
    `state_frames` frames, so that a motion does not depend on its batch, and the padding is cut off at the end.
    """

    @property
    def latents(self) -> None:
        """None: its states are motions."""
        return None

    @property
    def state_frames(self) -> int | None:
        """Frames of every state; None where it has as many as the motion."""
        return None

    @property
    def max_frames(self) -> int | None:
        """Frames of the longest motion it can make; None if only memory limits them."""
        return self.state_frames

    def noise_shape(self, length: int) -> tuple[int, ...]:
        """(frames, D).

        Raises:
            FeatureSpecError: a motion longer than it can make.
        """
        if self.max_frames is not None and length > self.max_frames:
            raise FeatureSpecError(
                f"a motion of {length} frames: this generator makes at most {self.max_frames}; ask for fewer"
            )
        return self.state_frames or length, len(self.normaliser.mean)

    def to_motion(self, x: Tensor, alpha_bar: float, lengths: Tensor, target: Normaliser) -> Tensor:
        """The state in the target's normalisation, at the same signal level, see `convert_normalisation`."""
        frames = int(lengths.max())
        return zero_padding(convert_normalisation(x[:, :frames], alpha_bar, self.normaliser, target), lengths)

    def features(self, x: Tensor, lengths: Tensor) -> Tensor:
        """A clean state in the data set's own units, zero beyond a sample's length."""
        return zero_padding(self.normaliser.denormalise(x[:, : int(lengths.max())]), lengths)

    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The motions themselves: nothing is lost."""
        return zero_padding(features, lengths)
