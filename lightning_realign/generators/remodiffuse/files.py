"""The public files of ReMoDiffuse: what they hold, and where they are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from lightning_realign.checkpoints.published import sizes_of_weights
from lightning_realign.errors import CheckpointError, DataError
from lightning_realign.files.weights import load_strictly, read_weights, state_under
from lightning_realign.generators.base import LoadOptions
from lightning_realign.generators.motiondiffuse import read_sizes, scaled_statistics
from lightning_realign.generators.remodiffuse.database import DatabaseForm, RetrievalDatabase
from lightning_realign.models.published.remodiffuse import ReMoDiffuseArchitecture, ReMoDiffuseDenoiser
from lightning_realign.motion import Skeleton
from lightning_realign.motion.normaliser import Normaliser

logger = logging.getLogger(__name__)

# By skeleton: the database, and the folder with the data set's statistics.
DATABASES = {"humanml3d": "t2m_text_train.npz", "kit": "kit_text_train.npz"}
DATASETS = {"humanml3d": "human_ml3d", "kit": "kit_ml"}


def read_denoiser(checkpoint: Path) -> tuple[ReMoDiffuseDenoiser, Skeleton]:
    """The network of a checkpoint, and the skeleton of its motions.

    Raises:
        CheckpointError: the file is missing, unsafe to read, or no ReMoDiffuse model.
    """
    every = read_weights(checkpoint, "state_dict")
    others = [key for key in every if not key.startswith(("model.", "loss_recon."))]
    weights = {key: value for key, value in state_under(every, "model").items() if not _is_unread(key)}
    if others or "database.motion_pos_embedding" not in weights:
        raise CheckpointError(
            f"{checkpoint}: is no ReMoDiffuse model, whose weights are all in 'model' and have 'database': give its "
            "latest.pth"
        )
    found = read_sizes(weights, str(checkpoint), "ReMoDiffuse, latest.pth")
    with sizes_of_weights(checkpoint):
        sizes = ReMoDiffuseArchitecture(width=found.width, layers=found.layers, max_frames=found.frames)
    denoiser = ReMoDiffuseDenoiser(found.skeleton.num_features, sizes)
    load_strictly(denoiser, weights, str(checkpoint))
    return denoiser, found.skeleton


def _is_unread(key: str) -> bool:
    """Whether a weight belongs to the copy of CLIP and is not read: the published CLIP encodes captions."""
    return key.startswith("clip.") and key != "clip.text_projection"


def read_statistics(checkpoint: Path, skeleton: Skeleton, options: LoadOptions) -> Normaliser:
    """The model's own statistics; see `load`."""
    own = next(_places(checkpoint, Path("datasets") / DATASETS[skeleton.name], "std.npy"), None)
    return scaled_statistics(own.parent if own else None, checkpoint, skeleton, options)


def _places(checkpoint: Path, folder: Path, name: str) -> Iterator[Path]:
    """The places where a file is: beside the checkpoint, or in the public tree around it."""
    place = checkpoint.resolve().parent
    candidates = (place / name, *(parent / "data" / folder / name for parent in (place, *place.parents[:3])))
    return (path for path in candidates if path.is_file())


def read_database(checkpoint: Path, denoiser: ReMoDiffuseDenoiser, skeleton: Skeleton) -> RetrievalDatabase:
    """The database that came with a checkpoint.

    Raises:
        DataError: it is missing or damaged.
        FeatureSpecError: it is of another model.
    """
    name = DATABASES[skeleton.name]
    found = list(dict.fromkeys(_places(checkpoint, Path("database"), name)))
    if len(found) > 1:
        logger.warning("%s is read, and not %s: of two databases the nearer to the checkpoint is", *found[:2])
    if not found:
        raise DataError(
            f"{checkpoint}: its retrieval database is missing: put the published {name} into {checkpoint.parent}, or "
            "make one there with `python -m lightning_realign database`"
        )
    sizes = denoiser.architecture
    form = DatabaseForm(sizes.text_size, sizes.width, sizes.max_frames, denoiser.num_features)
    return RetrievalDatabase(found[0], form)
