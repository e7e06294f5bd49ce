"""Motions from prompts as files: needs checkpoints and no data set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from lightning_realign.inference.pipeline import Pipeline
from lightning_realign.inference.prompt import check_prompts, chosen_device
from lightning_realign.inference.writer import warn_of_blown_up
from lightning_realign.motion.predictions import write_predictions
from lightning_realign.settings.checks import check_least
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import SearchConfig
from lightning_realign.settings.sources import GeneratorSource, RewardSource


def generate(
    prompt: Sequence[str],
    generator: GeneratorSource,
    out: Path,
    reward: RewardSource | None = None,
    guidance: GuidanceConfig | None = GuidanceConfig(),  # noqa: B008 - frozen
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
        guidance: strength and kind of the guidance; what is open is filled from the reward. None for no guidance.
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
    check_least("samples", samples, 1)
    pipeline = Pipeline(generator, reward, guidance, sampling, search, device=chosen_device(device))
    pipeline.find_index(index)
    files: list[list[Path]] = [[] for _ in texts]
    blown_up = 0
    with tqdm(total=len(texts) * samples, desc="motions", unit="motion", leave=False) as bar:
        pipeline.generator.watch = lambda calls: bar.set_postfix(evaluations=calls)
        for first, prediction in pipeline.predictions(texts, seconds, samples):
            blown_up += prediction.blown_up
            for place, path in enumerate(write_predictions(prediction, out), first):
                files[place].append(path)
            bar.update(len(prediction.ids))
    warn_of_blown_up(blown_up, len(texts) * samples)
    return list(chain.from_iterable(files))
