"""MDM's files in the public formats, with weights by a fixed rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_realign.generators import load_generator
from lightning_realign.generators.mdm.generator import MDMGenerator
from lightning_realign.models.published.mdm import MotionDenoiser
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import TextFeatures
from tests.helpers.fixed_weights import fixed_input, fixed_state

# Per public form: features, size of a text, steps, arguments of the network, and what its args.json says.
FORMS: dict[str, tuple[int, int, int, dict[str, Any], dict[str, Any]]] = {
    "encoder": (263, 512, 1000, {}, {"arch": "trans_enc", "dataset": "humanml"}),
    "encoder_kit": (251, 512, 1000, {}, {"arch": "trans_enc", "dataset": "kit"}),
    "encoder_50": (
        263, 512, 50, {"mask_frames": True},
        {"arch": "trans_enc", "dataset": "humanml", "diffusion_steps": 50, "mask_frames": True},
    ),
    "decoder": (263, 512, 1000, {"kind": "decoder"}, {"arch": "trans_dec", "dataset": "humanml"}),
    "decoder_with_emb": (
        263, 512, 1000, {"kind": "decoder", "time_token": True},
        {"arch": "trans_dec", "dataset": "humanml", "emb_trans_dec": True, "text_encoder_type": "clip"},
    ),
    "decoder_bert_50": (
        263, 768, 50, {"kind": "decoder", "text": "tokens", "mask_frames": True},
        {"arch": "trans_dec", "dataset": "humanml", "diffusion_steps": 50, "mask_frames": True,
         "text_encoder_type": "bert", "emb_trans_dec": False, "use_ema": True},
    ),
}  # fmt: skip
SMALL, FULL = {"width": 64, "layers": 2}, {"width": 512, "layers": 8}


def network(form: str, sizes: dict[str, int], dtype: torch.dtype = torch.float64) -> MotionDenoiser:
    features, text, _, arguments, _ = FORMS[form]
    denoiser = MotionDenoiser(features, text, **arguments, **sizes)
    denoiser.load_state_dict(fixed_state({key: tuple(value.shape) for key, value in denoiser.state_dict().items()}))
    return denoiser.eval().to(dtype)


def text_of(form: str, dtype: torch.dtype = torch.float64) -> TextFeatures:
    """Text features of two captions; the public run has other values in the padding, which it masks."""
    sentence = fixed_input("mdm:sentence", 2, 512).to(dtype)
    tokens = fixed_input("mdm:tokens", 2, 6, 768).to(dtype) if FORMS[form][1] == 768 else torch.zeros(2, 6, 512)
    tokens[1, 4:] = 0.0
    return TextFeatures(tokens, torch.tensor([6, 4]), sentence)


def public_weights(form: str, sizes: dict[str, int] = SMALL) -> dict[str, torch.Tensor]:
    """A state dict as the public training stores it: with both position tables, here of an older size."""
    table = torch.full((60, 1, sizes["width"]), 7.0)
    tables = {f"{place}sequence_pos_encoder.pe": table for place in ("", "embed_timestep.")}
    return network(form, sizes, torch.float32).state_dict() | tables


def public_file(
    folder: Path, form: str, sizes: dict[str, int] = SMALL, arguments: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """A checkpoint with args.json and the data set's statistics, in the public formats."""
    features, _, _, _, given = FORMS[form]
    weights: dict[str, Any] = public_weights(form, sizes)
    if given.get("use_ema"):
        weights = {"model": {key: value + 1 for key, value in weights.items()}, "model_avg": weights}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights, folder / "model000200000.pt")
    told = given if arguments is None else arguments
    told = {"latent_dim": sizes["width"], "layers": sizes["layers"], "cond_mask_prob": 0.1, **told, **changes}
    (folder / "args.json").write_text(json.dumps(told), encoding="utf-8")
    np.save(folder / "Mean.npy", fixed_input("mdm:mean", features).numpy())
    np.save(folder / "Std.npy", 0.5 + fixed_input("mdm:std", features).abs().numpy())
    return folder / "model000200000.pt"


def load(path: Path, form: str, **settings: Any) -> MDMGenerator:
    """A generator with the statistics beside its file, or other ones, and settings of `SamplingConfig`."""
    statistics = settings.pop("statistics", path.parent)
    generator = load_generator(
        path, "mdm", statistics, sampling=SamplingConfig(**settings), encode=lambda texts: text_of(form)
    )
    assert isinstance(generator, MDMGenerator)
    return generator.to(dtype=torch.float64)
