"""The step-aware reward models that ReAlign published (Weng et al., AAAI 2026), read from the files as they are.

A file holds `{'state_dict': ...}` with 427 tensors, the time embedding also where no step token was used. Skeleton and
sizes follow from the weights; the rest is what its public training code fixes: sentence-t5-large, 1000 steps of the
scaled linear schedule, the data set's own statistics, step tokens that count from 0 at the first noisy level.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightning_realign.checkpoints.published import channels_read, skeleton_of_size
from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.files.weights import load_strictly, read_weights
from lightning_realign.generators.base import read_dataset_normaliser
from lightning_realign.models import RewardSpace, StepAwareRewardModel
from lightning_realign.text import text_sizes

logger = logging.getLogger(__name__)

TEXT_ENCODER = "sentence-t5-large"
SKELETONS = {"H3D": "humanml3d", "KIT": "kit"}
# The text encoder, which some files carry along.
IGNORED = ("clip.", "xlm.")
_NAME = re.compile(r"SPM_(H3D|KIT)_Thr(\d+)_Temp(\d+)_SA(M[01]T[01])_E\d+")
_REMEDY = "give a published SPM_*.pth (a reward that this project trained is of family 'own')"


@dataclass(frozen=True)
class Training:
    """How a published reward was trained, as far as its file name says; the defaults are the published setting.

    step_aware: whether motions carried a step token. omega: probability of a clean motion. t_max: largest timestep.
    skeleton: of its motions, None where the name does not say.
    """

    step_aware: bool = True
    omega: float = 0.5
    t_max: int = 1000
    skeleton: str | None = None


def read_realign(path: Path, statistics: Path | None, step_aware: bool | None) -> RewardBundle:
    """A published reward model.

    Args:
        path: `SPM_{H3D|KIT}_Thr.._Temp.._SA{mode}_E...pth`, or a file of another name.
        statistics: folder of the data set's Mean.npy and Std.npy; None looks beside the file.
        step_aware: whether motions carry a step token; None believes the name.

    Raises:
        ConfigError: `step_aware` contradicts the name.
        CheckpointError: the file is missing, damaged, unsafe, or holds other weights.
        DataError: statistics are missing or unusable.
    """
    schedule = NoiseSchedule()
    training = read_name(path, step_aware, schedule.steps)
    weights = read_weights(path, "state_dict")
    skeleton = skeleton_of_size(channels_read(weights, "skel_embedding"), path, _REMEDY)
    if training.skeleton not in (None, skeleton.name):
        raise CheckpointError(
            f"{path}: is named for {training.skeleton}, but its weights read motions of {skeleton.name}: give the "
            "file its published name"
        )
    network = _network(weights, skeleton.num_features, training.step_aware, path)
    folder = path.parent if statistics is None else statistics
    if statistics is None and not (folder / "Mean.npy").is_file():
        raise ConfigError(
            f"{path}: holds no statistics of its motions: set reward_statistics to the folder of the data set's "
            "Mean.npy and Std.npy"
        )
    normaliser = read_dataset_normaliser(folder, network.num_features)
    return RewardBundle(
        network,
        RewardSpace("motion", normaliser),
        schedule,
        skeleton.name,
        TEXT_ENCODER,
        fingerprint="",
        omega=training.omega,
        t_min=1,
        t_max=training.t_max,
        index_tokens=True,
    )


def read_name(path: Path, step_aware: bool | None = None, steps: int = 1000) -> Training:
    """What the name of a published file says of its training.

    `Thr` is the probability of a clean motion in percent, `Temp` the number of noise levels, `SA` the mode: `M1` where
    motions carry a step token, and `T1` where texts did in training, which never get one in use.

    Args:
        path: the file.
        step_aware: what the user says; needed only where the name is another.
        steps: of the noise schedule.

    Raises:
        ConfigError: `step_aware` contradicts the name, or the name has more noise levels than the schedule.
    """
    match = _NAME.fullmatch(path.stem)
    if match is None:
        if step_aware is None:
            logger.warning("%s: no published name: taken for a step-aware reward; say step_aware, or rename it", path)
        return Training(step_aware=step_aware is not False)
    data, threshold, levels, mode = match.groups()
    named = mode[1] == "1"
    if step_aware not in (None, named):
        raise ConfigError(
            f"{path}: step_aware is {step_aware}, but the name says {mode}, which is "
            f"{'' if named else 'not '}step-aware; leave step_aware out, or rename the file"
        )
    if not 1 <= int(levels) <= steps:
        raise ConfigError(f"{path}: its name says Temp{levels}, but there are 1 to {steps} noise levels; rename it")
    return Training(named, min(int(threshold) / 100, 1.0), int(levels), SKELETONS[data])


def _network(weights: Mapping[str, Tensor], features: int, step_aware: bool, path: Path) -> StepAwareRewardModel:
    token_size, _ = text_sizes(TEXT_ENCODER)
    network = StepAwareRewardModel(features, token_size)
    load_strictly(network, weights, str(path), ignored=IGNORED, remedy=_REMEDY)
    for part in ("weight", "bias"):
        if not torch.equal(weights[f"motion_encoder.norm.{part}"], weights[f"text_encoder.norm.{part}"]):
            raise CheckpointError(
                f"{path}: 'motion_encoder.norm.{part}' and 'text_encoder.norm.{part}' differ, but are one layer in the "
                f"published network: {_REMEDY}"
            )
    if step_aware:
        return network
    plain = StepAwareRewardModel(features, token_size, step_aware=False)
    # The file was compared in full above; its time embedding has never been trained.
    load_strictly(plain, network.state_dict(), str(path), ignored=("time_embedding.",), remedy=_REMEDY)
    return plain
