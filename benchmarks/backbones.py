"""Every published generator guided by a published reward: does it load, is its gradient sound, what does a step cost?

    python -m benchmarks.backbones
    python -m benchmarks.backbones --only mdm motionlcm_v2 --steps 50

Weights are random, in the published layouts and sizes, and texts are random features: the columns say that files load
strictly, that the gradient of the reward of x_0 reaches the generator's state, finite and not zero, and that the reward
of the finished motions rises with it. They say nothing of quality. Steps are of the published kind, with the scale
`constant`, since random networks hardly carry on what guidance did before the last step; times are per motion and step.
MARDM is guided inside each round (`score`), and of MoMask the best of four motions is taken; look-alikes of ReMoDiffuse
have a database of six motions.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.published_files import (
    MDM_FORMS,
    T5_SIZES,
    random_text,
    text_of,
    write_generator,
    write_reward,
    write_statistics,
)
from lightning_realign.errors import RealignError
from lightning_realign.generators import Generator, MaskedGenerator, load_generator
from lightning_realign.generators.mld import FORMS
from lightning_realign.guidance import BestOfN, MaskedSampler, RewardGuidedSampler
from lightning_realign.motion import load_skeleton
from lightning_realign.report import format_table
from lightning_realign.rewards import read_reward
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import GeneratedMotions

NAMES = (*FORMS, *MDM_FORMS, "motiondiffuse", "remodiffuse", "mardm", "momask")
COLUMNS = ("generator", "loads", "gradient", "reward unguided", "guided", "risen", "ms/step", "guided", "ratio")
# Consistency models have at most four steps, and each of MARDM's is repeated in every one of 18 rounds.
FEW_STEPS = 4
MARDM_ROUNDS = 18
# Motions that are drawn for each of MoMask's, which has no denoising to guide.
CANDIDATES = 4


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="generators to run")
    parser.add_argument("--skeleton", choices=("humanml3d", "kit"), default="humanml3d")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps; of consistency models and MARDM 4")
    parser.add_argument("--batch", type=int, default=4, help="motions at a time")
    parser.add_argument("--frames", type=int, default=120, help="frames of a motion")
    parser.add_argument("--mu", type=float, default=100.0, help="strength of the guidance")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    return parser.parse_args(arguments)


def run(
    generator: Generator | MaskedGenerator, reward: DualAlignmentReward | None, mu: float, batch: int, frames: int
) -> GeneratedMotions:
    """Motions of `batch` captions, guided at the predicted x_0 where there is a reward; of MoMask, the best of four."""
    texts, lengths = [f"a person does thing number {number}" for number in range(batch)], torch.full((batch,), frames)
    strength = mu if reward is not None else 0.0
    if not isinstance(generator, MaskedGenerator):
        guidance = GuidanceConfig(mu=strength, scale="constant", location="x0")
        return RewardGuidedSampler(generator, guidance=guidance, reward=reward).sample(texts, lengths)
    if generator.denoising_steps:
        guidance = GuidanceConfig(mu=strength, location="x0")
        return MaskedSampler(generator, guidance=guidance, reward=reward).sample(texts, lengths)
    plain = MaskedSampler(generator)
    if reward is None:
        return plain.sample(texts, lengths)
    return BestOfN(plain, reward, CANDIDATES).sample(texts, lengths).motions


def final_rewards(reward: DualAlignmentReward, made: GeneratedMotions) -> Tensor:
    """R_phi of finished motions [B]."""
    texts = [f"a person does thing number {number}" for number in range(len(made.lengths))]
    return reward.score(made.features, made.lengths, texts)


def measure(name: str, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """One row of the table."""
    features = load_skeleton(options.skeleton).num_features
    statistics = write_statistics(folder / "data", features)
    torch.manual_seed(0)
    bundle = read_reward(write_reward(folder / "reward", options.skeleton), "realign", statistics)
    reward = DualAlignmentReward(bundle, random_text(T5_SIZES))
    family = "mdm" if name in MDM_FORMS else name
    generator = load_generator(
        write_generator(name, folder / name, options.skeleton),
        family=family,
        statistics=statistics,
        sampling=SamplingConfig(steps=FEW_STEPS if family.startswith(("motionlcm", "mardm")) else options.steps),
        encode=text_of(name),
    )
    size = (options.mu, options.batch, options.frames)
    run(generator, reward, *size)  # what is set up once is no cost of a step
    seconds, made = [], []
    for guide in (None, reward):
        start = time.perf_counter()
        made.append(run(generator, guide, *size))
        seconds.append(time.perf_counter() - start)
    seen = made[1].rewards
    plain, guided = (final_rewards(reward, one) for one in made)
    steps = FEW_STEPS if family.startswith("motionlcm") else options.steps
    steps = MARDM_ROUNDS * FEW_STEPS if family == "mardm" else steps
    per_step = [1000 * second / (steps * options.batch) for second in seconds]
    changed = (made[0].features - made[1].features).abs().amax()
    sound = bool(seen.isfinite().all()) and math.isfinite(changed) and float(changed) > 0
    denoises = not isinstance(generator, MaskedGenerator) or generator.denoising_steps > 0
    return dict(
        zip(
            ("generator", "loads", "gradient", "unguided", "guided", "risen", "ms", "guided_ms", "ratio"),
            (
                name,
                "yes",
                ("finite" if sound else "NOT SOUND") if denoises else "none",
                plain.mean().item(),
                guided.mean().item(),
                f"{int((guided > plain).sum())} of {options.batch}",
                per_step[0],
                per_step[1],
                seconds[1] / seconds[0],
            ),
            strict=True,
        )
    )


def main(arguments: Sequence[str] | None = None) -> list[dict[str, object]]:
    """Print the table."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(name, Path(folder), options))
    print(format_table(COLUMNS, [[_cell(value) for value in row.values()] for row in rows]))
    return rows


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    try:
        main()
    except RealignError as error:
        sys.exit(f"error: {error}")
