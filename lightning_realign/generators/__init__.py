"""Adapters of text-to-motion diffusion models to one `Generator` protocol."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch

from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import DrawingGenerator, Generator, LoadOptions, Recipe
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import TextFunction

__all__ = ["FAMILIES", "DrawingGenerator", "Generator", "LoadOptions", "Recipe", "load_generator"]

# Name of a family -> module of this package and its function (checkpoint, options) -> Generator.
_LOADERS = {
    "own": ("trained", "load"),
    "mld": ("mld", "load_mld"),
    "mld_star": ("mld", "load_mld_star"),
    "mldpp": ("mld", "load_mldpp"),
    "motionlcm": ("motionlcm", "load_motionlcm"),
    "motionlcm_v2": ("motionlcm", "load_motionlcm_v2"),
    "mdm": ("mdm.generator", "load"),
    "motiondiffuse": ("motiondiffuse", "load"),
    "remodiffuse": ("remodiffuse.generator", "load"),
    "mardm": ("mardm.generator", "load"),
    "momask": ("momask.generator", "load"),
}
FAMILIES = tuple(_LOADERS)


def load_generator(
    path: Path | str,
    family: str = "own",
    statistics: Path | str | None = None,
    *,
    sampling: SamplingConfig | None = None,
    device: torch.device | str = "cpu",
    text_cache: Path | str | None = None,
    encode: TextFunction | None = None,
) -> Generator | DrawingGenerator:
    """Load a generator.

    Args:
        path: its checkpoint, model folder or `hf://owner/name`.
        family: `own`, a generator that this project trained; or a published one, see `docs/backbones.md`.
        statistics: folder of the Mean.npy and Std.npy that a published generator was trained with, where its file does
            not hold them.
        sampling: steps, scheduler and scale of classifier-free guidance; None for the generator's own.
        device: where its weights go.
        text_cache: folder of the cached text features; None for the usual one.
        encode: text encoder in place of the generator's own.

    Raises:
        ConfigError: an unknown family, or settings that the generator does not have.
        CheckpointError: a checkpoint that is missing, of another kind, or does not fit.
        DataError: statistics that are missing or do not fit.
    """
    if family not in _LOADERS:
        raise ConfigError(f"generator family={family!r} is unknown; use one of {', '.join(FAMILIES)}")
    folder, cache = (None if place is None else Path(place).expanduser() for place in (statistics, text_cache))
    options = LoadOptions(SamplingConfig() if sampling is None else sampling, folder, cache, encode)
    module, function = _LOADERS[family]
    load = getattr(import_module(f"{__name__}.{module}"), function)
    generator: Generator | DrawingGenerator = load(Path(path).expanduser(), options).to(device=device)
    return generator
