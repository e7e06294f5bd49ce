"""Published reward files with fixed weights, in the published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_realign.models import StepAwareRewardModel
from lightning_realign.models.tmr import TMR
from tests.helpers.fixed_weights import fixed_state

GOLDEN = Path(__file__).parents[1] / "rewards" / "golden"
SPM_NAME = "SPM_{data}_Thr50_Temp1000_SA{mode}_E100.pth"
NAME = SPM_NAME.format(data="H3D", mode="M1T0")
SIZES = {"latent_dim": 256, "ff_size": 1024, "num_layers": 6, "num_heads": 4}
SMALL = {"latent_dim": 16, "ff_size": 24, "num_layers": 2, "num_heads": 2}


def spm_state(features: int = 263) -> dict[str, Tensor]:
    """The 427 fixed weights of ReAlign's reward; its encoders share their last normalisation."""
    network = StepAwareRewardModel(features, 1024)
    state = fixed_state({key: tuple(value.shape) for key, value in network.state_dict().items()})
    for part in ("weight", "bias"):
        state[f"text_encoder.norm.{part}"] = state[f"motion_encoder.norm.{part}"].clone()
    return state


def hollow(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the same shapes that hold one number each, which makes their file small."""
    return {key: value.flatten()[0].clone().expand(value.shape) for key, value in state.items()}


def tmr_state(sizes: dict[str, int]) -> dict[str, Tensor]:
    """TMR's fixed weights, all parts."""
    network = TMR(
        263,
        768,
        width=sizes["latent_dim"],
        feedforward=sizes["ff_size"],
        layers=sizes["num_layers"],
        heads=sizes["num_heads"],
    )
    return fixed_state({key: tuple(value.shape) for key, value in network.state_dict().items()})


def write_statistics(folder: Path, features: int = 263) -> Path:
    """A data set's Mean.npy and Std.npy."""
    random = np.random.RandomState(0)
    np.save(folder / "Mean.npy", random.randn(features))
    np.save(folder / "Std.npy", 0.3 + random.rand(features))
    return folder


def tmr_config(sizes: dict[str, int]) -> dict:
    """What config.json says of a published model, as far as it is read."""
    encoder = {"_target_": "src.model.ACTORStyleEncoder", "vae": True, "dropout": 0.1, "activation": "gelu", **sizes}
    decoder = {"_target_": "src.model.ACTORStyleDecoder", "dropout": 0.1, "activation": "gelu", **sizes}
    return {
        "model": {"motion_encoder": encoder, "text_encoder": dict(encoder), "motion_decoder": decoder, "vae": True},
        "data": {
            "motion_loader": {"nfeats": 263, "fps": 20.0, "normalizer": {"base_dir": "stats/humanml3d/guoh3dfeats"}},
            "text_to_token_emb": {"modelname": "distilbert-base-uncased"},
        },
    }


def write_tmr(root: Path, sizes: dict[str, int]) -> Path:
    """TMR's repository with one model; returns the model's folder."""
    state = tmr_state(sizes)
    folder = root / "models" / "tmr_humanml3d_guoh3dfeats"
    statistics = root / "stats" / "humanml3d" / "guoh3dfeats"
    for place in (folder / "last_weights", statistics):
        place.mkdir(parents=True)
    for part in ("motion_encoder", "text_encoder", "motion_decoder"):
        weights = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
        torch.save(weights, folder / "last_weights" / f"{part}.pt")
    (folder / "config.json").write_text(json.dumps(tmr_config(sizes)))
    random = torch.Generator().manual_seed(0)
    torch.save(torch.randn(263, generator=random), statistics / "mean.pt")
    torch.save(0.1 + torch.rand(263, generator=random), statistics / "std.pt")
    return folder
