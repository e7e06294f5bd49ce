"""Motions from prompts: needs checkpoints and no data set."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import chain, product
from pathlib import Path

import torch

from lightning_realign.callbacks.writer import Prediction, write_predictions
from lightning_realign.errors import ConfigError
from lightning_realign.guidance import GuidanceConfig, Location, Scale, SchedulerName, prompt_ids
from lightning_realign.guidance.retrieval import RewardIndex, reward_fingerprint
from lightning_realign.inference.pipeline import GuidedPipeline, require_reward
from lightning_realign.motion import Skeleton

# The published models were trained on lengths in multiples of 4 below 200 frames.
LENGTH_UNIT = 4
MAX_FRAMES = 196
# More than any text encoder reads; a longer prompt would be cut without a word.
MAX_CHARACTERS = 500
_BATCH = 32


def frames_of(seconds: float, skeleton: Skeleton) -> int:
    """The length in frames of `seconds`: the nearest multiple of 4.

    Raises:
        ConfigError: less than 4 frames, or more than 196.
    """
    frames = round(seconds * skeleton.fps / LENGTH_UNIT) * LENGTH_UNIT if math.isfinite(seconds) else 0
    if not LENGTH_UNIT <= frames <= MAX_FRAMES:
        least, most = LENGTH_UNIT / skeleton.fps, MAX_FRAMES / skeleton.fps
        raise ConfigError(f"seconds is {seconds}; give {least:g} to {most:g} seconds for skeleton {skeleton.name!r}")
    return frames


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """The prompts without surrounding space.

    Raises:
        ConfigError: there is none, or one is empty or too long.
    """
    texts = tuple(" ".join(prompt.split()) for prompt in prompts)
    if not texts:
        raise ConfigError("prompt: no text given; give one or more")
    for number, text in enumerate(texts, 1):
        if not text:
            raise ConfigError(f"prompt {number} is empty; write what the motion should do")
        if len(text) > MAX_CHARACTERS:
            raise ConfigError(
                f"prompt {number} has {len(text)} characters ({text[:30]!r}...); write at most {MAX_CHARACTERS}"
            )
    return texts


def generate(
    prompt: Sequence[str],
    ckpt: Path,
    out: Path,
    seconds: float = 4.0,
    samples: int = 1,
    reward: Path | None = None,
    mu: float = 0.0,
    eta: float = 0.0,
    scale: Scale = "score",
    location: Location = "x_t",
    steps: int = 50,
    cfg_scale: float = 7.5,
    seed: int = 1234,
    index: Path | None = None,
    scheduler: SchedulerName = "ddim",
    family: str = "latent",
    device: str = "cpu",
) -> list[Path]:
    """Generate motions from prompts and write one `.npz` for each, as `callbacks.writer.write_predictions` does.

    A file is named by its text and a hash of text, length and occurrence of that pair, and by the sample's number where
    there are several; the same prompt and seed give the same motion, whatever else is asked for.

    Args:
        prompt: the texts.
        ckpt: checkpoint of the generator.
        out: folder of the files.
        seconds: length of the motions, rounded to a multiple of 4 frames.
        samples: motions per text.
        reward: checkpoint of the reward model, needed where mu or eta is not 0.
        mu: weight of the text reward.
        eta: weight of the reward towards the retrieved training motion.
        scale: how the gradient enters the step.
        location: the tensor at which the gradient is taken.
        steps: sampling steps.
        cfg_scale: scale of classifier-free guidance.
        seed: seed of all noise.
        index: file of the training split's embeddings, made by a guided run with eta over the data set.
        scheduler: `ddim` or `ddpm`.
        family: name of the generator's adapter.
        device: where to compute.

    Returns:
        The files, by prompt and then by sample.

    Raises:
        ConfigError: a setting that is out of range or contradicts another one.
        CheckpointError: a checkpoint that cannot be used.
    """
    texts = check_prompts(prompt)
    if samples < 1:
        raise ConfigError(f"samples is {samples}; set it to 1 or more")
    guidance = GuidanceConfig(mu, eta, scale, location)
    require_reward(guidance, reward)
    if eta != 0 and index is None:
        raise ConfigError(
            f"eta is {eta}: eta needs the training set's index: give the file that guided predict or test with eta "
            "wrote to its index cache, or set eta to 0"
        )
    pipeline = GuidedPipeline(
        ckpt,
        reward,
        guidance,
        family=family,
        steps=steps,
        scheduler=scheduler,
        seed=seed,
        cfg_scale=cfg_scale,
        device=device,
    )
    if index is not None and eta != 0 and pipeline.reward is not None:
        pipeline.index = RewardIndex.load(index, reward_fingerprint(pipeline.reward.bundle))
    frames = frames_of(seconds, pipeline.skeleton)
    files: list[list[Path]] = [[] for _ in texts]
    ids = prompt_ids(texts, [frames] * len(texts))
    names = tuple(f"{_slug(text)}-{identity[:8]}" for text, identity in zip(texts, ids, strict=True))
    for first, replication in product(range(0, len(texts), _BATCH), range(samples)):
        part = slice(first, first + _BATCH)
        lengths = torch.full((len(texts[part]),), frames)
        motions = pipeline.sample(texts[part], lengths, ids[part], replication)
        prediction = Prediction(
            motions, names[part], texts[part], pipeline.skeleton, mu, eta, seed, replication, samples
        )
        for written, path in zip(files[part], write_predictions(prediction, out), strict=True):
            written.append(path)
    return list(chain.from_iterable(files))


def _slug(text: str) -> str:
    """A readable part of a file name: up to 40 characters of the text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "motion"
