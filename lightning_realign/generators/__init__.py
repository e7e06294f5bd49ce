"""Adapters of text-to-motion diffusion models to one `Generator` protocol."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import Generator

__all__ = ["Generator", "load_generator"]

GENERATORS = ("latent",)


def load_generator(
    name: str,
    checkpoint: Path | str,
    cfg_scale: float = 7.5,
    *,
    device: torch.device | str = "cpu",
    text_cache: Path | str | None = None,
) -> Generator:
    """Load a generator from a checkpoint.

    Args:
        name: `latent`, the latent diffusion model that this project trains.
        checkpoint: its self-contained checkpoint.
        cfg_scale: classifier-free guidance scale; 1 is purely conditional.
        device: where its weights go.
        text_cache: folder of the cached text features; None for the usual one.

    Raises:
        ConfigError: an unknown name.
        CheckpointError: a checkpoint that is missing, of another kind, or does not fit.
    """
    if name not in GENERATORS:
        raise ConfigError(f"generator name={name!r} is unknown; use one of {', '.join(GENERATORS)}")
    from lightning_realign.checkpoint import load_diffusion
    from lightning_realign.generators.latent import LatentDiffusionGenerator

    generator = LatentDiffusionGenerator(load_diffusion(Path(checkpoint)), cfg_scale, cache_dir=text_cache)
    return generator.to(device=device)
