"""The LightningModule that generates: `predict` writes motions, `validate` and `test` measure them."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.evaluation.judging import Judge
from lightning_realign.evaluation.measurement import Protocol, Row, chosen_rows
from lightning_realign.evaluation.measuring import MeasuringModule, MeasuringPlan, plain_settings, split_of
from lightning_realign.evaluation.probes import Probe
from lightning_realign.guidance import GuidanceConfig, Location, ParticleConfig, Scale, SchedulerName
from lightning_realign.inference.pipeline import GuidedPipeline
from lightning_realign.inference.rewards import require_reward, reward_paths
from lightning_realign.motion import Skeleton
from lightning_realign.motion.predictions import Prediction
from lightning_realign.rewards import Family as RewardFamily
from lightning_realign.rewards.index import load_or_build_index
from lightning_realign.types import MotionTextBatch


class GuidedGeneration(MeasuringModule):
    """Reward-guided generation for the texts of a data set (Algorithm 2 of arXiv 2511.19217).

    `predict` returns, per replication, the guided motions (for `callbacks.writer.PredictionWriter`). `validate` and
    `test` measure real motions, their reconstructions by the generator's autoencoder, unguided and guided motions: the
    mean clean reward R_phi(x, c), the oracle's verdict where the data set has true attributes, physical quality, what
    judges say, and what a motion costs (network evaluations of the denoiser, 2 per step with classifier-free guidance;
    seconds; the peak of memory, in MiB); each as a mean with a 95% interval over the replications, see
    `MeasuringModule`. Unguided and guided motions start from the same noise. Networks are loaded from the given paths
    when a run begins; no checkpoint of this module is needed, or made.

    Args:
        generator: checkpoint of the generator.
        reward: checkpoint of the reward model; needed where mu or eta is not 0, and for the figure `reward`.
        ensemble: checkpoints of further rewards; the mean with `reward` guides, ranks candidates and weighs particles.
            `reward` alone reads x^c and makes the figure `reward`.
        physical: weights of the physical rewards `foot_skating`, `jerk` and `penetration`, added to the guidance
            whatever mu is; they need location `x0` or `x0_through`, and no reward model.
        mu: weight of the text reward.
        eta: weight of the reward towards the retrieved training motion x^c.
        scale: how the gradient enters the step, see `GuidanceConfig`.
        location: the tensor at which the gradient is taken.
        start: beginning of the guided window, as the fraction of the trajectory still ahead.
        stop: its end, likewise.
        every: guide every k-th step of the window.
        max_norm: largest norm of one sample's gradient; null for no limit.
        steps: sampling steps; null for the generator's own, as for scheduler and cfg_scale.
        scheduler: `ddim`, `ddpm` or `lcm`.
        cfg_scale: scale of classifier-free guidance; 1 is purely conditional.
        seed: with a sample's id and the replication, it determines the sample's noise.
        replications: independent draws of every motion that `validate` and `test` measure; the field has 20.
        protocol: whether captions and crops are `fixed` or drawn anew, see `MeasuringPlan`.
        multimodality_captions: captions that judges measure MultiModality on; the field has 100, 0 leaves it out.
        multimodality_repeats: motions of each of them; the field has 30.
        predict_replications: independent draws of every motion that `predict` returns; 1 names a file by the id alone.
        ddim_eta: stochasticity of DDIM, 0 to 1; above 0 it has the noise that the scale `posterior` needs.
        candidates: motions drawn for each guided one, of which the one with the highest clean reward is kept.
        travel: how often each step of the travel window is undone with fresh noise and done again.
        travel_start: beginning of that window, as start.
        travel_stop: its end, likewise.
        particles: particles for each guided motion, resampled by the reward on the way; above 1 needs a reward.
        temperature: of the reward where it weighs particles; the lower, the stronger.
        family: `own`, or which published generator the file holds, see docs/backbones.md.
        reward_family: likewise of the reward.
        statistics: folder of the generator's Mean.npy and Std.npy, for published files that do not hold theirs.
        reward_statistics: likewise of the reward.
        text_cache: folder of cached text features; null for the usual one.
        index_cache: folder of cached retrieval indexes; null for the usual one.
        rows: what `validate` and `test` measure; null for all, `guided` only where mu, eta, travel or a weight of
            `physical` is not 0, or candidates or particles above 1.
        judges: evaluators that `validate` and `test` ask, by the names they have in the table.
        probes: figures that `validate` and `test` measure besides, see `Probe`.

    Raises:
        ConfigError: a setting that is out of range or contradicts another one.
    """

    def __init__(
        self,
        generator: str,
        reward: str | None = None,
        mu: float = 0.0,
        eta: float = 0.0,
        scale: Scale = "score",
        location: Location = "x_t",
        start: float = 1.0,
        stop: float = 0.0,
        every: int = 1,
        max_norm: float | None = None,
        steps: int | None = None,
        scheduler: SchedulerName | None = None,
        cfg_scale: float | None = None,
        seed: int = 1234,
        replications: int = 20,
        protocol: Protocol = "fixed",
        multimodality_captions: int = 100,
        multimodality_repeats: int = 30,
        predict_replications: int = 1,
        ddim_eta: float = 0.0,
        candidates: int = 1,
        travel: int = 0,
        travel_start: float = 1.0,
        travel_stop: float = 0.0,
        particles: int = 1,
        temperature: float = 1.0,
        family: str = "own",
        reward_family: RewardFamily = "own",
        statistics: str | None = None,
        reward_statistics: str | None = None,
        text_cache: str | None = None,
        index_cache: str | None = None,
        ensemble: list[str] | None = None,
        physical: dict[str, float] | None = None,
        rows: list[Row] | None = None,
        judges: dict[str, Judge] | None = None,
        probes: list[Probe] | None = None,
    ) -> None:
        guidance = GuidanceConfig(
            mu, eta, scale, location, start, stop, every, max_norm, travel, travel_start, travel_stop, physical or {}
        )
        plan = MeasuringPlan(replications, protocol, multimodality_captions, multimodality_repeats, seed)
        super().__init__(
            chosen_rows(rows, guidance.active or max(candidates, particles) > 1 or travel > 0),
            plan,
            judges or {},
            probes or (),
        )
        self.save_hyperparameters(ignore=["judges", "probes"])
        # Lightning writes plain values only.
        self.save_hyperparameters(plain_settings(judges or {}, probes or ()))
        self.guidance = guidance
        require_reward(self.guidance, reward, candidates, particles)
        reward_paths(reward, ensemble)
        self.steering = ParticleConfig(particles, temperature) if particles > 1 else None
        if predict_replications < 1:
            raise ConfigError(f"GuidedGeneration.predict_replications is {predict_replications}; set it to 1 or more")
        self.mu, self.eta, self.seed = mu, eta, seed
        self.predict_replications = predict_replications
        self._pipeline: GuidedPipeline | None = None

    @property
    def pipeline(self) -> GuidedPipeline:
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
                f"{self.hparams['generator']}: generator of skeleton {self.pipeline.skeleton.name!r}, but the data set "
                f"{data.root} has {data.skeleton.name!r}; use the data module and checkpoint of one skeleton"
            )
        if stage != TrainerFn.PREDICTING:
            self.judges.load(data.skeleton, self.hparams["text_cache"], self.trainer.strategy.root_device)
        # The first process of a machine fills the caches, the others read them.
        if self.trainer.local_rank == 0:
            self._fill_caches(data, stage)
        self.trainer.strategy.barrier("caches of guided generation")
        if self.trainer.local_rank != 0:
            self._fill_caches(data, stage)

    def _load(self) -> GuidedPipeline:
        settings = self.hparams
        return GuidedPipeline(
            settings["generator"],
            settings["reward"],
            self.guidance,
            ensemble=settings["ensemble"],
            family=settings["family"],
            reward_family=settings["reward_family"],
            statistics=settings["statistics"],
            reward_statistics=settings["reward_statistics"],
            steps=settings["steps"],
            scheduler=settings["scheduler"],
            seed=self.seed,
            cfg_scale=settings["cfg_scale"],
            text_cache=settings["text_cache"],
            ddim_eta=settings["ddim_eta"],
            candidates=settings["candidates"],
            steering=self.steering,
            device=self.trainer.strategy.root_device,
        )

    def _fill_caches(self, data: MotionTextDataModule, stage: str) -> None:
        published = self.plan.protocol == "published" and stage != TrainerFn.PREDICTING
        captions = list(data.caption_tokens(split_of(stage))) if published else data.captions(TrainerFn(stage).value)
        self.pipeline.prepare_text(captions)
        if stage != TrainerFn.PREDICTING:
            self.prepare_judges(stage)
        if self.eta != 0 and self.pipeline.reward is not None:
            device, folder = self.trainer.strategy.root_device, self.hparams["index_cache"]
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
                self.mu,
                self.eta,
                self.seed,
                replication,
                self.predict_replications,
                () if matches is None else matches.ids,
                () if matches is None else tuple(matches.rewards.tolist()),
            )
            for replication in range(self.predict_replications)
        ]

    def make(self, row: Row, batch: MotionTextBatch, draw: int, repeat: bool) -> tuple[Tensor, int | None]:
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
        further = {f"ensemble.{place}": path for place, path in enumerate(self.hparams["ensemble"] or ())}
        return {"generator": self.hparams["generator"], "reward": self.hparams["reward"], **further}

    def guides(self) -> dict[str, RewardBundle]:
        """The learned rewards."""
        paths = reward_paths(self.hparams["reward"], self.hparams["ensemble"])
        bundles = (member.bundle for member in self.pipeline.rewards.members)
        return dict(zip(map(str, paths), bundles, strict=True))

    def guided(self) -> bool:
        """Whether a row is guided."""
        return "guided" in self.rows
