"""Look-alikes of the published checkpoints: their names, layouts and shapes, with random weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightning_realign.generators.mld import FORMS, TEXT_SIZE
from lightning_realign.models import LatentDenoiser, MotionVAE, StepAwareRewardModel
from lightning_realign.models.published.mdm import MotionDenoiser
from lightning_realign.models.published.motiondiffuse import MotionDiffuseDenoiser
from lightning_realign.motion import load_skeleton
from lightning_realign.types import TextFeatures
from tests.helpers.published_mardm import write_mardm
from tests.helpers.published_momask import write_momask
from tests.helpers.published_remodiffuse import write_remodiffuse

T5_SIZES, CLIP_SIZES, BERT_SIZES = (1024, 768), (512, 512), (768, 768)
CLIP_TOKENS = 77


def random_text(sizes: tuple[int, int], tokens: int | None = None) -> Callable[[Sequence[str]], TextFeatures]:
    """A stand-in for a text encoder: features drawn from a hash of the caption, the sentence being the last token.

    Args:
        sizes: channels of a token and of a sentence.
        tokens: number of tokens; None for as many as a caption has words, and one.
    """

    def encode(captions: Sequence[str]) -> TextFeatures:
        drawn = []
        for caption in captions:
            seed = int.from_bytes(hashlib.sha256(caption.encode()).digest()[:6], "big")
            count = tokens or len(caption.split()) + 1
            drawn.append(torch.randn(count, sizes[0], generator=torch.Generator().manual_seed(seed)))
        lengths = torch.tensor([len(one) for one in drawn])
        sentence = torch.stack([one[-1, : sizes[1]] for one in drawn])
        return TextFeatures(nn.utils.rnn.pad_sequence(drawn, batch_first=True), lengths, sentence)

    return encode


def _with_prefix(**parts: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


def write_reward(folder: Path, skeleton: str = "humanml3d") -> Path:
    """A published step-aware reward."""
    folder.mkdir(parents=True, exist_ok=True)
    features = load_skeleton(skeleton).num_features
    data = {"humanml3d": "H3D", "kit": "KIT"}[skeleton]
    path = folder / f"SPM_{data}_Thr50_Temp1000_SAM1T0_E100.pth"
    torch.save({"state_dict": StepAwareRewardModel(features, T5_SIZES[0]).state_dict()}, path)
    return path


def write_latent(family: str, folder: Path, features: int) -> Path:
    """A model of MLD's or MotionLCM's code."""
    form = FORMS[family]
    vae = MotionVAE(features, **asdict(form.vae))
    denoiser = LatentDenoiser(vae.latent_tokens, vae.latent_size, TEXT_SIZE, **asdict(form.denoiser))
    state = _with_prefix(vae=vae, denoiser=denoiser)
    if family == "mld":
        state["denoiser.mem_pos.pe"] = torch.zeros(500, 1, 256)
    path = folder / form.file
    torch.save({"state_dict": state}, path)
    return path


# What distinguishes MDM's published trainings: options of the network, and their args.json.
MDM_FORMS: Mapping[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
    "mdm": ({}, {"arch": "trans_enc"}),
    "mdm50": ({"mask_frames": True}, {"arch": "trans_enc", "diffusion_steps": 50, "mask_frames": True}),
    "mdm_bert": (
        {"kind": "decoder", "text": "tokens", "mask_frames": True},
        {"arch": "trans_dec", "diffusion_steps": 50, "mask_frames": True, "text_encoder_type": "bert"},
    ),
}
# The training state that each configuration names.
MDM_FILES = {
    ("humanml", "mdm"): "model000475000.pt",
    ("kit", "mdm"): "model000400000.pt",
    ("humanml", "mdm50"): "model000750000.pt",
    ("humanml", "mdm_bert"): "model000600000.pt",
}


def write_mdm(form: str, folder: Path, features: int) -> Path:
    """A model of MDM's code, with its args.json."""
    sizes, arguments = MDM_FORMS[form]
    text_size = BERT_SIZES[0] if form == "mdm_bert" else CLIP_SIZES[1]
    network = MotionDenoiser(features, text_size, **sizes)  # type: ignore[arg-type]
    dataset = "kit" if features == load_skeleton("kit").num_features else "humanml"
    (folder / "args.json").write_text(json.dumps({"dataset": dataset, **arguments}))
    path = folder / MDM_FILES[dataset, form]
    state = network.state_dict()
    torch.save(state if form == "mdm" else {"model": state, "model_avg": state}, path)
    return path


def write_motiondiffuse(folder: Path, features: int) -> Path:
    """A model of MotionDiffuse's code, with its own statistics."""
    for name in ("model", "meta"):
        (folder / name).mkdir()
    std = np.full(features, 0.5, dtype=np.float32)
    std[[*range(4), *range(features - 4, features)]] = 0.3 / 25
    np.save(folder / "meta" / "mean.npy", np.zeros(features, dtype=np.float32))
    np.save(folder / "meta" / "std.npy", std)
    path = folder / "model" / "latest.tar"
    torch.save({"encoder": MotionDiffuseDenoiser(features).state_dict(), "ep": 40, "total_it": 1}, path)
    return path


def write_statistics(folder: Path, features: int) -> Path:
    """A data set's Mean.npy and Std.npy."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "Mean.npy", np.zeros(features, dtype=np.float32))
    np.save(folder / "Std.npy", np.full(features, 0.5, dtype=np.float32))
    return folder


def write_generator(name: str, folder: Path, skeleton: str = "humanml3d") -> Path:
    """A published generator; `name` is a family, or one of `MDM_FORMS`."""
    folder.mkdir(parents=True, exist_ok=True)
    features = load_skeleton(skeleton).num_features
    if name in FORMS:
        return write_latent(name, folder, features)
    if name in MDM_FORMS:
        return write_mdm(name, folder, features)
    if name == "momask":
        return write_momask(folder, "full" if skeleton == "humanml3d" else "full_kit")
    if name == "mardm":
        return write_mardm(folder, size="full")
    if name == "remodiffuse":
        return write_remodiffuse(folder, features, width=512, frames=196, layers=4)
    return write_motiondiffuse(folder, features)


def text_of(name: str) -> Callable[[Sequence[str]], TextFeatures]:
    """A stand-in for the text encoder of a generator."""
    if name in FORMS:
        return random_text((TEXT_SIZE, TEXT_SIZE))
    if name == "mdm_bert":
        return random_text(BERT_SIZES)
    return random_text(CLIP_SIZES, CLIP_TOKENS if name in ("motiondiffuse", "remodiffuse") else None)
