"""One generated motion, to look at or to save."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_realign.errors import ConfigError
from lightning_realign.motion.predictions import Prediction, file_stem, write_prediction
from lightning_realign.motion.skeleton.skeleton import Skeleton

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".npz", ".bvh", ".glb")


@dataclass(frozen=True)
class Motion:
    """One motion of a batch of generated ones.

    Args:
        prediction: the batch, and how it was made.
        place: which of its motions, from 0.
    """

    prediction: Prediction
    place: int

    def __repr__(self) -> str:
        frames, skeleton = len(self.features), self.skeleton
        return f"Motion({self.text!r}, {frames} frames at {skeleton.fps:g} fps, skeleton {skeleton.name!r})"

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prediction.captions[self.place]

    @property
    def name(self) -> str:
        """A file name without its suffix, of the text, the length and the number of the sample."""
        prediction = self.prediction
        return file_stem(prediction.ids[self.place], prediction.replication, prediction.replications)

    @property
    def skeleton(self) -> Skeleton:
        """Names and parents of the joints, frame rate and unit."""
        return self.prediction.skeleton

    @property
    def features(self) -> Tensor:
        """[T, D] in the data set's own units, on the CPU."""
        return self.prediction.features[self.place]

    @property
    def joints(self) -> Tensor:
        """[T, J, 3] positions in the skeleton's unit, y up, on the CPU."""
        return self.prediction.joints[self.place]

    @property
    def rewards(self) -> Tensor:
        """[S] the reward at each sampling step; NaN at a step without guidance."""
        return self.prediction.motions.rewards[self.place].detach().cpu()

    def save(self, path: Path | str) -> Path:
        """Write the motion to a file.

        Args:
            path: it ends in `.npz` (joints, features, rewards and how the motion was made), `.bvh` (Blender, Unreal
                Engine, MotionBuilder) or `.glb` (binary glTF, for the web).

        Returns:
            The path.

        Raises:
            ConfigError: another suffix.
            DataError: a motion that is not finite cannot become BVH or glTF.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".npz":
            write_prediction(self.prediction, self.place, path)
        elif suffix in SUFFIXES:
            # Imported here, since generating needs neither, and both take as long to import as torch.
            from lightning_realign.motion.bvh.write import write_bvh
            from lightning_realign.motion.gltf import write_glb

            write = write_bvh if suffix == ".bvh" else write_glb
            write(path, self.joints.numpy(), self.skeleton, self.skeleton.fps)
        else:
            raise ConfigError(f"{path}: a motion is saved as {', '.join(SUFFIXES)}; end the name in one of them")
        return path
