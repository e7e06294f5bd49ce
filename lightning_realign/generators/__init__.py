"""Text-to-motion generators behind two protocols: one file or folder for each family.

`Generator` is for diffusion models, whose denoiser the guided sampler calls. `MaskedGenerator` is for models with a
sampling loop of their own. A family is loaded by its name, or by the dotted path of a loader of your own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import torch

from lightning_realign.diffusion.schedule import SchedulerName
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import Generator, LoadOptions, MaskedGenerator, Recipe
from lightning_realign.types import TextFunction

__all__ = ["FAMILIES", "Generator", "LoadOptions", "Loader", "MaskedGenerator", "Recipe", "load_generator"]

Loader: TypeAlias = Callable[[Path, LoadOptions], Generator | MaskedGenerator]
"""(checkpoint, what the user says beside it) -> generator."""

# Name of a family -> module of this package, and its loader.
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
        name: `own` for a generator that this project trained, a published family (see docs/backbones.md), or the
            dotted path of a `Loader` of your own, `package.module.function`.
        checkpoint: its file or folder.
        cfg_scale: scale of classifier-free guidance, 1 is purely conditional; None for the generator's own.
        steps: sampling steps; None for the generator's own number.
        scheduler: `ddim`, `ddpm` or `lcm`; None for the generator's own.
        statistics: folder of the Mean.npy and Std.npy that a published generator was trained with, if its file does
            not hold them.
        device: where its weights go.
        text_cache: folder of the cached text features; None for the usual one.
        encode: text encoder in place of the generator's own.

    Raises:
        ConfigError: an unknown name, a loader that cannot be imported, or settings that the generator does not have.
        CheckpointError: a checkpoint that is missing, of another kind, or does not fit.
        DataError: statistics that are missing or do not fit.
    """
    load = _loader(name)
    folder, cache = (None if path is None else Path(path).expanduser() for path in (statistics, text_cache))
    options = LoadOptions(scheduler, steps, cfg_scale, folder, cache, encode)
    loaded: Any = load(Path(checkpoint).expanduser(), options)
    generator: Generator | MaskedGenerator = loaded.to(device=device) if hasattr(loaded, "to") else loaded
    return generator


def _loader(name: str) -> Loader:
    """The loader of a family of this package, or the one that a dotted path names."""
    if name in _LOADERS:
        module, function = _LOADERS[name]
        found: Loader = getattr(import_module(f"{__name__}.{module}"), function)
        return found
    path, _, function = name.rpartition(".")
    if not path:
        raise ConfigError(
            f"generator family={name!r} is unknown; use one of {', '.join(FAMILIES)}, or package.module.function of a "
            "loader of your own"
        )
    try:
        own = getattr(import_module(path), function)
    except (ImportError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"generator family={name!r} cannot be imported ({error}); give package.module.function of a loader, and "
            "start where Python finds the package"
        ) from None
    if not callable(own):
        raise ConfigError(f"generator family={name!r} is a {type(own).__name__}, no function that loads a generator")
    loader: Loader = own
    return loader
