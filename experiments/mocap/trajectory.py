"""The predicted x_0 of every sampling step, unguided and guided: its reward, what independent judges say, its feet.

    python -m experiments.mocap.trajectory --generator runs/headline/units/mld/best.ckpt \
        --reward runs/headline/units/reward/last.ckpt --judges guo:runs/headline/units/judge_guo/last.ckpt \
        --data runs/headline/data --split val --mu 30 --scale constant --location x0 --out runs/headline/trajectory

Whether text and motion drift apart while a motion is being made (the premise of ReAlign, arXiv 2511.19217) is seen in
the difference between the end and every earlier step, and in how far a state's step-aware reward is behind that of a
real motion made noisy to the same level. A step's predicted x_0 is the network's, before that step's own guidance; the
last entry is the finished motion.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from experiments.mocap.trajectory_report import FIGURES, REAL_AT_LEVEL, Place, Trajectories, write_report
from lightning_realign.data import OwnDataModule
from lightning_realign.data.datamodule import MotionTextDataModule
from lightning_realign.errors import ConfigError, DataError, RealignError
from lightning_realign.evaluation.judges import Evaluator
from lightning_realign.evaluation.judging import embed_finite, load_judge
from lightning_realign.evaluation.measurement import WORST_REWARD
from lightning_realign.evaluation.measuring import TestSplit
from lightning_realign.evaluation.provenance import provenance
from lightning_realign.evaluation.record import Embeddings, Record
from lightning_realign.evaluation.scoring import POOL
from lightning_realign.generators import Generator, MaskedGenerator, load_generator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.guidance.locations import LOCATIONS
from lightning_realign.guidance.scales import SCALES
from lightning_realign.metrics.functional.physical import foot_skating_ratio
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.motion import Skeleton, recover_joints
from lightning_realign.rewards import load_reward
from lightning_realign.rewards.compatibility import StateReward, check_reward, state_reward
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.sources import JudgeSource
from lightning_realign.types import MotionTextBatch, zero_padding

See = Callable[[int, Tensor, Tensor], None]
"""Told of every step: its index, the state before it and the clean state predicted from that, both [B, ...]."""


@torch.no_grad()
def follow(
    sampler: RewardGuidedSampler, texts: Sequence[str], lengths: Tensor, ids: Sequence[str], replication: int, see: See
) -> Tensor:
    """The sampler's `sample_states`, with a view of every step; at the end `see` gets the final states twice.

    Args:
        sampler: unguided or guided.
        texts: B captions.
        lengths: [B] frames.
        ids: B sample ids, the source of the noise.
        replication: of the noise.
        see: told of every step.

    Returns:
        The final states [B, ...], those of `sample_states`.
    """
    noise, batch = sampler.noise(texts, lengths, ids, replication), sampler.prepare(texts, lengths, None)
    x = noise.draw()
    for index in range(len(sampler.steps.timesteps)):
        evaluation = sampler.evaluate(batch, index, x)
        see(index, x, sampler.steps.predicted(index, evaluation.output, x))
        x = sampler.advance(batch, index, evaluation, noise).state
    see(len(sampler.steps.timesteps), x, x)
    return x


def places_of(sampler: RewardGuidedSampler) -> list[Place]:
    """Where `follow` looks: before every step, and at the end."""
    steps = zip(sampler.steps.timesteps, sampler.steps.alpha_bar, strict=True)
    return [*(Place(index, t, level) for index, (t, level) in enumerate(steps)), Place(len(sampler.guided), None, 1.0)]


@dataclass(frozen=True)
class Eyes:
    """What looks at motions: a reward, judges by name, and physics on a skeleton."""

    generator: Generator
    reward: DualAlignmentReward
    judges: Mapping[str, Evaluator]
    skeleton: Skeleton

    def look(self, features: Tensor, batch: MotionTextBatch) -> dict[str, Tensor]:
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
    """What was seen, row -> name -> replication -> batches of values [B] or embeddings [B, W]."""

    rows: dict[str, dict[str, dict[int, list[Tensor]]]] = field(default_factory=dict)

    def add(self, row: str, replication: int, found: Mapping[str, Tensor]) -> None:
        """Keep what was found of one batch; batches come in the same order in every replication."""
        names = self.rows.setdefault(row, {})
        for name, values in found.items():
            kept = values.detach().cpu()
            names.setdefault(name, {}).setdefault(replication, []).append(kept)

    def stacked(self, row: str, order: Tensor) -> dict[str, Tensor]:
        """[K, N] or [K, N, W] by name, the samples in a given order."""
        return {
            name: torch.stack([torch.cat(batches)[order] for batches in draws.values()])
            for name, draws in self.rows[row].items()
        }


@torch.no_grad()
def watch(
    samplers: Mapping[str, RewardGuidedSampler],
    eyes: Eyes,
    data: MotionTextDataModule,
    split: TestSplit,
    replications: int,
) -> Record:
    """Follow the samplers on a whole split.

    Args:
        samplers: by the name of their row; the rows of the record are `<name>_<step>`, and `real`.
        eyes: what looks at the predicted motions.
        data: the data set, set up.
        split: of it.
        replications: independent noises; the same for all samplers.

    Raises:
        DataError: the split is too small for a pool of R-Precision.
    """
    ids = data.ids(split)
    if len(ids) < POOL:
        raise DataError(f"{data.root}: split {split!r} has {len(ids)} motions; R-Precision needs at least {POOL}")
    for judge in eyes.judges.values():
        judge.prepare(data.caption_tokens(split))
    notes, seen = Notes(), []
    for batch in data.val_dataloader() if split == "val" else data.test_dataloader():
        seen.append(batch)
        notes.add("real", 0, eyes.look(batch.motion, batch))
        notes.add("text", 0, {name: judge.embed_text(batch.captions) for name, judge in eyes.judges.items()})
        for replication in range(replications):
            for name, sampler in samplers.items():
                _watch_batch(name, sampler, eyes, batch, replication, notes)
    return _record(notes, seen, data, replications)


def _watch_batch(
    name: str, sampler: RewardGuidedSampler, eyes: Eyes, batch: MotionTextBatch, replication: int, notes: Notes
) -> None:
    places, at_level, real = places_of(sampler), eyes.step_aware(batch), eyes.real_states(batch)
    # The very noise that sampling starts from, at every level.
    noise = sampler.noise(batch.captions, batch.lengths, batch.ids, replication).draw()

    def see(index: int, x: Tensor, predicted: Tensor) -> None:
        found = eyes.look(eyes.generator.features(predicted, batch.lengths), batch)
        level = places[index].alpha_bar
        found["reward_at_level"] = at_level(x, level).nan_to_num(WORST_REWARD)
        found[REAL_AT_LEVEL] = at_level(math.sqrt(level) * real + math.sqrt(1 - level) * noise, level)
        notes.add(f"{name}_{index}", replication, found)

    follow(sampler, batch.captions, batch.lengths, batch.ids, replication, see)


def _record(notes: Notes, batches: Sequence[MotionTextBatch], data: MotionTextDataModule, replications: int) -> Record:
    """The samples in the order of their ids' keys, as test runs have them, so that pools are the same."""
    ids = [sample for batch in batches for sample in batch.ids]
    captions = [caption for batch in batches for caption in batch.captions]
    order = id_keys(ids).argsort()
    text = notes.stacked("text", order)
    rows = {row: notes.stacked(row, order) for row in notes.rows if row != "text"}
    judges = {
        name: Embeddings(text[name], {row: found[f"motion/{name}"] for row, found in rows.items()}, {}, None)
        for name in text
    }
    figures = {
        row: {name: values.double() for name, values in found.items() if name in (*FIGURES, REAL_AT_LEVEL)}
        for row, found in rows.items()
    }
    ordered = tuple(ids[place] for place in order.tolist())
    return Record(
        ordered,
        (tuple(captions[place] for place in order.tolist()),),
        torch.cat([batch.lengths for batch in batches])[order][None],
        tuple(data.labels.get(sample) for sample in ordered),
        replications,
        figures,
        judges,
        {},
    )


