"""Motions from prompts: needs checkpoints and no data set."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import chain, product
from pathlib import Path

import torch
from tqdm import tqdm

from lightning_realign.diffusion.noise import prompt_ids
from lightning_realign.errors import ConfigError
from lightning_realign.inference.pipeline import Pipeline
from lightning_realign.inference.writer import warn_of_blown_up
from lightning_realign.motion import Skeleton
from lightning_realign.motion.predictions import Prediction, write_predictions
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import SearchConfig
from lightning_realign.settings.sources import GeneratorSource, RewardSource

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
    generator: GeneratorSource,
    out: Path,
    reward: RewardSource | None = None,
    guidance: GuidanceConfig | None = None,
    sampling: SamplingConfig | None = None,
    search: SearchConfig | None = None,
    *,
    seconds: float = 4.0,
    samples: int = 1,
    index: Path | None = None,
    device: str = "auto",
) -> list[Path]:
    """Generate motions from prompts and write one `.npz` for each, as `motion.predictions.write_predictions` does.

    A file is named by its text and a hash of text, length and occurrence of that pair, and by the sample's number where
    there are several. The same prompt and seed give the same motion, whatever else is generated beside it.

    Args:
        prompt: the texts.
        generator: where the generator's weights come from.
        out: folder of the files.
        reward: where the reward's weights come from.
        guidance: strength and kind of the guidance.
        sampling: steps, scheduler, scale of classifier-free guidance and seed.
        search: candidates, particles and time travel.
        seconds: length of the motions, rounded to a multiple of 4 frames.
        samples: motions per text.
        index: file of the training split's embeddings, made by a guided run with eta over the data set; None for the
            one that is in the index cache for this reward.
        device: where to compute; `auto` is the GPU where there is one that CUDA knows, else the CPU.

    Returns:
        The files, by prompt and then by sample.

    Raises:
        ConfigError: a setting that is out of range or contradicts another one.
        CheckpointError: a checkpoint that cannot be used.
    """
    texts = check_prompts(prompt)
    if samples < 1:
        raise ConfigError(f"samples is {samples}; set it to 1 or more")
    pipeline = Pipeline(generator, reward, guidance, sampling, search, device=chosen_device(device))
    pipeline.find_index(index)
    frames = frames_of(seconds, pipeline.skeleton)
    return _write_all(pipeline, texts, frames, samples, out)


def _write_all(pipeline: Pipeline, texts: Sequence[str], frames: int, samples: int, out: Path) -> list[Path]:
    """Sample and write batch by batch."""
    files: list[list[Path]] = [[] for _ in texts]
    ids = prompt_ids(texts, [frames] * len(texts))
    names = tuple(f"{_slug(text)}-{identity[:8]}" for text, identity in zip(texts, ids, strict=True))
    blown_up = 0
    with tqdm(total=len(texts) * samples, desc="motions", unit="motion", leave=False) as bar:
        pipeline.generator.watch = lambda calls: bar.set_postfix(evaluations=calls)
        for first, replication in product(range(0, len(texts), _BATCH), range(samples)):
            part = slice(first, first + _BATCH)
            matches = pipeline.matches(texts[part])
            prediction = Prediction(
                pipeline.sample(texts[part], torch.full((len(texts[part]),), frames), ids[part], replication),
                names[part],
                tuple(texts[part]),
                pipeline.skeleton,
                pipeline.guidance.mu,
                pipeline.guidance.eta,
                pipeline.sampling.seed,
                replication,
                samples,
                () if matches is None else matches.ids,
                () if matches is None else tuple(matches.rewards.tolist()),
            )
            blown_up += prediction.blown_up
            for written, path in zip(files[part], write_predictions(prediction, out), strict=True):
                written.append(path)
            bar.update(len(texts[part]))
    warn_of_blown_up(blown_up, len(texts) * samples)
    return list(chain.from_iterable(files))


def chosen_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA's where there is one, else the CPU.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device is {name!r}, which torch cannot use here ({reason}); use auto or cpu") from None


def _slug(text: str) -> str:
    """A readable part of a file name: up to 40 characters of the text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "motion"
