"""Motions that any method made elsewhere, measured like our own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.data.tasks import repeated
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.measuring import MeasuringModule, plain_settings, split_of
from lightning_realign.evaluation.method import Made
from lightning_realign.evaluation.probes import Probe
from lightning_realign.files.reading import load_array
from lightning_realign.motion import Skeleton, extract_features, require_same_skeleton
from lightning_realign.rewards import load_reward
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.measuring import MeasuringConfig, SystemName
from lightning_realign.settings.sources import CacheConfig, JudgeSource, RewardSource
from lightning_realign.types import MotionTextBatch


class SampleFolder:
    """The method whose motions lie in a folder, see `SampleScoring`; the system `real` is the data set's own motions.

    Args:
        folder: of the motions.
        skeleton: of the motions.
        source: where the reward comes from.
        reward: the reward that scores motions; None for none.
    """

    repeats_are_replications = False

    def __init__(
        self, folder: Path, skeleton: Skeleton, source: RewardSource, reward: DualAlignmentReward | None = None
    ) -> None:
        self.folder, self._skeleton, self._source, self._reward = folder, skeleton, source, reward

    @property
    def skeleton(self) -> Skeleton:
        """The data set's."""
        return self._skeleton

    def prepare(self, data: MotionTextDataModule, captions: Sequence[str]) -> None:
        """Encode the captions for the reward."""
        if self._reward is not None:
            self._reward.text_latents(list(captions))

    def make(self, system: SystemName, batch: MotionTextBatch, replication: int, repeat: bool = False) -> Made:
        """The batch's own motions, or those of the files."""
        if system == "real":
            return Made(batch.motion)
        motion = torch.zeros_like(batch.motion)
        for place, (sample, length) in enumerate(zip(batch.ids, batch.lengths.tolist(), strict=True)):
            motion[place, :length] = self._read(self.path(sample, replication, repeat), length).to(motion)
        return Made(motion)

    def reward(self, features: Tensor, batch: MotionTextBatch) -> Tensor | None:
        """Clean rewards [B]; None without a reward model."""
        if self._reward is None:
            return None
        with torch.no_grad():
            return self._reward.score(features, batch.lengths, batch.captions)

    def files(self) -> dict[str, str | None]:
        """The reward's checkpoint."""
        return {"reward": self._source.path}

    def rewards(self) -> dict[str, RewardBundle]:
        """The reward model, if there is one; nobody knows whether it has guided the method."""
        return {} if self._reward is None else {str(self._source.path): self._reward.bundle}

    def path(self, sample: str, replication: int, repeat: bool = False) -> Path:
        """The file of a sample's replication, or of a repeat of its caption."""
        named = self.folder / f"{sample}_{'m' if repeat else 'r'}{replication}.npy"
        single = self.folder / f"{sample}.npy"
        return single if replication == 0 and not repeat and not named.is_file() else named

    def _read(self, path: Path, length: int) -> Tensor:
        """Features [length, D] of one file.

        Raises:
            DataError: it is neither features nor joints of the skeleton, too short, or not finite.
        """
        skeleton = self.skeleton
        array = load_array(path, "motion")
        joints = array.ndim == 3
        size = (skeleton.num_joints, 3) if joints else (skeleton.num_features,)
        if array.shape[1:] != size or not array.size or array.dtype.kind != "f":
            raise DataError(
                f"{path}: {array.dtype} {array.shape}; give floats [T, {skeleton.num_features}] (features) or "
                f"[T, {skeleton.num_joints}, 3] (joints) of skeleton {skeleton.name!r}"
            )
        needed = length + 1 if joints else length
        if len(array) < needed:
            raise DataError(f"{path}: {len(array)} frames, the task has {needed}; make it as long as asked for")
        motion = torch.from_numpy(array[:needed].copy()).float()
        if not motion.isfinite().all():
            raise DataError(f"{path}: holds NaN or infinity; correct the motion")
        return extract_features(motion.double(), skeleton).float() if joints else motion


class SampleScoring(MeasuringModule):
    """Measures a folder of motions that were made elsewhere, one file per test id and replication.

    `ID_rK.npy` is the motion of id and replication K (`ID.npy` too, for K = 0), `ID_mK.npy` repeat K for MultiModality:
    features [T, D] in the data set's units, or joint positions [T, J, 3] in the skeleton's unit, y up. T is the task's
    length (for joints one frame more, since features are made of differences), or longer, in which case the rest is
    left out. `realign data tasks` lists what to make.

    Args:
        folder: of the motions.
        method: who made them, for tables.
        reward: where the reward's weights come from, for the metric `reward`; without a path it is left out.
        measuring: how often, and of what; `systems` has no use here.
        caches: folders of cached text features.
        judges: evaluators that embed captions and motions, by the names they have in the table.
        probes: further metrics, see `Probe`.

    Raises:
        ConfigError: a setting that is out of range or has no use here.
    """

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
        super().__init__(("real", "samples"), measuring, caches, judges or {}, probes or ())
        if measuring.systems is not None:
            raise ConfigError("SampleScoring measures real motions and samples: leave measuring.systems out")
        if reward.ensemble:
            raise ConfigError("SampleScoring scores by one reward: leave reward.ensemble out")
        settings = {"folder": folder, "method": method, "reward": reward, "measuring": measuring, "caches": caches}
        self.save_hyperparameters(plain_settings(settings, judges or {}, probes or ()))
        self.folder, self.reward_source = Path(folder), reward

    def load_method(self, stage: str) -> SampleFolder:
        """The folder, once every motion is found there.

        Raises:
            ConfigError: it is to predict.
            DataError: the folder, or the motion of an id and a replication, is missing.
            FeatureSpecError: the reward is of another skeleton.
        """
        if stage == TrainerFn.PREDICTING:
            raise ConfigError("SampleScoring has nothing to predict, its motions are there already: use test")
        skeleton, source = self.data.skeleton, self.reward_source
        self._require_files(SampleFolder(self.folder, skeleton, source), self.data.ids(split_of(stage)))
        return SampleFolder(self.folder, skeleton, source, self._load_reward(skeleton))

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Nothing: `load_method` refuses to predict, but Lightning looks for this method first."""

    def _load_reward(self, skeleton: Skeleton) -> DualAlignmentReward | None:
        source = self.reward_source
        if source.path is None:
            return None
        device, cache = self.trainer.strategy.root_device, self.caches.text
        reward = load_reward(source.path, source.family, source.statistics, device=device, text_cache=cache)
        remedy = "use a reward of that skeleton"
        require_same_skeleton(f"{source.path}: reward model", reward.skeleton, "the data set", skeleton, remedy)
        return reward

    def _require_files(self, method: SampleFolder, ids: list[str]) -> None:
        if not self.folder.is_dir():
            raise DataError(f"SampleScoring.folder: {self.folder} is not a folder; give that of the method's motions")
        plan = self.measuring
        wanted = [method.path(sample, replication) for replication in range(plan.replications) for sample in ids]
        chosen = repeated(ids, plan.multimodality_captions, plan.seed) if self.judges.judges else set[str]()
        for sample in chosen:
            wanted += [method.path(sample, number, repeat=True) for number in range(plan.multimodality_repeats)]
        missing = [path for path in wanted if not path.is_file()]
        if missing:
            raise DataError(
                f"SampleScoring.folder: {len(missing)} of {len(wanted)} motions are missing, {missing[0]} among them; "
                "add them, or lower replications"
            )