def run(options: argparse.Namespace) -> Trajectories:
    """Measure what the command line asks for, and write the tables and the picture.

    Raises:
        ConfigError: settings that contradict each other.
        CheckpointError: a checkpoint that cannot be used.
        DataError: a data set that cannot be used.
    """
    config = GuidanceConfig(options.mu, scale=options.scale, location=options.location, start=options.start)
    if not config.active or options.replications < 1:
        raise ConfigError(
            f"mu={options.mu}, replications={options.replications}: both rows are compared, so mu must not be 0, and "
            "at least one replication is needed"
        )
    if len(dict(options.judges)) < len(options.judges):
        raise ConfigError(
            f"judges={options.judges}: two of one kind would share a name; give one guo and one tmr at most"
        )
    data = OwnDataModule(options.data, batch_size=options.batch)
    data.setup("validate" if options.split == "val" else "test")
    generator = load_generator(options.generator, sampling=SamplingConfig(steps=options.steps, cfg_scale=options.cfg))
    if isinstance(generator, MaskedGenerator):
        raise ConfigError(
            f"{options.generator}: this generator has no predicted x_0 at every step; give a diffusion one"
        )
    reward = DualAlignmentReward(load_reward(options.reward))
    check_reward(generator, reward, noisy=True)
    judges = {name: load_judge(JudgeSource(name, path), data.skeleton, None, "cpu") for name, path in options.judges}
    samplers = {
        "unguided": RewardGuidedSampler(generator, SamplingConfig(seed=options.seed)),
        "guided": RewardGuidedSampler(generator, SamplingConfig(seed=options.seed), guidance=config, reward=reward),
    }
    record = watch(samplers, Eyes(generator, reward, judges, data.skeleton), data, options.split, options.replications)
    files = {"generator": options.generator, "reward": options.reward, **dict(options.judges)}
    own = {name: value for name, value in vars(options).items() if name not in ("out", "judges", *files)}
    settings: dict[str, Any] = {
        **{name: str(value) if isinstance(value, Path) else value for name, value in own.items()},
        "samples": len(record.ids),
        "provenance": provenance(data, options.split, files),
    }
    found = Trajectories(record, tuple(places_of(samplers["guided"])), settings)
    write_report(options.out, found)
    return found


