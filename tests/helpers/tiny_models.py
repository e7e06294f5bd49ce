"""Checkpoints of tiny random networks, as the trainings write them, and a text encoder without weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lightning_realign.checkpoints.diffusion import diffusion_spec
from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.checkpoints.reward import reward_spec
from lightning_realign.checkpoints.vae import vae_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.models import LatentDenoiser, LatentSpace, MotionVAE, RewardSpace, StepAwareRewardModel
from lightning_realign.motion import Normaliser, load_skeleton
from lightning_realign.text import EncodedCaption, text_sizes

ENCODER = "all-MiniLM-L6-v2"
TEXT_SIZE = 384
_SIZES = {"width": 32, "layers": 3, "heads": 2, "feedforward": 48, "dropout": 0.1}


class HashedText:
    """Stands in for a text encoder: features drawn from a hash of the caption."""

    def __init__(self, name: str = ENCODER) -> None:
        self.token_size, self.sentence_size = text_sizes(name)
        # MotionDiffuse reads all 77 places, and finds the end of the text by the sentence, which is its row.
        self.whole = name == "clip-vit-base-patch32"

    def encode(self, captions: list[str]) -> list[EncodedCaption]:
        return [self._encode(caption) for caption in captions]

    def _encode(self, caption: str) -> EncodedCaption:
        digest = hashlib.sha256(caption.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        tokens = torch.randn(77 if self.whole else len(caption.split()) + 2, self.token_size, generator=generator)
        if self.whole:
            return EncodedCaption(tokens, tokens[len(caption.split()) + 1].clone())
        return EncodedCaption(tokens, nn.functional.normalize(tokens.mean(dim=0)[: self.sentence_size], dim=0))


def use_hashed_text(monkeypatch, cache: Path) -> None:
    """Keep text features in `cache`, made by `HashedText`; child processes find there what this one has prepared."""
    monkeypatch.setenv("REALIGN_CACHE", str(cache))
    monkeypatch.setattr("lightning_realign.text.cache.load_text_encoder", HashedText)


def dataset_normaliser(root: Path, skeleton: str) -> Normaliser:
    normaliser = Normaliser(load_skeleton(skeleton).num_features)
    normaliser.set(np.load(root / "Mean.npy"), np.load(root / "Std.npy"))
    return normaliser


def _state(**parts: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


def write_reward(path: Path, normaliser: Normaliser, skeleton: str = "humanml3d", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    space = RewardSpace("motion", normaliser)
    network = StepAwareRewardModel(space.num_features, TEXT_SIZE, patch=4, **_SIZES)
    names = {"skeleton": skeleton, "text_encoder": ENCODER, "fingerprint": "tiny"}
    spec = reward_spec(network, space, NoiseSchedule(), **names, omega=0.5, t_min=1, t_max=1000)
    torch.save({"state_dict": _state(network=network, normaliser=normaliser), SPEC_KEY: spec}, path)
    return path


def _tiny_vae(skeleton: str) -> MotionVAE:
    return MotionVAE(load_skeleton(skeleton).num_features, latent_tokens=2, latent_size=32, patch=4, **_SIZES)


def write_vae(path: Path, normaliser: Normaliser, skeleton: str = "humanml3d", seed: int = 2) -> Path:
    torch.manual_seed(seed)
    network = _tiny_vae(skeleton)
    spec = vae_spec(network, skeleton=skeleton, fingerprint="tiny")
    torch.save({"state_dict": _state(network=network, normaliser=normaliser), SPEC_KEY: spec}, path)
    return path


def write_generator(path: Path, normaliser: Normaliser, skeleton: str = "humanml3d", seed: int = 1) -> Path:
    torch.manual_seed(seed)
    latents = LatentSpace(_tiny_vae(skeleton))
    denoiser = LatentDenoiser(2, 32, TEXT_SIZE, **_SIZES)
    names = {"skeleton": skeleton, "text_encoder": ENCODER, "fingerprint": "tiny"}
    spec = diffusion_spec(latents, denoiser, NoiseSchedule(), **names)
    state = _state(latents=latents, denoiser=denoiser, normaliser=normaliser)
    torch.save({"state_dict": state, SPEC_KEY: spec}, path)
    return path
