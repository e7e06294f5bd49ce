"""MoMask's folders in the public format, with weights by a fixed rule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_realign.generators.momask.files import MoMaskParts
from lightning_realign.models.published.momask import (
    MaskedTransformer,
    ResidualTransformer,
    TokenTransformerArchitecture,
)
from lightning_realign.models.published.motion_codec import CodecArchitecture
from lightning_realign.models.published.residual_vq import ResidualVQVAE
from tests.helpers.fixed_weights import fixed_input, fixed_state

SIZES: dict[str, tuple[int, int, CodecArchitecture, TokenTransformerArchitecture]] = {
    "full": (263, 512, CodecArchitecture(), TokenTransformerArchitecture()),
    "full_kit": (251, 512, CodecArchitecture(), TokenTransformerArchitecture()),
    "small": (
        263, 64, CodecArchitecture(code_size=32, width=32), TokenTransformerArchitecture(48, 2, 6, 64)
    ),
}  # fmt: skip
NAMES = {
    "codec": "rvq_nq6_dc512_nc512_noshare_qdp0.2",
    "masked": "t2m_nlayer8_nhead6_ld384_ff1024_cdp0.1_rvq6ns",
    "residual": "tres_nlayer8_ld384_ff1024_rvq6ns_cdp0.2_sw",
}
OPTIONS = {
    "codec": "vq_act: relu\nvq_norm: None\nstride_t: 2\ndilation_growth_rate: 3\nshared_codebook: False\n",
    "masked": "n_heads: 6\nn_layers: 8\n",
    "residual": "n_heads: 6\nshare_weight: True\n",
}
_FILES = {"codec": "net_best_fid.tar", "masked": "latest.tar", "residual": "net_best_fid.tar"}
_ENTRIES = {"codec": "vq_model", "masked": "t2m_transformer", "residual": "res_transformer"}


def networks(name: str) -> dict[str, nn.Module]:
    features, tokens, codec, sizes = SIZES[name]
    made: dict[str, nn.Module] = {
        "codec": ResidualVQVAE(features, tokens, 6, codec),
        "masked": MaskedTransformer(tokens, codec.code_size, sizes),
        "residual": ResidualTransformer(6, tokens, codec.code_size, sizes),
    }
    for network in made.values():
        network.load_state_dict(fixed_state({key: tuple(value.shape) for key, value in network.state_dict().items()}))
        network.eval()
    return made


def parts(name: str) -> MoMaskParts:
    made: dict[str, Any] = networks(name)
    return MoMaskParts(**made, skeleton="kit" if name.endswith("kit") else "humanml3d", meta=Path("meta"))


def write_momask(folder: Path, name: str = "small") -> Path:
    """The three folders of a published archive, in `folder`."""
    for part, network in networks(name).items():
        home = folder / NAMES[part]
        (home / "model").mkdir(parents=True)
        header = "------------ Options -------------\nname: x\n"
        (home / "opt.txt").write_text(f"{header}{OPTIONS[part]}-------------- End ----------------\n")
        optimiser = torch.optim.AdamW(network.parameters()).state_dict()
        scheduler = {"milestones": Counter([50_000]), "gamma": 0.1}
        about = {"optimiser": optimiser, "scheduler": scheduler, "ep": 3, "total_it": 10}
        torch.save({_ENTRIES[part]: network.state_dict(), **about}, home / "model" / _FILES[part])
    meta = folder / NAMES["codec"] / "meta"
    meta.mkdir()
    features = SIZES[name][0]
    np.save(meta / "mean.npy", fixed_input("momask:mean", features).float().numpy())
    np.save(meta / "std.npy", 0.5 + fixed_input("momask:std", features).abs().float().numpy())
    return folder
