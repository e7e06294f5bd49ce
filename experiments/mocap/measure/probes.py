"""Metrics of the study for single motions: whether they do what their content label says, and whether they copy.

In a configuration: `probes: [{class_path: experiments.mocap.measure.probes.ContentRules}, {class_path:
experiments.mocap.measure.probes.CopyDistance, init_args: {reward: reward.ckpt}}]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from experiments.mocap.measure.content import RULES, content_of, read_action
from experiments.mocap.measure.copying import Array, Gallery, pose_vectors
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.evaluation.probes import Probe, Task
from lightning_realign.motion import Skeleton, recover_joints, skeleton_label, skeleton_reference
from lightning_realign.rewards import read_reward
from lightning_realign.rewards.index import load_or_build_index
from lightning_realign.rewards.reward import DualAlignmentReward

ENCODED = 64
"""Captions that are embedded at once."""


class ContentRules(Probe):
    """Semantic accuracy: whether a motion does what its content label says, 1 or 0, by `content.RULES`.

    - `semantic_turn`: it turns by about 90 degrees to the side that `walk-turn-left` or `walk-turn-right` names;
    - `semantic_gait`: it walks or runs, ahead, backwards or diagonally, and, where no turn is named, without one;
    - `semantic_hand`: the hands that `raise-up-...` or `wave-...` names are up, no other, and it stays where it is;
    - `semantic_wave`: those hands go to and fro if they are to wave, and don't if they are to be raised;
    - `semantic_accuracy`: all that applies to the content.

    A metric that does not apply to the content is left out; so are all for contents without a rule. A motion that is
    not finite does nothing that was asked for.
    """

    metrics = ("semantic_accuracy", "semantic_turn", "semantic_gait", "semantic_hand", "semantic_wave")

    def measure(self, joints: Tensor, skeleton: Skeleton, task: Task) -> dict[str, float]:
        """The verdicts on a motion [T, J, 3].

        Raises:
            ConfigError: the label has a rule, but the skeleton no joints of the names that it needs.
        """
        rule = RULES.get(content_of(task.label or ""))
        if rule is None:
            return {}
        action = read_action(joints.double().numpy(), skeleton)
        verdicts = dict.fromkeys(rule.parts, False) if action is None else rule.verdicts(action)
        parts = {f"semantic_{part}": float(met) for part, met in verdicts.items()}
        return {"semantic_accuracy": float(all(verdicts.values())), **parts}


class CopyDistance(Probe):
    """How near a motion is to the training motions that it may have copied, in metres, see `Gallery.distances`.

    - `distance_to_reference`: to x^c, the training motion that the reward ranks highest for the caption;
    - `distance_to_training`: to the nearest training motion of the same label.

    What real motions have is the yardstick: lower values than theirs are copying. The metrics are left out for a motion
    that is not finite, the second one where there is no label, or no training motion of it.

    Args:
        reward: checkpoint of the reward whose x^c is meant.
        text_cache: folder of cached text features; null for the usual one.
        index_cache: folder of cached retrieval indexes; null for the usual one.
    """

    metrics = ("distance_to_reference", "distance_to_training")

    def __init__(self, reward: str, text_cache: str | None = None, index_cache: str | None = None) -> None:
        self.reward, self.text_cache, self.index_cache = reward, text_cache, index_cache
        self._references: dict[str, Gallery] = {}
        self._labelled: dict[str, Gallery] = {}

    def prepare(self, data: MotionTextDataModule, split: Literal["val", "test"]) -> None:
        """Find x^c of all captions of the split, and the training motions of its labels.

        Raises:
            FeatureSpecError: the reward reads motions of another skeleton.
        """
        bundle = read_reward(self.reward)
        if bundle.skeleton != skeleton_reference(data.skeleton):
            raise FeatureSpecError(
                f"CopyDistance.reward: {self.reward} reads motions of skeleton {skeleton_label(bundle.skeleton)!r}, "
                f"but {data.root} has {data.skeleton.name!r}; give a reward that was trained on this data set"
            )
        captions = list(data.caption_tokens(split))
        reward = DualAlignmentReward(bundle, cache_dir=self.text_cache)
        index = load_or_build_index(bundle, data, self.index_cache)
        ids: list[str] = []
        for start in range(0, len(captions), ENCODED):
            ids += index.query(reward.text_latents(captions[start : start + ENCODED])).ids
        alone = {sample: Gallery.of(_poses(data, [sample])) for sample in set(ids)}
        self._references = {caption: alone[sample] for caption, sample in zip(captions, ids, strict=True)}
        asked = {data.labels[sample] for sample in data.ids(split) if sample in data.labels}
        members: dict[str, list[str]] = {label: [] for label in asked}
        for sample in data.ids("train"):
            if (label := data.labels.get(sample)) in members:
                members[label].append(sample)
        self._labelled = {label: Gallery.of(_poses(data, samples)) for label, samples in members.items() if samples}

    def measure(self, joints: Tensor, skeleton: Skeleton, task: Task) -> dict[str, float]:
        """The distances of a motion [T, J, 3].

        Raises:
            ConfigError: the caption is not of the split that the probe was prepared for.
        """
        if task.caption not in self._references:
            raise ConfigError(
                f"CopyDistance knows no x^c for the caption {task.caption!r} of {task.id}: prepare it for the split "
                "that is measured"
            )
        if not joints.isfinite().all():
            return {}
        poses = pose_vectors(joints.double().numpy(), skeleton)
        found = {"distance_to_reference": float(self._references[task.caption].distances(poses)[0])}
        if task.label in self._labelled:
            found["distance_to_training"] = float(self._labelled[task.label].distances(poses).min())
        return found


def _poses(data: MotionTextDataModule, ids: Sequence[str]) -> list[Array]:
    """Poses of training motions, as the retrieval index saw them."""
    metres = 0.001 if data.skeleton.unit == "millimetre" else 1.0
    motions = (recover_joints(torch.tensor(sample.motion), data.skeleton) for sample in data.samples("train", ids))
    return [pose_vectors(motion.double().numpy() * metres, data.skeleton) for motion in motions]
