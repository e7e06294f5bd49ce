"""The LightningModule that generates: `predict` writes motions, `validate` and `test` measure them."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.trainer.states import TrainerFn

from lightning_realign.errors import ConfigError
from lightning_realign.evaluation.measuring import MeasuringModule, plain_settings
from lightning_realign.evaluation.method import chosen_systems
from lightning_realign.evaluation.probes import Probe
from lightning_realign.inference.method import PipelineMethod
from lightning_realign.inference.pipeline import Pipeline
from lightning_realign.inference.rewards import require_reward
from lightning_realign.motion import require_same_skeleton
from lightning_realign.motion.predictions import Prediction
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.measuring import MeasuringConfig
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
        reward: where the reward's weights come from, for guidance and the metric `reward`.
        guidance: strength and kind of the guidance; what is open is filled from the reward. Null for no guidance.
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
        guidance: GuidanceConfig | None = GuidanceConfig(),  # noqa: B008
        sampling: SamplingConfig = SamplingConfig(),  # noqa: B008
        search: SearchConfig = SearchConfig(),  # noqa: B008
        measuring: MeasuringConfig = MeasuringConfig(),  # noqa: B008
        caches: CacheConfig = CacheConfig(),  # noqa: B008
        predict_replications: int = 1,
        judges: dict[str, JudgeSource] | None = None,
        probes: list[Probe] | None = None,
    ) -> None:
        require_reward(guidance, search, reward)
        # Whether anything guides is known for certain when the reward has been read.
        guided = guidance is not None and (
            guidance.filled().active or (guidance.mu is None and reward.path is not None)
        )
        systems = chosen_systems(measuring.systems, guided or search.active)
        super().__init__(systems, measuring, caches, judges or {}, probes or ())
        if predict_replications < 1:
            raise ConfigError(f"GuidedGeneration.predict_replications is {predict_replications}; set it to 1 or more")
        self.generator, self.reward_source, self.guidance = generator, reward, guidance
        self.sampling, self.search = sampling, search
        self.predict_replications = predict_replications
        self._sources = judges or {}
        self._pipeline: Pipeline | None = None
        self._save_settings()

    def _save_settings(self) -> None:
        """Keep the settings as hyper-parameters: as given, and once the reward has been read, filled."""
        settings = {
            "generator": self.generator,
            "reward": self.reward_source,
            "guidance": self.guidance,
            "sampling": self.sampling,
            "search": self.search,
            "measuring": self.measuring,
            "caches": self.caches,
            "predict_replications": self.predict_replications,
        }
        self.save_hyperparameters(plain_settings(settings, self._sources, self.probes))

    @property
    def pipeline(self) -> Pipeline:
        """Generator, reward, text and index.

        Raises:
            ConfigError: no run has begun.
        """
        if self._pipeline is None:
            raise ConfigError("GuidedGeneration has no networks yet; run it with a Trainer (validate, test or predict)")
        return self._pipeline

    def load_method(self, stage: str) -> PipelineMethod:
        """The pipeline, whose networks are loaded when the first run begins.

        Raises:
            ConfigError: the trainer forbids gradients, or fits, or has no data module of this project.
            CheckpointError: a checkpoint that cannot be used.
            FeatureSpecError: the data set has another skeleton than the generator.
        """
        if stage == TrainerFn.FITTING:
            raise ConfigError("GuidedGeneration generates and has nothing to fit; use validate, test or predict")
        data = self.data
        if self._pipeline is None:
            device = self.trainer.strategy.root_device
            self._pipeline = Pipeline(
                self.generator, self.reward_source, self.guidance, self.sampling, self.search, self.caches, device
            )
            self._adopt(self._pipeline)
        self._require_gradients(stage)
        skeleton, remedy = self._pipeline.skeleton, "use the data module and checkpoint of one skeleton"
        whose = f"the data set {data.root}"
        require_same_skeleton(f"{self.generator.path}: generator", skeleton, whose, data.skeleton, remedy)
        return PipelineMethod(self._pipeline, self.generator)

    def _adopt(self, pipeline: Pipeline) -> None:
        """Take over the settings that the reward has filled, and what they leave to measure."""
        self.guidance, self.sampling = pipeline.guidance, pipeline.sampling
        self._save_settings()
        systems = chosen_systems(self.measuring.systems, pipeline.guidance.active or self.search.active)
        if systems != self.systems:
            self.measure_systems(systems, self._sources)

    def _require_gradients(self, stage: str) -> None:
        trainer = self.trainer
        loops: dict[TrainerFn, Any] = {
            TrainerFn.VALIDATING: trainer.validate_loop,
            TrainerFn.TESTING: trainer.test_loop,
            TrainerFn.PREDICTING: trainer.predict_loop,
        }
        # Read off the loop rather than torch: under gloo Lightning falls back to no_grad, which would hide the mistake.
        if self.pipeline.guidance.active and loops[TrainerFn(stage)].inference_mode:
            raise ConfigError(
                "trainer.inference_mode is True, but guidance differentiates the reward: "
                "make the trainer with inference_mode=False"
            )

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> list[Prediction]:
        """The batch's motions, guided where the settings say so; one entry per replication."""
        total = self.predict_replications
        return [
            self.pipeline.predict(batch.captions, batch.lengths, batch.ids, replication, total)
            for replication in range(total)
        ]
