"""What MARDM's published folders hold: sizes, from the weights, and the kind of denoising, from the folder's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lightning_realign.checkpoints.published import (
    channels_read,
    numbered,
    published_weights,
    sizes_of_weights,
    skeleton_of_size,
)
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.files.weights import load_strictly
from lightning_realign.generators.base import LoadOptions, read_normaliser
from lightning_realign.models.published.mardm import MARDMArchitecture, MaskedCodeTransformer, MotionAutoencoder
from lightning_realign.models.published.motion_codec import CodecArchitecture
from lightning_realign.motion import Skeleton, load_skeleton
from lightning_realign.motion.completion import position_features
from lightning_realign.motion.normaliser import Normaliser

# The two published kinds by a part of their folders' names, and whether the network predicts a velocity.
_KINDS = {"sit": True, "ddpm": False}
_AUTOENCODER = "AE"
# The autoencoder's published files; the second is KIT-ML's.
_FILES = ("latest.tar", "net_best_fid.tar")
_AE_REMEDY = "give MARDM's published AE"
# A file may hold a frozen CLIP, which is not read: `lightning_realign.text` has its own.
_IGNORED = ("clip_model.",)


@dataclass(frozen=True)
class MARDMParts:
    """The published networks, loaded.

    skeleton: name of the feature spec. flow: whether the head predicts velocities (SiT) rather than noise (DDPM).
    """

    codec: MotionAutoencoder
    transformer: MaskedCodeTransformer
    skeleton: str
    flow: bool


def read_parts(folder: Path) -> MARDMParts:
    """The networks of a published folder and of the autoencoder beside it.

    Raises:
        CheckpointError: a folder or file is missing, unsafe to read or of another model.
        ConfigError: the folder's name does not say which model it holds.
    """
    if not (folder / "model").is_dir():
        raise CheckpointError(f"{folder}: has no folder 'model': give MARDM's published MARDM_SiT_XL or MARDM_DDPM_XL")
    kinds = [flow for name, flow in _KINDS.items() if name in folder.name.lower()]
    if len(kinds) != 1:
        raise ConfigError(
            f"{folder}: its name must tell the kind of denoising, which its weights do not; rename it to MARDM_SiT_XL "
            "or MARDM_DDPM_XL, as it was published"
        )
    codec, skeleton = _codec(folder.parent / _AUTOENCODER / "model")
    path, weights = published_weights(folder / "model" / _FILES[0], "ema_mardm")
    with sizes_of_weights(path):
        transformer = MaskedCodeTransformer(codec.sizes.code_size, _sizes(weights, path))
    load_strictly(transformer, weights, str(path), ignored=_IGNORED, remedy="give MARDM's published XL model")
    return MARDMParts(codec, transformer, skeleton, kinds[0])


def read_statistics(folder: Path, features: int, skeleton: str, options: LoadOptions) -> Normaliser:
    """The statistics that the autoencoder was trained with.

    The public repository's utils/eval_mean_std is taken if it lies beside the checkpoint's folder or in the given
    folder. Otherwise the statistics are the beginnings of the data set's own, as in the public training.

    Raises:
        ConfigError: there are none.
        DataError: files that are missing or do not fit.
    """
    for place in filter(None, (folder.parent, options.statistics)):
        if (place / "eval_mean.npy").is_file():
            return read_normaliser(place, features, ("eval_mean", "eval_std"))
    if options.statistics is None:
        raise ConfigError(
            f"{folder}: holds no statistics of its motions: copy eval_mean.npy and eval_std.npy from MARDM's "
            f"utils/eval_mean_std to {folder.parent}, or set statistics to the data set's folder"
        )
    whole = read_normaliser(options.statistics, load_skeleton(skeleton).num_features)
    normaliser = Normaliser(features)
    normaliser.set(whole.mean[:features], whole.std[:features])
    return normaliser.requires_grad_(False).eval()


def _codec(home: Path) -> tuple[MotionAutoencoder, str]:
    """The autoencoder and the name of its skeleton."""
    path, weights = published_weights(home / _FILES[0] if _there(home / _FILES[0]) else home / _FILES[1], "ae")
    skeleton = _skeleton(weights, path)
    if skeleton.name == "kit" and _there(home / _FILES[1]):
        path, weights = published_weights(home / _FILES[1], "ae")
        skeleton = _skeleton(weights, path)
    code_size = channels_read(weights, "decoder.model.0")
    if code_size is None:
        raise CheckpointError(f"{path}: holds no motion autoencoder: {_AE_REMEDY}")
    with sizes_of_weights(path):
        sizes = CodecArchitecture(
            code_size=code_size,
            width=len(weights["encoder.model.0.weight"]),
            depth=numbered(weights, "encoder.model.2.1.model.", ".conv1.weight"),
            halvings=numbered(weights, "encoder.model.", ".0.weight"),
        )
    codec = MotionAutoencoder(position_features(skeleton), sizes)
    load_strictly(codec, weights, str(path), remedy=_AE_REMEDY)
    return codec, skeleton.name


def _there(path: Path) -> bool:
    return path.is_file() or path.with_suffix(".safetensors").is_file()


def _skeleton(weights: Mapping[str, Tensor], path: Path) -> Skeleton:
    """The skeleton whose positions and velocities the encoder reads."""
    return skeleton_of_size(channels_read(weights, "encoder.model.0"), path, _AE_REMEDY, position_features)


def _sizes(weights: Mapping[str, Tensor], path: Path) -> MARDMArchitecture:
    names = (
        "cond_emb.weight",
        "position_enc.pe",
        "MARTransformer.0.mlp.fc1.weight",
        "DiffMLPs.net.input_proj.weight",
    )
    found = [weights.get(name) for name in names]
    text, table, inner, head = found
    if text is None or table is None or inner is None or head is None or text.dim() != 2:
        raise CheckpointError(f"{path}: holds no MARDM, which has {', '.join(names)}; give its published latest.tar")
    return MARDMArchitecture(
        width=text.shape[0],
        layers=numbered(weights, "MARTransformer.", ".mlp.fc1.weight"),
        feedforward=len(inner),
        text_size=text.shape[1],
        max_codes=len(table),
        head_width=len(head),
        head_blocks=numbered(weights, "DiffMLPs.net.res_blocks.", ".in_ln.weight"),
    )
