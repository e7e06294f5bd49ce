"""What is measured of the clean motion that a generator predicts at every step of its sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from experiments.mocap.report.trajectory_report import METRICS, REAL_AT_LEVEL, Place
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import DataError
from lightning_realign.evaluation.judge_metrics import POOL
from lightning_realign.evaluation.judges import Evaluator
from lightning_realign.evaluation.judges.panel import embed_finite
from lightning_realign.evaluation.measuring import TestSplit
from lightning_realign.evaluation.motion_metrics import WORST_REWARD
from lightning_realign.evaluation.record import Embeddings, Record
from lightning_realign.generators import Generator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.metrics.functional.physical import foot_skating_ratio
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.motion import Skeleton, recover_joints
from lightning_realign.rewards.compatibility import StateReward, state_reward
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.types import MotionTextBatch, zero_padding

Observer = Callable[[int, Tensor, Tensor], None]
"""Called at every step with its index, the state before it and the clean state predicted from that, both [B, ...]."""


@torch.no_grad()
def follow(sampler: RewardGuidedSampler, prompts: Prompts, observe: Observer) -> Tensor:
    """The sampler's `sample_states`, observed at every step; at the end `observe` gets the final states twice.

    Args:
        sampler: unguided or guided.
        prompts: of B motions.
        observe: called at every step.

    Returns:
        The final states [B, ...], those of `sample_states`.
    """
    noise, batch = sampler.noise(prompts), sampler.prepare(prompts)
    x = noise.draw()
    for index in range(len(sampler.steps.timesteps)):
        evaluation = sampler.evaluate(batch, index, x)
        observe(index, x, sampler.steps.predicted(index, evaluation.output, x))
        x = sampler.advance(batch, index, evaluation, noise).state
    observe(len(sampler.steps.timesteps), x, x)
    return x


def places_of(sampler: RewardGuidedSampler) -> list[Place]:
    """Where `follow` observes: before every step, and at the end."""
    steps = zip(sampler.steps.timesteps, sampler.steps.alpha_bar, strict=True)
    return [*(Place(index, t, level) for index, (t, level) in enumerate(steps)), Place(len(sampler.guided), None, 1.0)]


@dataclass(frozen=True)
class Instruments:
    """What measures motions: a reward, judges by name, and physics on a skeleton."""

    generator: Generator
    reward: DualAlignmentReward
    judges: Mapping[str, Evaluator]
    skeleton: Skeleton

    def measure(self, features: Tensor, batch: MotionTextBatch) -> dict[str, Tensor]:
        """Clean rewards and skating ratios [B], and of every judge embeddings [B, W], of motions [B, T, D].

        A motion that guidance has blown up has the lowest reward, the embedding of a still one, and no skating ratio.
        """
        found = {"reward": self.reward.score(features, batch.lengths, batch.captions).nan_to_num(WORST_REWARD)}
        ratios = [self._skating(motion[:length]) for motion, length in zip(features, batch.lengths, strict=True)]
        found["foot_skating"] = torch.tensor(ratios, dtype=torch.float64)
        for name, judge in self.judges.items():
            found[f"motion/{name}"] = embed_finite(judge, features, batch.lengths)
        return found

    def _skating(self, motion: Tensor) -> float:
        joints = recover_joints(motion.cpu(), self.skeleton)
        return foot_skating_ratio(joints, self.skeleton).item() if joints.isfinite().all() else float("nan")

    def step_aware(self, batch: MotionTextBatch) -> StateReward:
        """R_phi of the generator's states [B, ...] at their own level, as guidance at x_t has it with mu = 1."""
        prepared = self.reward.prepare(batch.captions, mu=1.0, eta=0.0)
        return state_reward(self.generator, self.reward, prepared, batch.lengths)

    def real_states(self, batch: MotionTextBatch) -> Tensor:
        """The generator's clean states [B, ...] of real motions."""
        motion = zero_padding(self.generator.normaliser.normalise(batch.motion), batch.lengths)
        latents = self.generator.latents
        return motion if latents is None else latents.states(motion, batch.lengths)


