"""The evaluators that Guo et al. (CVPR 2022) published for HumanML3D and KIT-ML, read from the files as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lightning_realign.checkpoints.evaluator import EvaluatorBundle
from lightning_realign.checkpoints.published import channels_read, skeleton_of_size
from lightning_realign.data.formats import load_statistics
from lightning_realign.errors import CheckpointError, DataError
from lightning_realign.files.weights import load_strictly, read_content, state_under
from lightning_realign.models.evaluator import CONTACTS, MotionTextEvaluator
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.text.word_vectors import WordVectors, read_word_vectors

ENCODERS = ("movement_encoder", "motion_encoder", "text_encoder")
# Where the archives that hold finest.tar keep the statistics it was trained with.
STATISTICS = ("Comp_v6_KLD01/meta", "Comp_v6_KLD005/meta")
# A contact is 0 or 1 and varies by 0.1 to 0.5. The evaluators' deviations of it are a 25th of the data set's (a bias
# of 5 towards root and feet, applied twice): a larger one is of other statistics, the data set's own most often.
LARGEST_CONTACT_STD = 0.05


def read_published(path: Path, statistics: Path | None, word_vectors: Path) -> EvaluatorBundle:
    """The published evaluator of either data set; which one, its weights tell.

    Args:
        path: `text_mot_match/model/finest.tar`.
        statistics: folder of the `mean.npy` and `std.npy` that it was trained with (`Comp_v6_KLD01/meta` or
            `Comp_v6_KLD005/meta`); None looks for those where the published archive has them.
        word_vectors: folder of the published GloVe files.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or holds other weights.
        DataError: statistics or word vectors are missing or unusable.
    """
    weights = _weights(path)
    channels = channels_read(weights["movement_encoder"], "main.0")
    skeleton = skeleton_of_size(channels, path, "give a published finest.tar", lambda one: one.num_features - CONTACTS)
    vectors = read_word_vectors(word_vectors)
    network = MotionTextEvaluator(skeleton.num_features, len(vectors.vocabulary))
    for name in ENCODERS:
        load_strictly(getattr(network, name), weights[name], f"{path}: {name}", remedy="give a published finest.tar")
    _set_words(network.words, vectors, word_vectors)
    normaliser = _statistics(_statistics_folder(path, statistics), network.num_features)
    for module in (network, normaliser):
        module.requires_grad_(False).eval()
    return EvaluatorBundle(network, normaliser, vectors.vocabulary, "tagged", skeleton.name, fingerprint="")


def _weights(path: Path) -> dict[str, Mapping[str, Any]]:
    """The state dicts of the three encoders."""
    content = read_content(path)
    if path.suffix == ".safetensors":
        content = {name: state_under(content, name) for name in ENCODERS}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), dict) for name in ENCODERS):
        raise CheckpointError(
            f"{path}: does not hold {', '.join(ENCODERS)}: give the published text_mot_match/model/finest.tar (an "
            "evaluator that this project trained has the name 'guo')"
        )
    return {name: content[name] for name in ENCODERS}


def _set_words(table: nn.Embedding, vectors: WordVectors, folder: Path) -> None:
    if vectors.vectors.shape != table.weight.shape:
        raise DataError(
            f"{folder}: word vectors have {vectors.vectors.shape[1]} channels, the published evaluator reads "
            f"{table.weight.shape[1]}: give the folder of the published GloVe files"
        )
    table.weight.data.copy_(vectors.vectors)


def _statistics_folder(path: Path, given: Path | None) -> Path:
    if given is not None:
        return given
    # <archive>/text_mot_match/model/finest.tar
    archive = path.resolve().parents[2] if len(path.resolve().parents) > 2 else path.parent
    found = [archive / name for name in STATISTICS if (archive / name / "mean.npy").is_file()]
    if not found:
        raise DataError(
            f"{path}: mean.npy and std.npy of this evaluator are not in {' or '.join(STATISTICS)} beside it: give "
            "their folder; the data set's own Mean.npy and Std.npy are others"
        )
    return found[0]


def _statistics(folder: Path, features: int) -> Normaliser:
    mean, std = (load_statistics(folder / f"{name}.npy", features) for name in ("mean", "std"))
    normaliser = Normaliser(features)
    try:
        normaliser.set(mean, std)
    except DataError as error:
        raise DataError(f"{folder}: {error}; the evaluator's are its own mean.npy and std.npy") from None
    contacts = float(std[-CONTACTS:].max())
    if contacts > LARGEST_CONTACT_STD:
        raise DataError(
            f"{folder / 'std.npy'}: the deviation of the foot contacts is {contacts:.3g}, an evaluator's lies below "
            f"{LARGEST_CONTACT_STD}: these are a data set's statistics, give {' or '.join(STATISTICS)}"
        )
    return normaliser
