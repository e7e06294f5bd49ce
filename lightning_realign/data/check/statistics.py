"""Whether Mean and Std, a data set's own or an evaluator's, fit the motions: a part of `data doctor`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_realign.data.check.motion import Problem
from lightning_realign.data.formats import load_statistics
from lightning_realign.errors import DataError
from lightning_realign.motion import Skeleton
from lightning_realign.motion.normaliser import feature_statistics

Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]

# By what share of the deviation a block's Mean and Std may differ from the training split's. Published data sets
# computed theirs over all motions.
MEAN_DRIFT, STD_DRIFT = 0.1, 0.2
# The published evaluators' statistics come from an earlier release of HumanML3D and differ by up to 0.14 deviations.
# Their deviations of root and contacts are divided by 5, once or twice (`feat_bias`,
# github.com/EricGuo5513/text-to-motion).
EVALUATOR_SLACK = 2.0
EVALUATOR_SCALES = (1.0, 1 / 5, 1 / 25)


def check_statistics(
    root: Path, motions: Sequence[NDArray[np.float32]], skeleton: Skeleton, evaluator: Path | None = None
) -> Iterator[Problem]:
    """What is wrong with Mean.npy and Std.npy of a data set, and with mean.npy and std.npy in an evaluator's folder."""
    found = feature_statistics(motions, skeleton) if motions else None
    own, problem = _load(root, ("Mean", "Std"), skeleton)
    if problem is not None:
        yield problem
    elif own is not None and found is not None and (drifted := list(_drift(own, found, skeleton))):
        detail = f"Mean.npy and Std.npy are not those of the training motions: {'; '.join(drifted)}"
        if any(scale < 1 for scale in _scales(own, found, skeleton)):
            detail += "; such small deviations of the root are an evaluator's, which belong beside its weights"
        yield Problem("warning", "statistics differ", detail)
    if evaluator is None:
        return
    other, problem = _load(evaluator, ("mean", "std"), skeleton)
    if problem is not None:
        yield Problem(problem.severity, "evaluator statistics", problem.detail)
    elif other is not None and found is not None:
        yield from _check_evaluator(evaluator, other, found, skeleton)


def _check_evaluator(folder: Path, own: Statistics, found: Statistics, skeleton: Skeleton) -> Iterator[Problem]:
    std = own[1].copy()
    for (_, block), scale in zip(skeleton.blocks, _scales(own, found, skeleton), strict=True):
        std[block] /= scale
    if drifted := list(_drift((own[0], std), found, skeleton, EVALUATOR_SLACK)):
        detail = f"{folder}: mean.npy and std.npy are not of motions like these: {'; '.join(drifted)}"
        yield Problem("warning", "evaluator statistics", detail)


def _load(folder: Path, names: tuple[str, str], skeleton: Skeleton) -> tuple[Statistics | None, Problem | None]:
    try:
        mean, std = (load_statistics(folder / f"{name}.npy", skeleton.num_features) for name in names)
    except DataError as error:
        return None, Problem("error", "statistics", str(error))
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        detail = f"{names[0]}.npy or {names[1]}.npy has entries that are not finite or not positive"
        return None, Problem("error", "statistics", detail)
    return (mean, std), None


def _scales(own: Statistics, found: Statistics, skeleton: Skeleton) -> list[float]:
    """For each block, the factor among the evaluators' by which its deviation is scaled."""
    scales = []
    for name, block in skeleton.blocks:
        ratio = float(own[1][block].mean() / found[1][block].mean())
        choices = EVALUATOR_SCALES if name.startswith("root") or name == "contacts" else (1.0,)
        scales.append(min(choices, key=lambda scale: abs(math.log(ratio / scale))))
    return scales


def _drift(own: Statistics, found: Statistics, skeleton: Skeleton, slack: float = 1.0) -> Iterator[str]:
    """The blocks whose statistics differ from the data's, and by how much."""
    for name, block in skeleton.blocks:
        deviation = found[1][block].mean()
        shift = float(np.sqrt(np.mean((own[0][block] - found[0][block]) ** 2)) / deviation)
        ratio = float(own[1][block].mean() / deviation)
        if shift > MEAN_DRIFT * slack or abs(ratio - 1) > STD_DRIFT * slack:
            yield f"{name} mean off by {shift:.2g} deviations, deviation {ratio:.2g} times the motions'"
