"""Generators whose noisy state is the normalised motion itself."""

from __future__ import annotations

from torch import Tensor

from lightning_realign.errors import FeatureSpecError
from lightning_realign.generators.base import convert_normalisation
from lightning_realign.generators.network import NetworkGenerator
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import zero_padding


class MotionStateGenerator(NetworkGenerator):
    """Base of those: the state x is a motion [B, T, D] in the generator's normalisation.

    Its frames are the motion's own, unless the network hears padded frames (`state_frames`): then all states have as
    many as that, so that a motion does not depend on its batch, and what lies beyond the length is cut off at the end.
    """

    @property
    def latents(self) -> None:
        """Its states are motions."""
        return None

    @property
    def state_frames(self) -> int | None:
        """Frames of every state; None where it has as many as the motion."""
        return None

    @property
    def max_frames(self) -> int | None:
        """Frames of the longest motion it can make; None where only memory limits them."""
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
