"""Motions that any method made, measured like our own."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.data.tasks import repeated
from lightning_realign.errors import ConfigError, DataError, FeatureSpecError
from lightning_realign.evaluation.measuring import MeasuringModule, plain_settings, split_of
from lightning_realign.evaluation.probes import Probe
from lightning_realign.files.reading import load_array
from lightning_realign.motion import Skeleton, extract_features, skeleton_label, skeleton_reference
from lightning_realign.rewards import read_reward
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.measuring import MeasuringConfig, SystemName
from lightning_realign.settings.sources import CacheConfig, JudgeSource, RewardSource
from lightning_realign.types import MotionTextBatch


class SampleScoring(MeasuringModule):
    """Measures a folder of motions that were made elsewhere, one file per test id and replication.

    `ID_rK.npy` is the motion of id and replication K (`ID.npy` too, for K = 0), `ID_mK.npy` repeat K for MultiModality:
    features [T, D] in the data set's units, or joint positions [T, J, 3] in the skeleton's unit, y up. T is the task's
    length (for joints one frame more, since features are made of differences), or longer, in which case the rest is
    left out. What is asked for is told by `python -m lightning_realign data tasks`.

    Args:
        folder: of the motions.
        method: who made them, for tables.
        reward: where the reward's weights come from, for the metric `reward`; without a path it is left out.
        measuring: how often, and of what; `systems` has no use here.
        caches: folders of cached text features.
        judges: evaluators that a test asks, by the names they have in the table.
        probes: further metrics, see `Probe`.

    Raises:
        ConfigError: a setting that is out of range or has no use here.
    """

    reuses_replications = False

    def __init__(
        self,
        folder: str,
        method: str = "samples",
        reward: RewardSource = RewardSource(),  # noqa: B008 - frozen
        measuring: MeasuringConfig = MeasuringConfig(multimodality_captions=0),  # noqa: B008
        caches: CacheConfig = CacheConfig(),  # noqa: B008
        judges: dict[str, JudgeSource] | None = None,
        probes: list[Probe] | None = None,
    ) -> None:
        super().__init__(("real", "samples"), measuring, judges or {}, probes or ())
        if measuring.systems is not None:
            raise ConfigError("SampleScoring measures real motions and samples: leave measuring.systems out")
        if reward.ensemble:
            raise ConfigError("SampleScoring scores by one reward: leave reward.ensemble out")
        settings = {"folder": folder, "method": method, "reward": reward, "measuring": measuring, "caches": caches}
        self.save_hyperparameters(plain_settings(settings, judges or {}, probes or ()))
        self.folder, self.reward_source, self.caches = Path(folder), reward, caches
        self._reward: DualAlignmentReward | None = None

    def setup(self, stage: str) -> None:
        """Make sure that every motion is there, and load the judges and the reward.

        Raises:
            ConfigError: it is asked to predict.
            DataError: the folder, or the motion of an id and a replication, is missing.
            FeatureSpecError: a judge or the reward is of another skeleton.
        """
        if stage == TrainerFn.PREDICTING:
            raise ConfigError("SampleScoring has nothing to predict, its motions are there already: use test")
        data, device = self.data, self.trainer.strategy.root_device
        self._require_files(data.ids(split_of(stage)))
        if self.reward_source.path is not None and self._reward is None:
            bundle = read_reward(self.reward_source.path, self.reward_source.family, self.reward_source.statistics).to(
                device
            )
            self._reward = DualAlignmentReward(bundle, cache_dir=self.caches.text)
            self._require_skeleton(self._reward)
        self.judges.load(data.skeleton, self.caches.text, device)
        if self.trainer.local_rank == 0:
            self._fill_caches(stage)
        self.trainer.strategy.barrier("caches of scored samples")
        if self.trainer.local_rank != 0:
            self._fill_caches(stage)

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Nothing: `setup` has refused to predict. Lightning asks for this before it lets anybody refuse."""

    def make(self, row: SystemName, batch: MotionTextBatch, draw: int, repeat: bool) -> tuple[Tensor, int | None]:
        """The batch's own motions, or those of the files."""
        if row == "real":
            return batch.motion, None
        motion = torch.zeros_like(batch.motion)
        for place, (sample, length) in enumerate(zip(batch.ids, batch.lengths.tolist(), strict=True)):
            motion[place, :length] = self._read(self._path(sample, draw, repeat), length).to(motion)
        return motion, None

    def reward(self, features: Tensor, batch: MotionTextBatch) -> Tensor | None:
        """Clean rewards [B]; None without a reward model."""
        if self._reward is None:
            return None
        with torch.no_grad():
            return self._reward.score(features, batch.lengths, batch.captions)

    def motion_skeleton(self) -> Skeleton:
        """The data set's."""
        return self.data.skeleton

    def files(self) -> dict[str, str | None]:
        """The reward's checkpoint."""
        return {"reward": self.reward_source.path}

    def guides(self) -> dict[str, RewardBundle]:
        """The reward model, if one was named: whether it has guided the method is not known here."""
        return {} if self._reward is None else {str(self.reward_source.path): self._reward.bundle}

    def guided(self) -> None:
        """Not known here."""
        return

    def _fill_caches(self, stage: str) -> None:
        self.prepare_judges(stage)
        if self._reward is not None:
            self._reward.text_latents(list(self.data.caption_tokens(split_of(stage))))

    def _path(self, sample: str, draw: int, repeat: bool = False) -> Path:
        named = self.folder / f"{sample}_{'m' if repeat else 'r'}{draw}.npy"
        plain = self.folder / f"{sample}.npy"
        return plain if draw == 0 and not repeat and not named.is_file() else named

    def _require_files(self, ids: list[str]) -> None:
        if not self.folder.is_dir():
            raise DataError(f"SampleScoring.folder: {self.folder} is not a folder; give that of the method's motions")
        wanted = [self._path(sample, draw) for draw in range(self.measuring.replications) for sample in ids]
        for sample in (
            repeated(ids, self.measuring.multimodality_captions, self.measuring.seed) if self.judges.judges else ()
        ):
            wanted += [self._path(sample, draw, repeat=True) for draw in range(self.measuring.multimodality_repeats)]
        missing = [path for path in wanted if not path.is_file()]
        if missing:
            raise DataError(
                f"SampleScoring.folder: {len(missing)} of {len(wanted)} motions are missing, {missing[0]} among them; "
                "add them, or lower replications"
            )

    def _require_skeleton(self, reward: DualAlignmentReward) -> None:
        spec = self.data.skeleton
        if reward.skeleton != skeleton_reference(spec):
            raise FeatureSpecError(
                f"{self.reward_source.path}: reward model of skeleton {skeleton_label(reward.skeleton)!r}, but the "
                f"data set has {spec.name!r}; use one of that skeleton"
            )

    def _read(self, path: Path, length: int) -> Tensor:
        """Features [length, D] of one file.

        Raises:
            DataError: it is neither features nor joints of the skeleton, too short, or not finite.
        """
        spec = self.data.skeleton
        array = load_array(path, "motion")
        joints = array.ndim == 3
        size = (spec.num_joints, 3) if joints else (spec.num_features,)
        if array.shape[1:] != size or not array.size or array.dtype.kind != "f":
            raise DataError(
                f"{path}: {array.dtype} {array.shape}; give floats [T, {spec.num_features}] (features) or "
                f"[T, {spec.num_joints}, 3] (joints) of skeleton {spec.name!r}"
            )
        needed = length + 1 if joints else length
        if len(array) < needed:
            raise DataError(f"{path}: {len(array)} frames, the task has {needed}; make it as long as asked for")
        motion = torch.from_numpy(array[:needed].copy()).float()
        if not motion.isfinite().all():
            raise DataError(f"{path}: holds NaN or infinity; correct the motion")
        return extract_features(motion.double(), spec).float() if joints else motion
