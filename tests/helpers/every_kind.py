"""A tiny random checkpoint of every kind that this project's trainings write."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_realign.checkpoints.diffusion import (
    diffusion_spec,
    load_diffusion,
    load_motion_diffusion,
    motion_diffusion_spec,
)
from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.checkpoints.evaluator import evaluator_spec, load_evaluator_bundle
from lightning_realign.checkpoints.reward import load_reward, reward_spec
from lightning_realign.checkpoints.vae import load_vae, vae_spec
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.models import (
    LatentDenoiser,
    LatentSpace,
    MotionTextEvaluator,
    MotionVAE,
    RewardSpace,
    StepAwareRewardModel,
)
from lightning_realign.models.published.mdm import MotionDenoiser
from lightning_realign.motion import Normaliser
from lightning_realign.text.word_vectors import Vocabulary

FEATURES, TEXT = 263, 384
SMALL = {"width": 8, "layers": 3, "heads": 2, "feedforward": 8}
NAMES = {"skeleton": "humanml3d", "fingerprint": "abc"}
TEXTS = {**NAMES, "text_encoder": "all-MiniLM-L6-v2"}
SCHEDULE = NoiseSchedule("linear", 1e-4, 0.02, 100)

LOADERS = {
    "reward": load_reward,
    "vae": load_vae,
    "diffusion": load_diffusion,
    "motion_diffusion": load_motion_diffusion,
    "evaluator": load_evaluator_bundle,
}


def _normaliser() -> Normaliser:
    result = Normaliser(FEATURES)
    result.set(torch.randn(FEATURES), torch.rand(FEATURES) + 0.5)
    return result


def _vae() -> MotionVAE:
    return MotionVAE(FEATURES, **SMALL, latent_tokens=2, latent_size=4, patch=3)


def _latents() -> LatentSpace:
    latents = LatentSpace(_vae())
    latents.statistics.set(torch.randn(2, 4), torch.rand(2, 4) + 0.5)
    return latents


def _reward(space: str) -> tuple[dict, dict]:
    normaliser = _normaliser()
    latents = None if space == "motion" else _latents()
    place = RewardSpace(space, normaliser, latents)
    network = StepAwareRewardModel(place.num_features, TEXT, **SMALL)
    levels = {"omega": 0.25, "t_min": 2, "t_max": 90}
    parts = {"network": network, "normaliser": normaliser} | ({"latents": latents} if latents else {})
    return reward_spec(network, place, SCHEDULE, **TEXTS, **levels), parts


def _content(kind: str) -> tuple[dict, dict]:
    if kind == "reward":
        return _reward("motion")
    if kind == "vae":
        network = _vae()
        return vae_spec(network, **NAMES), {"network": network, "normaliser": _normaliser()}
    if kind == "diffusion":
        latents, denoiser = _latents(), LatentDenoiser(2, 4, TEXT, **SMALL)
        parts = {"latents": latents, "denoiser": denoiser, "normaliser": _normaliser()}
        return diffusion_spec(latents, denoiser, SCHEDULE, **TEXTS, prediction="sample"), parts
    if kind == "motion_diffusion":
        denoiser = MotionDenoiser(FEATURES, TEXT, **SMALL)
        spec = motion_diffusion_spec(denoiser, SCHEDULE, **TEXTS, prediction="sample")
        return spec, {"denoiser": denoiser, "normaliser": _normaliser()}
    if kind == "evaluator":
        vocabulary = Vocabulary.of(["a person walks", "jumps"])
        small = {"word_size": 6, "movement_hidden": 7, "movement_size": 8, "motion_hidden": 9, "text_hidden": 5}
        network = MotionTextEvaluator(FEATURES, len(vocabulary), **small)
        spec = evaluator_spec(network, vocabulary, "plain", **NAMES)
        return spec, {"network": network, "normaliser": _normaliser()}
    raise ValueError(f"no tiny checkpoint of kind {kind!r}: add one here")


def checkpoint(kind: str, space: str = "motion") -> dict:
    """What the file of a kind holds; of a reward, in a space."""
    torch.manual_seed(0)
    spec, parts = _reward(space) if space != "motion" else _content(kind)
    weights = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    return {"state_dict": weights, "epoch": 3, "optimizer_states": [], SPEC_KEY: spec}


def write(path: Path, kind: str) -> Path:
    torch.save(checkpoint(kind), path)
    return path
