"""Training of the text-motion evaluator of Guo et al. (CVPR 2022), for data that has no published judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lightning_realign.checkpoints.evaluator import evaluator_spec
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.metrics import MatchingDistance, RPrecision
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.models.evaluator import EvaluatorArchitecture, MotionTextEvaluator
from lightning_realign.motion import skeleton_reference
from lightning_realign.settings.plain import restored
from lightning_realign.settings.training import OptimiserConfig
from lightning_realign.text.word_vectors import CaptionReader, Reading, Vocabulary, WordVectors, read_word_vectors
from lightning_realign.training.base import TrainingModule
from lightning_realign.training.margin import draw_mismatches, every_mismatch, margin_losses
from lightning_realign.types import MotionTextBatch

PUBLISHED_NETWORK = EvaluatorArchitecture()
Mismatches = Literal["one", "all"]
_SPLITS: dict[str, tuple[Literal["train", "val", "test"], ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}


class EvaluatorTraining(TrainingModule):
    """Fits a `MotionTextEvaluator` by the contrastive margin objective.

    Matching pairs are pulled together, mismatched ones pushed apart up to the margin. The published training makes
    mismatched pairs by rotating the batch by a random shift. The shift may be 0, and then matching pairs are pushed
    apart. Here a caption is only compared with motions whose captions are other texts. All three encoders are trained
    at once; the published convolutions come frozen from an autoencoder.

    Args:
        skeleton: feature spec of the motions.
        network: sizes of the evaluator; the default is the published one.
        word_vectors: folder of the published GloVe files. Their vectors stay fixed, and captions are read by their
            `word/POS` tokens. None learns the vectors of the training captions' own words.
        least_count: times that a word occurs in the training captions to get a vector of its own, where learned.
        mismatches: what a caption is compared with: `one` motion of its batch drawn at random, as published, or `all`.
        margin: distance from which on mismatched pairs count as apart.
        optimiser: learning rate, warm-up and weight decay.
        pool: size of the pools of R-Precision in validation and test.
        seed: of training.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        skeleton: str = "humanml3d",
        network: EvaluatorArchitecture = PUBLISHED_NETWORK,
        word_vectors: str | None = None,
        least_count: int = 2,
        mismatches: Mismatches = "one",
        margin: float = 10.0,
        optimiser: OptimiserConfig = OptimiserConfig(),  # noqa: B008 - frozen
        pool: int = 32,
        seed: int = 1234,
    ) -> None:
        super().__init__("evaluator", skeleton, restored(OptimiserConfig, optimiser), seed)
        self.save_settings(
            skeleton=skeleton,
            network=network,
            word_vectors=word_vectors,
            least_count=least_count,
            mismatches=mismatches,
            margin=margin,
            optimiser=optimiser,
            pool=pool,
            seed=seed,
        )
        if margin <= 0:
            raise ConfigError(f"EvaluatorTraining.margin is {margin}; set it above 0")
        if mismatches not in get_args(Mismatches):
            raise ConfigError(f"EvaluatorTraining.mismatches is {mismatches!r}; choose one or all")
        for name, value, least in (("least_count", least_count, 1), ("pool", pool, 2)):
            if value < least:
                raise ConfigError(f"EvaluatorTraining.{name} is {value}; set it to {least} or more")
        self.architecture = restored(EvaluatorArchitecture, network)
        self.word_vectors, self.least_count = word_vectors, least_count
        self.mismatches, self.margin, self.pool = mismatches, margin, pool
        self.reader: CaptionReader | None = None
        self.network: MotionTextEvaluator | None = None
        self._stage = "fit"
        self.precision_at = RPrecision(pool, min(3, pool))
        self.distance = MatchingDistance()

    def setup(self, stage: str) -> None:
        """Take the statistics and the words of the data set (fit only), and learn its captions' tokens."""
        self._stage = stage
        super().setup(stage)
        self._prepare_captions()

    def adopt(self, data: MotionTextDataModule) -> None:
        """Take the statistics and the words, and make the network for them; a resumed run has its checkpoint's."""
        super().adopt(data)
        if self.network is not None:
            return
        if self.word_vectors is not None:
            self._attach(read_word_vectors(Path(self.word_vectors)), "tagged")
        else:
            vocabulary = Vocabulary.of(data.caption_tokens("train"), self.least_count)
            self._attach(vocabulary, "plain")

    def make_networks(self, spec: Mapping[str, Any]) -> None:
        """Make the network for the words that the checkpoint names."""
        self._attach(Vocabulary(spec["vocabulary"]), spec["reading"])
        self.renew_averages()
        if self._trainer is not None:
            self._prepare_captions()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over the network, which `setup` has made."""
        _ = self.parts
        return super().configure_optimizers()

    @property
    def parts(self) -> tuple[MotionTextEvaluator, CaptionReader]:
        """The network, and what reads captions for it.

        Raises:
            ConfigError: no data set and no checkpoint has brought its words yet.
        """
        if self.network is None or self.reader is None:
            raise ConfigError("EvaluatorTraining has no vocabulary yet: fit it, or give a checkpoint with --ckpt_path")
        return self.network, self.reader

    def training_step(self, batch: MotionTextBatch, batch_idx: int) -> Tensor:
        """One step on matching and mismatched pairs."""
        terms = self.terms(batch, *self.embeddings(batch), self._pairs(batch))
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()}, batch_size=len(batch))
        return terms["loss"]

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Losses against all mismatched pairs of the batch; R-Precision and MM-Dist."""
        self._evaluate(batch, "val")

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """The same as in validation."""
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log `val/R@1`, `val/R@1_caption` and so on, and `val/mm_dist`, over the whole validation split."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """The same over the test split."""
        self._log_metrics("test")

    def embeddings(self, batch: MotionTextBatch) -> tuple[Tensor, Tensor]:
        """Embeddings [B, W] of the batch's captions and of its motions."""
        network, reader = self.parts
        text = reader(batch.captions).to(self.device)
        return (
            network.embed_text(text.words, text.tags, text.lengths),
            network.embed_motion(self.normalised(batch), batch.lengths),
        )

    def terms(self, batch: MotionTextBatch, text: Tensor, motion: Tensor, pairs: Tensor) -> dict[str, Tensor]:
        """The loss of embeddings [B, W] with mismatched `pairs` [P, 2] of caption and motion, and its terms.

        Returns:
            Scalars `positive`, `negative` and their sum `loss`.
        """
        positive, negative = margin_losses(text, motion, pairs, self.margin)
        return {"loss": positive + negative, "positive": positive, "negative": negative}

    def specification(self) -> dict[str, Any]:
        """Kind, architecture, feature spec and vocabulary."""
        network, reader = self.parts
        return evaluator_spec(
            network,
            reader.vocabulary,
            reader.reading,
            skeleton=skeleton_reference(self.skeleton),
            fingerprint=self.fingerprint,
        )

    def _attach(self, words: Vocabulary | WordVectors, reading: Reading) -> None:
        vocabulary = words if isinstance(words, Vocabulary) else words.vocabulary
        self.reader = CaptionReader(vocabulary, reading)
        settings = asdict(self.architecture)
        self.network = MotionTextEvaluator(self.skeleton.num_features, len(vocabulary), **settings).to(self.device)
        table = self.network.words.weight
        if isinstance(words, WordVectors):
            if words.vectors.shape != table.shape:
                raise ConfigError(
                    f"EvaluatorTraining.network.word_size is {table.shape[1]}, the word vectors have "
                    f"{words.vectors.shape[1]} channels; set it to that"
                )
            table.data.copy_(words.vectors)
        # Given vectors stay as they are: most words would otherwise drift by the few captions that have them.
        table.requires_grad_(reading == "plain")

    def _prepare_captions(self) -> None:
        if self.reader is not None:
            self.reader.prepare(self.data.caption_tokens(*_SPLITS[self._stage]))

    def _pairs(self, batch: MotionTextBatch) -> Tensor:
        captions = id_keys(batch.captions).to(self.device)
        return draw_mismatches(captions) if self.mismatches == "one" else every_mismatch(captions)

    def _evaluate(self, batch: MotionTextBatch, stage: Literal["val", "test"]) -> None:
        text, motion = self.embeddings(batch)
        terms = self.terms(batch, text, motion, every_mismatch(id_keys(batch.captions).to(self.device)))
        self.log_dict({f"{stage}/{name}": term for name, term in terms.items()}, batch_size=len(batch), sync_dist=True)
        self.precision_at.update(text, motion, batch.ids, batch.captions)
        self.distance.update(text, motion, batch.ids)

    def _log_metrics(self, stage: Literal["val", "test"]) -> None:
        # The check before a fit sees two batches, which need not fill a pool.
        if not self.trainer.sanity_checking:
            metrics = {**self.precision_at.compute(), "mm_dist": self.distance.compute()}
            # Already the same on every rank: the metrics gather their own states.
            self.log_dict({f"{stage}/{name}": value.float() for name, value in metrics.items()})
        self.precision_at.reset()
        self.distance.reset()
