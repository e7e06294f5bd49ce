"""The method that a test of guided generation measures: real, reconstructed, unguided and guided motions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.evaluation.method import Made
from lightning_realign.inference.pipeline import Pipeline
from lightning_realign.motion import Skeleton
from lightning_realign.rewards.index import load_or_build_index
from lightning_realign.settings.measuring import SystemName
from lightning_realign.settings.sources import GeneratorSource
from lightning_realign.types import MotionTextBatch


class PipelineMethod:
    """What a pipeline makes, as `MeasuringModule` measures it, see `evaluation.method.Method`.

    Args:
        pipeline: generator, reward, text and index.
        generator: where the pipeline's generator comes from.
    """

    repeats_are_replications = True

    def __init__(self, pipeline: Pipeline, generator: GeneratorSource) -> None:
        self.pipeline, self._generator = pipeline, generator

    @property
    def skeleton(self) -> Skeleton:
        """The generator's."""
        return self.pipeline.skeleton

    def prepare(self, data: MotionTextDataModule, captions: Sequence[str]) -> None:
        """Encode the captions, and make or read the index of x^c where eta is not 0."""
        pipeline = self.pipeline
        pipeline.prepare_text(captions)
        if pipeline.needs_index and pipeline.reward is not None:
            bundle, device = pipeline.reward.bundle, pipeline.rewards.device
            pipeline.index = load_or_build_index(bundle, data, pipeline.caches.index, device)

    def make(self, system: SystemName, batch: MotionTextBatch, replication: int, repeat: bool = False) -> Made:
        """Motions of a system; a repeat of a caption is what the replication of its number is."""
        pipeline = self.pipeline
        if system == "real":
            return Made(batch.motion)
        if system == "reconstruction":
            return Made(pipeline.reconstruct(batch.motion, batch.lengths), evaluations=0)
        before = pipeline.generator.calls
        made = pipeline.sample(batch.captions, batch.lengths, batch.ids, replication, system == "guided")
        return Made(made.features, pipeline.generator.calls - before)

    def reward(self, features: Tensor, batch: MotionTextBatch) -> Tensor | None:
        """Clean rewards [B]; None without a reward model."""
        if self.pipeline.reward is None:
            return None
        return self.pipeline.clean_reward(features, batch.lengths, batch.captions)

    def files(self) -> dict[str, str | None]:
        """The checkpoints of generator and rewards."""
        source = self.pipeline.rewards.source
        further = {f"ensemble.{place}": path for place, path in enumerate(source.ensemble)}
        return {"generator": self._generator.path, "reward": source.path, **further}

    def rewards(self) -> dict[str, RewardBundle]:
        """The learned rewards, by their checkpoints."""
        rewards = self.pipeline.rewards
        return dict(zip(rewards.source.paths, (member.bundle for member in rewards.members), strict=True))
