"""Motions from prompts: needs checkpoints and no data set."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain, product
from pathlib import Path

import torch
from tqdm import tqdm

from lightning_realign.errors import ConfigError
from lightning_realign.guidance import GuidanceConfig, Location, ParticleConfig, Scale, SchedulerName, prompt_ids
from lightning_realign.inference.pipeline import GuidedPipeline
from lightning_realign.inference.rewards import require_reward
from lightning_realign.inference.writer import warn_of_blown_up
from lightning_realign.motion import Skeleton
from lightning_realign.motion.predictions import Prediction, write_predictions
from lightning_realign.rewards import Family as RewardFamily
from lightning_realign.rewards.index import RewardIndex, find_index, reward_fingerprint

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
    start: float = 1.0,
    stop: float = 0.0,
    every: int = 1,
    max_norm: float | None = None,
    steps: int | None = None,
    cfg_scale: float | None = None,
    seed: int = 1234,
    index: Path | None = None,
    scheduler: SchedulerName | None = None,
    ddim_eta: float = 0.0,
    candidates: int = 1,
    travel: int = 0,
    travel_start: float = 1.0,
    travel_stop: float = 0.0,
    particles: int = 1,
    temperature: float = 1.0,
    family: str = "own",
    reward_family: RewardFamily = "own",
    statistics: Path | None = None,
    reward_statistics: Path | None = None,
    ensemble: Sequence[Path] | None = None,
    physical: Mapping[str, float] | None = None,
    device: str = "auto",
) -> list[Path]:
    """Generate motions from prompts and write one `.npz` for each, as `motion.predictions.write_predictions` does.

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
        start: beginning of the guided window, as the fraction of the trajectory still ahead.
        stop: its end, likewise.
        every: guide every k-th step of the window.
        max_norm: largest norm of one motion's gradient; None for no limit.
        steps: sampling steps; None for the generator's own, as for cfg_scale and scheduler.
        cfg_scale: scale of classifier-free guidance.
        seed: seed of all noise.
        index: file of the training split's embeddings, made by a guided run with eta over the data set; None for the
            one that is in the index cache for this reward.
        scheduler: `ddim`, `ddpm` or `lcm`.
        ddim_eta: stochasticity of DDIM.
        candidates: motions drawn for each that is kept, the one with the highest clean reward; above 1 needs a reward.
        travel: how often each step of the travel window is undone with fresh noise and done again.
        travel_start: beginning of that window, as start.
        travel_stop: its end, likewise.
        particles: particles for each guided motion, resampled by the reward on the way; above 1 needs a reward.
        temperature: of the reward where it weighs particles; the lower, the stronger.
        family: `own`, or which published generator the file holds.
        reward_family: likewise of the reward.
        statistics: folder of the generator's Mean.npy and Std.npy, for published files that do not hold theirs.
        reward_statistics: likewise of the reward.
        ensemble: checkpoints of further rewards; the mean with `reward` guides, ranks candidates and weighs particles.
        physical: weights of physical rewards by name, see `GuidanceConfig`.
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
    guidance = GuidanceConfig(
        mu, eta, scale, location, start, stop, every, max_norm, travel, travel_start, travel_stop, physical or {}
    )
    require_reward(guidance, reward, candidates, particles)
    pipeline = GuidedPipeline(
        ckpt,
        reward,
        guidance,
        ensemble=ensemble,
        family=family,
        reward_family=reward_family,
        statistics=statistics,
        reward_statistics=reward_statistics,
        steps=steps,
        scheduler=scheduler,
        seed=seed,
        cfg_scale=cfg_scale,
        ddim_eta=ddim_eta,
        candidates=candidates,
        steering=ParticleConfig(particles, temperature) if particles > 1 else None,
        device=_chosen_device(device),
    )
    if eta != 0 and pipeline.reward is not None:
        fingerprint = reward_fingerprint(pipeline.reward.bundle)
        pipeline.index = RewardIndex.load(index or find_index(fingerprint), fingerprint)
    frames = frames_of(seconds, pipeline.skeleton)
    return _write_all(pipeline, texts, frames, samples, (mu, eta, seed), out)


def _write_all(
    pipeline: GuidedPipeline,
    texts: Sequence[str],
    frames: int,
    samples: int,
    settings: tuple[float, float, int],
    out: Path,
) -> list[Path]:
    """Sample and write batch by batch; `settings` are mu, eta and the seed, as the files record them."""
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
                *settings,
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


def _chosen_device(name: str) -> torch.device:
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
