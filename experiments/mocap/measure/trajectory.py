"""The predicted x_0 of every sampling step, unguided and guided: its reward, what independent judges say, its feet.

    python -m experiments.mocap.measure.trajectory --generator runs/mocap/units/mld/best.ckpt \
        --reward runs/mocap/units/reward/last.ckpt --judges guo:runs/mocap/units/judge_guo/last.ckpt \
        --data runs/mocap/data --split val --mu 30 --scale constant --location x0 --out runs/mocap/trajectory

Whether text and motion drift apart while a motion is being made (the premise of ReAlign, arXiv 2511.19217) is seen in
the difference between the end and every earlier step, and in how far a state's step-aware reward is behind that of a
real motion made noisy to the same level. A step's predicted x_0 is the network's, before that step's own guidance; the
last entry is the finished motion.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from experiments.mocap.measure.steps import Instruments, measure_steps, places_of
from experiments.mocap.report.trajectory_report import Trajectories, write_report
from lightning_realign.data import OwnDataModule
from lightning_realign.errors import ConfigError, RealignError
from lightning_realign.evaluation.judges.panel import load_judge
from lightning_realign.evaluation.measuring import TestSplit
from lightning_realign.evaluation.provenance import provenance
from lightning_realign.generators import MaskedGenerator, load_generator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.guidance.locations import LOCATIONS
from lightning_realign.guidance.scales import SCALES
from lightning_realign.rewards import read_reward
from lightning_realign.rewards.compatibility import check_reward
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.sources import JudgeSource


def run(options: argparse.Namespace) -> Trajectories:
    """Measure what the command line asks for, and write the tables and the picture.

    Raises:
        ConfigError: settings that contradict each other.
        CheckpointError: a checkpoint that cannot be used.
        DataError: a data set that cannot be used.
    """
    config = GuidanceConfig(options.mu, scale=options.scale, location=options.location, start=options.start).filled()
    if not config.active or options.replications < 1:
        raise ConfigError(
            f"mu={options.mu}, replications={options.replications}: both systems are compared, so mu must not be 0, "
            "and at least one replication is needed"
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
    reward = DualAlignmentReward(read_reward(options.reward))
    check_reward(generator, reward, noisy=True)
    judges = {kind: load_judge(JudgeSource(kind, path), data.skeleton, None, "cpu") for kind, path in options.judges}
    samplers = {
        "unguided": RewardGuidedSampler(generator, SamplingConfig(seed=options.seed)),
        "guided": RewardGuidedSampler(generator, SamplingConfig(seed=options.seed), guidance=config, reward=reward),
    }
    instruments = Instruments(generator, reward, judges, data.skeleton)
    record = measure_steps(samplers, instruments, data, options.split, options.replications)
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