def judge_argument(text: str) -> tuple[str, str]:
    """`guo:PATH` or `tmr:PATH` as a pair."""
    kind, _, path = text.partition(":")
    if kind not in ("guo", "tmr") or not path:
        raise argparse.ArgumentTypeError(f"{text!r}: give guo:CHECKPOINT or tmr:CHECKPOINT")
    return kind, path


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", required=True, help="checkpoint of a generator of latents or of motions")
    parser.add_argument("--reward", required=True, help="checkpoint of the reward model that guides")
    parser.add_argument("--judges", required=True, nargs="+", type=judge_argument, help="guo:CHECKPOINT tmr:CHECKPOINT")
    parser.add_argument("--data", required=True, type=Path, help="folder of the data set")
    parser.add_argument("--split", choices=get_args(TestSplit), default="val")
    parser.add_argument("--mu", required=True, type=float, help="weight of the text reward")
    parser.add_argument("--scale", choices=SCALES, default="constant")
    parser.add_argument("--location", choices=LOCATIONS, default="x0")
    parser.add_argument("--start", type=float, default=1.0, help="guided from this part of the way ahead on")
    parser.add_argument("--steps", type=int, default=20, help="of the sampler")
    parser.add_argument("--cfg", type=float, default=2.5, help="scale of classifier-free guidance")
    parser.add_argument("--replications", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--batch", type=int, default=64, help="motions at a time; changes nothing but speed")
    parser.add_argument("--out", required=True, type=Path, help="folder of trajectory.csv, .json and .png")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    try:
        print(run(parse(arguments)).text())
    except RealignError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
