"""Choosing a pair of motions that is worth seeing: unguided and guided, for one caption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_realign.errors import DataError
from lightning_realign.files.reading import read_json
from lightning_realign.motion.predictions import read_prediction


@dataclass(frozen=True)
class Pair:
    """The motions of one sample, without and with guidance, and why they were chosen."""

    name: str
    unguided: Path
    guided: Path
    reason: str


def _last_reward(path: Path) -> float:
    """The reward at the cleanest guided step; NaN if none was recorded."""
    rewards = read_prediction(path).rewards
    finite = rewards[np.isfinite(rewards)]
    return float(finite[-1]) if finite.size else float("nan")


def _oracle_right(path: Path, attributes: Mapping[str, Any]) -> bool:
    from lightning_realign.data.synthetic import is_right

    motion = read_prediction(path)
    return is_right(torch.from_numpy(motion.joints), motion.skeleton, attributes)


def _difference(unguided: Path, guided: Path) -> float:
    """The mean distance between the joints of two motions over the frames they share, in the skeleton's unit."""
    first, second = (read_prediction(path).joints for path in (unguided, guided))
    frames = min(len(first), len(second))
    return float(np.linalg.norm(first[:frames] - second[:frames], axis=-1).mean())


def _shared_files(unguided: Path, guided: Path) -> dict[str, tuple[Path, Path]]:
    before, after = ({file.stem: file for file in folder.glob("*.npz")} for folder in (unguided, guided))
    names = sorted(before.keys() & after.keys())
    if not names:
        raise DataError(
            f"{guided}: no .npz file has a namesake in {unguided}; predict the same split into both folders"
        )
    return {name: (before[name], after[name]) for name in names}


def _sample_id(stem: str, attributes: Mapping[str, Any]) -> str:
    """The id of a file's sample: the stem, or its part before `_r<k>` if there are several replications."""
    return stem if stem in attributes else stem.rpartition("_r")[0]


def _by_reward(files: Mapping[str, tuple[Path, Path]]) -> Pair:
    """The pair with the largest gain in reward; if the unguided files hold no rewards, the largest guided reward."""
    after = {name: _last_reward(guided) for name, (_, guided) in files.items()}
    gains = {name: after[name] - _last_reward(unguided) for name, (unguided, _) in files.items()}
    for scores, what in ((gains, "gain in reward"), (after, "guided reward (unguided ones were not recorded)")):
        finite = {name: score for name, score in scores.items() if np.isfinite(score)}
        if finite:
            name = max(finite, key=lambda entry: finite[entry])
            return Pair(name, *files[name], f"largest {what} of {len(finite)}: {finite[name]:+.3f}")
    folder = next(iter(files.values()))[1].parent
    raise DataError(f"{folder}: no rewards and no oracle to choose an example by; predict with a reward model")


def pick_pair(unguided: Path, guided: Path, root: Path | None = None) -> Pair:
    """Choose one sample on which guidance made a visible difference *for the better*.

    The pair is a chosen example that shows what guidance does where it helps. It says nothing about how often that is;
    averages over the whole test split do.

    If there is an oracle (`attributes.json` in the data set), the candidates are the samples that it finds wrong
    unguided and right guided, and the pair whose motions differ most is chosen. Otherwise, or if there are no such
    samples, it is the pair whose reward at the cleanest step gained most, or is highest if the unguided files hold no
    rewards.

    Args:
        unguided: folder of predictions, `<id>.npz`.
        guided: folder of predictions for the same ids.
        root: the data set's folder, for the oracle.

    Raises:
        DataError: the folders share no id, or nothing can be compared.
    """
    files = _shared_files(unguided, guided)
    known = root is not None and (root / "attributes.json").is_file()
    attributes = read_json(root / "attributes.json", "attributes file") if root is not None and known else {}
    repaired = [
        name
        for name, (before, after) in files.items()
        if (truth := attributes.get(_sample_id(name, attributes))) is not None
        and _oracle_right(after, truth)
        and not _oracle_right(before, truth)
    ]
    if repaired:
        name = max(repaired, key=lambda entry: _difference(*files[entry]))
        reason = f"one of {len(repaired)} of {len(files)} that the oracle finds wrong unguided and right guided"
        return Pair(name, *files[name], reason)
    return _by_reward(files)
