"""What MoMask's published folders hold: sizes from the weights, and the rest from each training's `opt.txt`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from lightning_realign.checkpoints.published import (
    numbered,
    published_weights,
    read_options,
    sizes_of_weights,
    skeleton_of_size,
)
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.files.weights import load_strictly
from lightning_realign.models.published.momask import (
    MaskedTransformer,
    ResidualTransformer,
    TokenTransformerArchitecture,
)
from lightning_realign.models.published.motion_codec import CodecArchitecture
from lightning_realign.models.published.residual_vq import ResidualVQVAE

_Network = TypeVar("_Network", MaskedTransformer, ResidualTransformer)

# A file of the transformers may hold a frozen CLIP, which is not read: `lightning_realign.text` has its own.
_IGNORED = ("clip_model.",)


@dataclass(frozen=True)
class _Part:
    """One of the three published folders.

    prefix: how its name begins. file: the checkpoint in its folder `model`. entries: the entries of the file that may
    hold the weights. needed: options of its training that must have these values; others give another network.
    """

    prefix: str
    file: str
    entries: tuple[str, ...]
    needed: Mapping[str, str]


_CODEC = _Part(
    "rvq_",
    "net_best_fid.tar",
    ("vq_model", "net"),
    {"vq_act": "relu", "vq_norm": "None", "stride_t": "2", "shared_codebook": "False"},
)
_MASKED = _Part("t2m_", "latest.tar", ("t2m_transformer", "trans"), {})
_RESIDUAL = _Part("tres_", "net_best_fid.tar", ("res_transformer",), {"share_weight": "True"})


@dataclass(frozen=True)
class MoMaskParts:
    """The published networks, loaded.

    skeleton: name of the motions' feature spec. meta: folder of the statistics that the codec was trained with.
    """

    codec: ResidualVQVAE
    masked: MaskedTransformer
    residual: ResidualTransformer
    skeleton: str
    meta: Path


def read_parts(folder: Path) -> MoMaskParts:
    """The networks of `checkpoints/t2m` or `checkpoints/kit`, the folder of a published archive.

    Raises:
        CheckpointError: a folder or file is missing, unsafe to read or of another model.
        ConfigError: the training's network is not the published one.
        DataError: opt.txt cannot be read.
    """
    home = _home(folder, _CODEC)
    codec, skeleton = _codec(home)
    tokens, code_size = codec.tokens, codec.sizes.code_size
    masked = _loaded(_MASKED, folder, lambda sizes: MaskedTransformer(tokens, code_size, sizes))
    residual = _loaded(_RESIDUAL, folder, lambda sizes: ResidualTransformer(codec.quantizers, tokens, code_size, sizes))
    return MoMaskParts(codec, masked, residual, skeleton, home / "meta")


def _loaded(part: _Part, folder: Path, make: Callable[[TokenTransformerArchitecture], _Network]) -> _Network:
    """A transformer with its weights. Its sizes follow from them."""
    home = _home(folder, part)
    options, (path, weights) = _options(home, part), _read(home, part)
    heads = _whole(options, "n_heads", 6, home)
    with sizes_of_weights(path):
        network = make(_transformer_sizes(weights, path, heads))
    remedy = f"give the {part.prefix}* folder that came with {_CODEC.prefix}*"
    load_strictly(network, weights, str(path), ignored=_IGNORED, remedy=remedy)
    return network


def _home(folder: Path, part: _Part) -> Path:
    """The folder of a part."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is no folder: give the folder t2m or kit of MoMask's published archive")
    found = sorted(place for place in folder.glob(f"{part.prefix}*") if (place / "model").is_dir())
    if len(found) != 1:
        names = ", ".join(place.name for place in found) or "none"
        raise CheckpointError(
            f"{folder}: needs exactly one folder {part.prefix}*/model, has {names}: unpack the published archive there"
        )
    return found[0]


def _read(home: Path, part: _Part) -> tuple[Path, dict[str, Tensor]]:
    """The file of a part and its weights."""
    return published_weights(home / "model" / part.file, *part.entries)


def _options(home: Path, part: _Part) -> dict[str, str]:
    """The options of a part's training, see `read_options`.

    Raises:
        ConfigError: an option gives another network than the published one.
    """
    path = home / "opt.txt"
    options = read_options(path)
    for name, value in part.needed.items():
        if options.get(name, value) != value:
            raise ConfigError(f"{path}: {name} is {options[name]}; only networks trained with {value} can be used")
    return options


def _whole(options: Mapping[str, str], name: str, published: int, home: Path) -> int:
    given = options.get(name, str(published))
    if not given.isdecimal() or not int(given):
        raise ConfigError(f"{home / 'opt.txt'}: {name} is {given!r}, not a whole number above 0; copy it again")
    return int(given)


def _codec(home: Path) -> tuple[ResidualVQVAE, str]:
    """The autoencoder and the name of its skeleton."""
    options, (path, weights) = _options(home, _CODEC), _read(home, _CODEC)
    first, book = weights.get("encoder.model.0.weight"), weights.get("quantizer.layers.0.codebook")
    if first is None or book is None or first.dim() != 3 or book.dim() != 2:
        raise CheckpointError(f"{path}: holds no residual VQ-VAE; give MoMask's {_CODEC.prefix}* folder")
    skeleton = skeleton_of_size(first.shape[1], path, "give the folder t2m or kit of MoMask's archive")
    growth = _whole(options, "dilation_growth_rate", 3, home)
    with sizes_of_weights(path):
        sizes = CodecArchitecture(
            code_size=book.shape[1],
            width=first.shape[0],
            depth=numbered(weights, "encoder.model.2.1.model.", ".conv1.weight"),
            halvings=numbered(weights, "encoder.model.", ".0.weight"),
            dilation_growth=growth,
        )
        layers = numbered(weights, "quantizer.layers.", ".codebook")
        codec = ResidualVQVAE(skeleton.num_features, book.shape[0], layers, sizes)
    load_strictly(codec, weights, str(path), remedy=f"give MoMask's {_CODEC.file}")
    return codec, skeleton.name


def _transformer_sizes(weights: Mapping[str, Tensor], path: Path, heads: int) -> TokenTransformerArchitecture:
    text, table = weights.get("cond_emb.weight"), weights.get("position_enc.pe")
    feedforward = weights.get("seqTransEncoder.layers.0.linear1.weight")
    if text is None or table is None or feedforward is None or text.dim() != 2:
        raise CheckpointError(f"{path}: holds no transformer of MoMask; give its {path.name} from the archive")
    layers = numbered(weights, "seqTransEncoder.layers.", ".linear1.weight")
    width, text_size = text.shape
    return TokenTransformerArchitecture(
        width, layers, heads, len(feedforward), text_size=text_size, max_tokens=len(table)
    )
