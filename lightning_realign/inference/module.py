"""The LightningModule that generates: `predict` writes motions, `validate` and `test` measure them."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.evaluation.measurement import chosen_systems
from lightning_realign.evaluation.measuring import MeasuringModule, plain_settings, split_of
from lightning_realign.evaluation.probes import Probe
from lightning_realign.inference.pipeline import Pipeline
from lightning_realign.inference.rewards import require_reward
from lightning_realign.motion import Skeleton
from lightning_realign.motion.predictions import Prediction
from lightning_realign.rewards.index import load_or_build_index
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.measuring import MeasuringConfig, SystemName
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import SearchConfig
from lightning_realign.settings.sources import CacheConfig, GeneratorSource, JudgeSource, RewardSource
from lightning_realign.types import MotionTextBatch


class GuidedGeneration(MeasuringModule):
    """Reward-guided generation for the texts of a data set (Algorithm 2 of arXiv 2511.19217).

    `predict` returns, per replication, the guided motions (for `inference.writer.PredictionWriter`). `validate` and
    `test` measure real motions, their reconstructions by the generator's autoencoder, unguided and guided motions: the
    mean clean reward R_phi(x, c), the oracle's verdict where the data set has true attributes, physical quality, what
    judges say, and what a motion costs (network evaluations of the denoiser, 2 per step with classifier-free guidance;
    seconds; the peak of memory, in MiB); each as a mean with a 95% interval over the replications, see
    `MeasuringModule`. Unguided and guided motions start from the same noise. Networks are loaded from the given paths
    when a run begins; no checkpoint of this module is needed, or made.

    Args:
        generator: where the generator's weights come from.
        reward: where the reward's weights come from; needed where mu or eta is not 0, and for the metric `reward`.
        guidance: strength and kind of the guidance.
        sampling: steps, scheduler, scale of classifier-free guidance and seed.
        search: candidates, particles and time travel.
        measuring: which systems `validate` and `test` measure, and how often.
        caches: folders of cached text features and retrieval indexes.
        predict_replications: replications that `predict` returns; 1 names a file by the id alone.
        judges: evaluators that `validate` and `test` ask, by the names they have in the table.
        probes: further metrics that `validate` and `test` measure, see `Probe`.

    Raises:
        ConfigError: a setting that is out of range or contradicts another one.
    """

    def __init__(
        self,
        generator: GeneratorSource,
        reward: RewardSource = RewardSource(),  # noqa: B008 - frozen
        guidance: GuidanceConfig = GuidanceConfig(),  # noqa: B008
        sampling: SamplingConfig = SamplingConfig(),  # noqa: B008
        search: SearchConfig = SearchConfig(),  # noqa: B008
        measuring: MeasuringConfig = MeasuringConfig(),  # noqa: B008
        caches: CacheConfig = CacheConfig(),  # noqa: B008
        predict_replications: int = 1,
        judges: dict[str, JudgeSource] | None = None,
        probes: list[Probe] | None = None,
    ) -> None:
        systems = chosen_systems(measuring.systems, guidance.active or search.active)
        super().__init__(systems, measuring, judges or {}, probes or ())
        require_reward(guidance, search, reward)
        if predict_replications < 1:
            raise ConfigError(f"GuidedGeneration.predict_replications is {predict_replications}; set it to 1 or more")
        self.generator, self.reward_source, self.guidance = generator, reward, guidance
        self.sampling, self.search, self.caches = sampling, search, caches
        self.predict_replications = predict_replications
        settings = {
            "generator": generator,
            "reward": reward,
            "guidance": guidance,
            "sampling": sampling,
            "search": search,
            "measuring": measuring,
            "caches": caches,
            "predict_replications": predict_replications,
        }
        self.save_hyperparameters(plain_settings(settings, judges or {}, probes or ()))
        self._pipeline: Pipeline | None = None

    @property
    def pipeline(self) -> Pipeline:
        """Generator, reward, text and index.

        Raises:
            ConfigError: no run has begun.
        """
        if self._pipeline is None:
            raise ConfigError("GuidedGeneration has no networks yet; run it with a Trainer (validate, test or predict)")
        return self._pipeline

    def setup(self, stage: str) -> None:
        """Load the networks, encode the stage's captions, and make or read the index of x^c where eta is not 0.

        Raises:
            ConfigError: the trainer forbids gradients, or fits, or has no data module of this project.
            FeatureSpecError: the data set has another skeleton than the generator.
        """
        if stage == TrainerFn.FITTING:
            raise ConfigError("GuidedGeneration generates and has nothing to fit; use validate, test or predict")
        self._require_gradients(stage)
        data = self.data
        if self._pipeline is None:
            self._pipeline = self._load()
        if data.skeleton != self.pipeline.skeleton:
            raise FeatureSpecError(
                f"{self.generator.path}: generator of skeleton {self.pipeline.skeleton.name!r}, but the data set "
                f"{data.root} has {data.skeleton.name!r}; use the data module and checkpoint of one skeleton"
            )
        if stage != TrainerFn.PREDICTING:
            self.judges.load(data.skeleton, self.caches.text, self.trainer.strategy.root_device)
        # The first process of a machine fills the caches, the others read them.
        if self.trainer.local_rank == 0:
            self._fill_caches(data, stage)
        self.trainer.strategy.barrier("caches of guided generation")
        if self.trainer.local_rank != 0:
            self._fill_caches(data, stage)

    def _load(self) -> Pipeline:
        return Pipeline(
            self.generator,
            self.reward_source,
            self.guidance,
            self.sampling,
            self.search,
            self.caches,
            self.trainer.strategy.root_device,
        )

    def _fill_caches(self, data: MotionTextDataModule, stage: str) -> None:
        published = self.measuring.protocol == "published" and stage != TrainerFn.PREDICTING
        captions = list(data.caption_tokens(split_of(stage))) if published else data.captions(TrainerFn(stage).value)
        self.pipeline.prepare_text(captions)
        if stage != TrainerFn.PREDICTING:
            self.prepare_judges(stage)
        if self.pipeline.needs_index and self.pipeline.reward is not None:
            device, folder = self.trainer.strategy.root_device, self.caches.index
            self.pipeline.index = load_or_build_index(self.pipeline.reward.bundle, data, folder, device)

    def _require_gradients(self, stage: str) -> None:
        trainer = self.trainer
        loops: dict[TrainerFn, Any] = {
            TrainerFn.VALIDATING: trainer.validate_loop,
            TrainerFn.TESTING: trainer.test_loop,
            TrainerFn.PREDICTING: trainer.predict_loop,
        }
        # Read off the loop rather than torch: under gloo Lightning falls back to no_grad, which would hide the mistake.
        if self.guidance.active and loops[TrainerFn(stage)].inference_mode:
            raise ConfigError(
                "trainer.inference_mode is True, but guidance differentiates the reward: "
                "make the trainer with inference_mode=False"
            )

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> list[Prediction]:
        """The batch's motions, guided where the settings say so; one entry per replication."""
        matches = self.pipeline.matches(batch.captions)
        return [
            Prediction(
                self.pipeline.sample(batch.captions, batch.lengths, batch.ids, replication),
                batch.ids,
                batch.captions,
                self.pipeline.skeleton,
                self.guidance.mu,
                self.guidance.eta,
                self.sampling.seed,
                replication,
                self.predict_replications,
                () if matches is None else matches.ids,
                () if matches is None else tuple(matches.rewards.tolist()),
            )
            for replication in range(self.predict_replications)
        ]

    def make(self, row: SystemName, batch: MotionTextBatch, draw: int, repeat: bool) -> tuple[Tensor, int | None]:
        """Motions of a row, and the evaluations of the denoiser; a repeat is what the replication of its number is."""
        if row == "real":
            return batch.motion, None
        if row == "reconstruction":
            return self.pipeline.reconstruct(batch.motion, batch.lengths), 0
        calls = self.pipeline.generator.calls
        made = self.pipeline.sample(batch.captions, batch.lengths, batch.ids, draw, row == "guided")
        return made.features, self.pipeline.generator.calls - calls

    def reward(self, features: Tensor, batch: MotionTextBatch) -> Tensor | None:
        """Clean rewards [B]; None without a reward model."""
        if self.pipeline.reward is None:
            return None
        return self.pipeline.clean_reward(features, batch.lengths, batch.captions)

    def motion_skeleton(self) -> Skeleton:
        """The generator's."""
        return self.pipeline.skeleton

    def files(self) -> dict[str, str | None]:
        """The checkpoints of generator and rewards."""
        further = {f"ensemble.{place}": path for place, path in enumerate(self.reward_source.ensemble)}
        return {"generator": self.generator.path, "reward": self.reward_source.path, **further}

    def guides(self) -> dict[str, RewardBundle]:
        """The learned rewards."""
        bundles = (member.bundle for member in self.pipeline.rewards.members)
        return dict(zip(self.reward_source.paths, bundles, strict=True))

    def guided(self) -> bool:
        """Whether a row is guided."""
        return "guided" in self.systems
