"""Judges of generated motions behind one `Evaluator` protocol."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_realign.errors import ConfigError
from lightning_realign.evaluators.base import Evaluator

__all__ = ["EVALUATORS", "Evaluator", "load_evaluator"]

EVALUATORS = ("guo", "guo_published", "tmr")


def load_evaluator(
    name: str,
    path: Path | str,
    *,
    statistics: Path | str | None = None,
    word_vectors: Path | str | None = None,
    text_cache: Path | str | None = None,
    device: torch.device | str = "cpu",
) -> Evaluator:
    """Load an evaluator.

    Args:
        name: `guo`, the architecture of Guo et al. as this project trained it; `guo_published`, their own weights;
            `tmr`, a reward model.
        path: the checkpoint; for `guo_published` the `finest.tar` of either data set.
        statistics: for `guo_published`, the folder of its own mean.npy and std.npy; None looks beside `path`, where
            the published archive has them.
        word_vectors: for `guo_published`, the folder of the published GloVe files.
        text_cache: for `tmr`, the folder of the cached text features; None for the usual one.
        device: where its weights go.

    Raises:
        ConfigError: an unknown name, a path that the named evaluator needs and that is not given, or has no use for.
        CheckpointError: a checkpoint that is missing, unsafe, of another kind, or does not fit.
        DataError: statistics or word vectors that are missing or unusable.
    """
    if name not in EVALUATORS:
        raise ConfigError(f"evaluator name={name!r} is unknown; use one of {', '.join(EVALUATORS)}")
    return _load(name, Path(path), statistics, word_vectors, text_cache).to(device=device)


def _load(
    name: str,
    path: Path,
    statistics: Path | str | None,
    word_vectors: Path | str | None,
    text_cache: Path | str | None,
) -> Evaluator:
    from lightning_realign.checkpoint import load_reward
    from lightning_realign.evaluators.bundle import load_evaluator_bundle
    from lightning_realign.evaluators.guo import GuoEvaluator
    from lightning_realign.evaluators.published import read_published
    from lightning_realign.evaluators.tmr import TMREvaluator

    if name == "guo_published":
        if word_vectors is None:
            raise ConfigError("evaluator guo_published: word_vectors is not set; give the folder of our_vab_data.npy")
        folder = None if statistics is None else Path(statistics)
        return GuoEvaluator(read_published(path, folder, Path(word_vectors)), name)
    for option, value in (("statistics", statistics), ("word_vectors", word_vectors)):
        if value is not None:
            raise ConfigError(f"evaluator {name}: {option} is {value}, but its checkpoint holds its own; leave it out")
    if name == "tmr":
        return TMREvaluator(load_reward(path), name, text_cache)
    return GuoEvaluator(load_evaluator_bundle(path), name)
