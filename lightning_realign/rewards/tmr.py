"""The models that TMR published (Petrovich et al., ICCV 2023), read from their folders as they are.

A folder holds `config.json` and `last_weights/{motion_encoder,text_encoder,motion_decoder}.pt`. The statistics are not
in it, but in `stats/DATA/guoh3dfeats/{mean,std}.pt` of TMR's repository, in whose folder `models` the folder lies. Both
published models, HumanML3D's and KIT-ML's, read HumanML3D's 263 features: TMR extracts KIT-ML anew, from AMASS.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_realign.checkpoints.published import published_weights
from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import CheckpointError, ConfigError, DataError
from lightning_realign.files.reading import read_json
from lightning_realign.files.weights import load_strictly, read_plain
from lightning_realign.models import RewardSpace
from lightning_realign.models.tmr import TMR
from lightning_realign.motion import Normaliser, load_skeleton
from lightning_realign.text import text_sizes

SKELETON = "humanml3d"
TEXT_ENCODER = "distilbert-base-uncased"
PARTS = ("motion_encoder", "text_encoder", "motion_decoder")
# Their name for each size of the architecture, and its type.
_SIZES = {"width": "latent_dim", "layers": "num_layers", "heads": "num_heads", "feedforward": "ff_size"}
_REMEDY = "give the folder of a model that TMR published"


def read_tmr(folder: Path, statistics: Path | None) -> RewardBundle:
    """A published model of TMR.

    Args:
        folder: `models/tmr_humanml3d_guoh3dfeats`, `models/tmr_kitml_guoh3dfeats`, or one of the same layout.
        statistics: folder of its mean.pt and std.pt; None looks in `folder/stats`, and where TMR's repository has them.

    Raises:
        CheckpointError: weights are missing, damaged, unsafe, or do not fit the configuration.
        DataError: the configuration or the statistics are missing or unusable.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder: {_REMEDY}, which holds config.json and last_weights")
    config = read_json(folder / "config.json", "configuration")
    network = _network(config, folder / "config.json")
    for part in PARTS:
        path, weights = published_weights(folder / "last_weights" / f"{part}.pt")
        load_strictly(getattr(network, part), weights, str(path), remedy=_REMEDY)
    normaliser = _statistics(_statistics_folder(folder, config, statistics), network.num_features)
    # TMR has seen clean motions only; without a step token its schedule says how noisy a motion is, and nothing else.
    return RewardBundle(
        network.requires_grad_(False).eval(),
        RewardSpace("motion", normaliser),
        NoiseSchedule(),
        SKELETON,
        TEXT_ENCODER,
        fingerprint="",
        omega=1.0,
        t_min=1,
        t_max=1000,
    )


def _network(config: Mapping[str, Any], path: Path) -> TMR:
    """The network that the configuration describes, with random weights."""
    encoder = _entry(config, path, "model", PARTS[0])
    sizes = {}
    for name, field in _SIZES.items():
        value = encoder.get(field)
        if not isinstance(value, int) or isinstance(value, bool):
            raise DataError(f"{path}: model.{PARTS[0]}.{field} is {value!r}, expected a number: {_REMEDY}")
        sizes[name] = value
        for part in PARTS[1:]:
            other = _entry(config, path, "model", part).get(field)
            if other != value:
                raise DataError(
                    f"{path}: model.{part}.{field} is {other!r}, but {value} in {PARTS[0]}; TMR's published models "
                    f"have one size in all parts: {_REMEDY}"
                )
    for part in PARTS[:2]:
        if _entry(config, path, "model", part).get("vae") is not True:
            raise DataError(f"{path}: model.{part}.vae is not true; TMR embeds by the mean of a Gaussian: {_REMEDY}")
    _check_text_encoder(config, path)
    try:
        return TMR(load_skeleton(SKELETON).num_features, text_sizes(TEXT_ENCODER)[0], **sizes)
    except ConfigError as error:
        raise DataError(f"{path}: model: {error}: {_REMEDY}") from None


def _check_text_encoder(config: Mapping[str, Any], path: Path) -> None:
    name = _entry(config, path, "data", "text_to_token_emb").get("modelname")
    if name != TEXT_ENCODER:
        raise DataError(
            f"{path}: data.text_to_token_emb.modelname is {name!r}, the published models read {TEXT_ENCODER}: {_REMEDY}"
        )


def _entry(config: Mapping[str, Any], path: Path, *names: str) -> Mapping[str, Any]:
    """A nested object of the configuration."""
    found: Any = config
    for place, name in enumerate(names):
        found = found.get(name)
        if not isinstance(found, dict):
            raise DataError(f"{path}: {'.'.join(names[: place + 1])} is missing or no object: {_REMEDY}")
    entry: Mapping[str, Any] = found
    return entry


def _statistics_folder(folder: Path, config: Mapping[str, Any], given: Path | None) -> Path:
    if given is not None:
        return given
    places = [folder / "stats"]
    normaliser = _entry(config, folder / "config.json", "data", "motion_loader").get("normalizer")
    named = normaliser.get("base_dir") if isinstance(normaliser, dict) else None
    if isinstance(named, str):
        places.append(folder.resolve().parent.parent / named)
    for place in places:
        if (place / "mean.pt").is_file():
            return place
    raise DataError(
        f"{folder}: mean.pt and std.pt are not in {' or '.join(map(str, places))}: give their folder, "
        "stats/DATA/guoh3dfeats of TMR's repository; the data set's own Mean.npy and Std.npy are others"
    )


def _statistics(folder: Path, features: int) -> Normaliser:
    values: list[Tensor] = []
    for name in ("mean", "std"):
        path = folder / f"{name}.pt"
        value = read_plain(path, "give the mean.pt and std.pt that TMR published")
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            raise DataError(f"{path}: holds no tensor of numbers: give the mean.pt and std.pt that TMR published")
        values.append(value)
    normaliser = Normaliser(features)
    try:
        normaliser.set(*values)
    except DataError as error:
        raise DataError(f"{folder}: {error}; TMR's are its own mean.pt and std.pt") from None
    return normaliser
