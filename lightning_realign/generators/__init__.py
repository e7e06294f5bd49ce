"""Adapters of text-to-motion diffusion models to one `Generator` protocol."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch

from lightning_realign.diffusion.schedule import SchedulerName
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import Generator, LoadOptions, MaskedGenerator, Recipe
from lightning_realign.types import TextFunction

__all__ = ["FAMILIES", "Generator", "LoadOptions", "MaskedGenerator", "Recipe", "load_generator"]

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
    name: str,
    checkpoint: Path | str,
    cfg_scale: float | None = None,
    *,
    steps: int | None = None,
    scheduler: SchedulerName | None = None,
    statistics: Path | str | None = None,
    device: torch.device | str = "cpu",
    text_cache: Path | str | None = None,
    encode: TextFunction | None = None,
) -> Generator | MaskedGenerator:
    """Load a generator from a checkpoint.

    Args:
        name: `own`, a generator that this project trained; or a published one, see `docs/backbones.md`.
        checkpoint: its file.
        cfg_scale: classifier-free guidance scale, 1 is purely conditional; None for the generator's own, as for
            `steps` and `scheduler`.
        steps: sampling steps.
        scheduler: `ddim`, `ddpm` or `lcm`.
        statistics: folder of the Mean.npy and Std.npy that a published generator was trained with, where its file does
            not hold them.
        device: where its weights go.
        text_cache: folder of the cached text features; None for the usual one.
        encode: text encoder in place of the generator's own.

    Raises:
        ConfigError: an unknown name, or settings that the generator does not have.
        CheckpointError: a checkpoint that is missing, of another kind, or does not fit.
        DataError: statistics that are missing or do not fit.
    """
    if name not in _LOADERS:
        raise ConfigError(f"generator family={name!r} is unknown; use one of {', '.join(FAMILIES)}")
    folder, cache = (None if path is None else Path(path).expanduser() for path in (statistics, text_cache))
    options = LoadOptions(scheduler, steps, cfg_scale, folder, cache, encode)
    module, function = _LOADERS[name]
    load = getattr(import_module(f"{__name__}.{module}"), function)
    generator: Generator | MaskedGenerator = load(Path(checkpoint).expanduser(), options).to(device=device)
    return generator
