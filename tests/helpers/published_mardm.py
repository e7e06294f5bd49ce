"""MARDM's folders in the public format, with weights by a fixed rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lightning_realign.models.published.mardm import MARDMArchitecture, MaskedCodeTransformer, MotionAutoencoder
from lightning_realign.models.published.motion_codec import CodecArchitecture
from tests.helpers.fixed_weights import fixed_input, fixed_state

SIZES = {
    "full": (CodecArchitecture(), MARDMArchitecture()),
    "small": (
        CodecArchitecture(code_size=32, width=32),
        MARDMArchitecture(width=64, layers=2, feedforward=96, head_width=48, head_blocks=2),
    ),
}


def filled(network: nn.Module) -> nn.Module:
    """The network with the weights of the rule."""
    network.load_state_dict(fixed_state({key: tuple(value.shape) for key, value in network.state_dict().items()}))
    return network.eval()


def autoencoder(size: str, features: int = 67) -> MotionAutoencoder:
    network = filled(MotionAutoencoder(features, SIZES[size][0]))
    assert isinstance(network, MotionAutoencoder)
    return network


def transformer(size: str) -> MaskedCodeTransformer:
    codec, sizes = SIZES[size]
    network = filled(MaskedCodeTransformer(codec.code_size, sizes))
    assert isinstance(network, MaskedCodeTransformer)
    return network


def write_mardm(folder: Path, name: str = "MARDM_SiT_XL", features: int = 67, size: str = "small") -> Path:
    """`checkpoints/t2m` in `folder`: the model's folder, which is returned, the autoencoder's, and the statistics."""
    model = transformer(size)
    # A random decoder's numbers are no motion; small ones, about the mean of statistics, are nearly one.
    codec = autoencoder(size, features)
    ae_file = "latest.tar" if features == 67 else "net_best_fid.tar"
    for home in (folder / name / "model", folder / "AE" / "model"):
        home.mkdir(parents=True)
    torch.save(
        {"ema_mardm": model.state_dict(), "mardm": model.state_dict(), "ep": 3}, folder / name / "model/latest.tar"
    )
    torch.save({"ae": codec.state_dict(), "ep": 3, "total_it": 9}, folder / "AE" / "model" / ae_file)
    np.save(folder / "eval_mean.npy", fixed_input("mardm:mean", features).float().numpy())
    np.save(folder / "eval_std.npy", 0.5 + fixed_input("mardm:std", features).abs().float().numpy())
    return folder / name
