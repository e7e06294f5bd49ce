"""The checkpoint of an evaluator: kind "evaluator", with the weights `network.*` and `normaliser.*`.

Its entry also holds the vocabulary that the network's word vectors belong to.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lightning_realign.checkpoints.entry import CheckpointFile
from lightning_realign.errors import CheckpointError, DataError
from lightning_realign.models.evaluator import EvaluatorArchitecture, MotionTextEvaluator
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.text.word_vectors import Reading, Vocabulary

KIND = "evaluator"


@dataclass(frozen=True)
class EvaluatorBundle:
    """A trained evaluator, in eval mode and frozen, with all that using it needs.

    reading: how captions become words. fingerprint: of the data set it was trained on, empty where that is unknown.
    """

    network: MotionTextEvaluator
    normaliser: Normaliser
    vocabulary: Vocabulary
    reading: Reading
    skeleton: str
    fingerprint: str

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights or statistics, by the name it has in a checkpoint."""
        return {"network": self.network, "normaliser": self.normaliser}


def evaluator_spec(
    network: MotionTextEvaluator, vocabulary: Vocabulary, reading: Reading, *, skeleton: str, fingerprint: str
) -> dict[str, Any]:
    """The entry that an evaluator's LightningModule stores in its checkpoint."""
    return {
        "kind": KIND,
        "skeleton": skeleton,
        "num_features": network.num_features,
        "architecture": asdict(network.architecture),
        "vocabulary": list(vocabulary.words),
        "reading": reading,
        "fingerprint": fingerprint,
    }


def load_evaluator_bundle(path: str | Path) -> EvaluatorBundle:
    """Load an evaluator that this project trained.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(Path(path), KIND)
    try:
        vocabulary = Vocabulary(file.field("vocabulary", list))
    except (DataError, TypeError) as error:
        raise CheckpointError(f"{path}: field 'vocabulary' cannot be used ({error}): train it again") from None
    features = file.field("num_features", int)
    network = file.build(
        MotionTextEvaluator,
        {"num_features": features, "vocabulary_size": len(vocabulary)},
        file.part("architecture", EvaluatorArchitecture),
    )
    bundle = EvaluatorBundle(
        network,
        Normaliser(features),
        vocabulary,
        file.choice("reading", Reading),
        file.field("skeleton", str),
        file.field("fingerprint", str),
    )
    file.load(bundle.modules)
    return bundle
