"""Judges of generated motions behind one `Evaluator` protocol."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch

from lightning_realign.errors import ConfigError
from lightning_realign.evaluation.judges.base import Evaluator
from lightning_realign.rewards import read_reward
from lightning_realign.settings.sources import JudgeKind, RewardFamily

__all__ = ["EVALUATORS", "Evaluator", "load_evaluator"]

EVALUATORS: tuple[JudgeKind, ...] = get_args(JudgeKind)
_PUBLISHED_REWARDS: dict[str, RewardFamily] = {"tmr_published": "tmr", "realign_published": "realign"}


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
            `tmr`, a reward model of this project; `tmr_published` and `realign_published`, those of TMR and ReAlign.
        path: the checkpoint; for `guo_published` the `finest.tar` of either data set; for `tmr_published` the folder of
            a model.
        statistics: folder of a published evaluator's statistics. `guo_published`: its own mean.npy and std.npy; None
            looks beside `path`, where the published archive has them. The others: see `read_reward` in
            `lightning_realign.rewards`.
        word_vectors: for `guo_published`, the folder of the published GloVe files.
        text_cache: for reward models, the folder of the cached text features; None for the usual one.
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
    from lightning_realign.checkpoints.evaluator import load_evaluator_bundle
    from lightning_realign.evaluation.judges.guo import GuoEvaluator
    from lightning_realign.evaluation.judges.published import read_published
    from lightning_realign.evaluation.judges.tmr import TMREvaluator

    if name == "guo_published":
        if word_vectors is None:
            raise ConfigError("evaluator guo_published: word_vectors is not set; give the folder of our_vab_data.npy")
        folder = None if statistics is None else Path(statistics)
        return GuoEvaluator(read_published(path, folder, Path(word_vectors)), name)
    if name in _PUBLISHED_REWARDS:
        if word_vectors is not None:
            raise ConfigError(f"evaluator {name}: word_vectors is {word_vectors}, but it reads none; leave it out")
        return TMREvaluator(read_reward(path, _PUBLISHED_REWARDS[name], statistics=statistics), name, text_cache)
    for option, value in (("statistics", statistics), ("word_vectors", word_vectors)):
        if value is not None:
            raise ConfigError(f"evaluator {name}: {option} is {value}, but its checkpoint holds its own; leave it out")
    if name == "tmr":
        return TMREvaluator(read_reward(path), name, text_cache)
    return GuoEvaluator(load_evaluator_bundle(path), name)