@dataclass
class Notes:
    """What was measured, system -> name -> replication -> batches of values [B] or embeddings [B, W]."""

    systems: dict[str, dict[str, dict[int, list[Tensor]]]] = field(default_factory=dict)

    def add(self, system: str, replication: int, found: Mapping[str, Tensor]) -> None:
        """Keep what was found of one batch; batches come in the same order in every replication."""
        names = self.systems.setdefault(system, {})
        for name, values in found.items():
            kept = values.detach().cpu()
            names.setdefault(name, {}).setdefault(replication, []).append(kept)

    def stacked(self, system: str, order: Tensor) -> dict[str, Tensor]:
        """[K, N] or [K, N, W] by name, the samples in a given order."""
        return {
            name: torch.stack([torch.cat(batches)[order] for batches in replications.values()])
            for name, replications in self.systems[system].items()
        }


@torch.no_grad()
def measure_steps(
    samplers: Mapping[str, RewardGuidedSampler],
    instruments: Instruments,
    data: MotionTextDataModule,
    split: TestSplit,
    replications: int,
) -> Record:
    """Follow the samplers on a whole split.

    Args:
        samplers: by the name of their system; the systems of the record are `<name>_<step>`, and `real`.
        instruments: what measures the predicted motions.
        data: the data set, set up.
        split: of it.
        replications: independent noises; the same for all samplers.

    Raises:
        DataError: the split is too small for a pool of R-Precision.
    """
    ids = data.ids(split)
    if len(ids) < POOL:
        raise DataError(f"{data.root}: split {split!r} has {len(ids)} motions; R-Precision needs at least {POOL}")
    for judge in instruments.judges.values():
        judge.prepare(data.caption_tokens(split))
    notes, batches = Notes(), list[MotionTextBatch]()
    for batch in data.val_dataloader() if split == "val" else data.test_dataloader():
        batches.append(batch)
        notes.add("real", 0, instruments.measure(batch.motion, batch))
        notes.add("text", 0, {name: judge.embed_text(batch.captions) for name, judge in instruments.judges.items()})
        for replication in range(replications):
            for name, sampler in samplers.items():
                _measure_batch(name, sampler, instruments, batch, replication, notes)
    return _record(notes, batches, data, replications)


def _measure_batch(
    name: str,
    sampler: RewardGuidedSampler,
    instruments: Instruments,
    batch: MotionTextBatch,
    replication: int,
    notes: Notes,
) -> None:
    places, at_level, real = places_of(sampler), instruments.step_aware(batch), instruments.real_states(batch)
    prompts = Prompts(batch.captions, batch.lengths, batch.ids, replication)
    # The very noise that sampling starts from, at every level.
    noise = sampler.noise(prompts).draw()

    def observe(index: int, x: Tensor, predicted: Tensor) -> None:
        found = instruments.measure(instruments.generator.features(predicted, batch.lengths), batch)
        level = places[index].alpha_bar
        found["reward_at_level"] = at_level(x, level).nan_to_num(WORST_REWARD)
        found[REAL_AT_LEVEL] = at_level(math.sqrt(level) * real + math.sqrt(1 - level) * noise, level)
        notes.add(f"{name}_{index}", replication, found)

    follow(sampler, prompts, observe)


def _record(notes: Notes, batches: Sequence[MotionTextBatch], data: MotionTextDataModule, replications: int) -> Record:
    """The samples in the order of their ids' keys, as test runs have them, so that pools are the same."""
    ids = [sample for batch in batches for sample in batch.ids]
    captions = [caption for batch in batches for caption in batch.captions]
    order = id_keys(ids).argsort()
    text = notes.stacked("text", order)
    systems = {system: notes.stacked(system, order) for system in notes.systems if system != "text"}
    judges = {
        name: Embeddings(text[name], {system: found[f"motion/{name}"] for system, found in systems.items()}, {}, None)
        for name in text
    }
    metrics = {
        system: {name: values.double() for name, values in found.items() if name in (*METRICS, REAL_AT_LEVEL)}
        for system, found in systems.items()
    }
    ordered = tuple(ids[place] for place in order.tolist())
    return Record(
        ordered,
        (tuple(captions[place] for place in order.tolist()),),
        torch.cat([batch.lengths for batch in batches])[order][None],
        tuple(data.labels.get(sample) for sample in ordered),
        replications,
        metrics,
        judges,
        {},
    )
