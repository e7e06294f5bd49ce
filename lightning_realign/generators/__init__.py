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

from lightning_realign.errors import ConfigError
from lightning_realign.files.imports import named_part
from lightning_realign.generators.base import Generator, LoadOptions, MaskedGenerator, Recipe
from lightning_realign.settings.sampling import SamplingConfig
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
    path: Path | str,
    family: str = "own",
    statistics: Path | str | None = None,
    *,
    sampling: SamplingConfig | None = None,
    device: torch.device | str = "cpu",
    text_cache: Path | str | None = None,
    encode: TextFunction | None = None,
) -> Generator | MaskedGenerator:
    """Load a generator.

    Args:
        path: its checkpoint, model folder or `hf://owner/name`.
        family: `own` for a generator that this project trained, a published family (see docs/backbones.md), or the
            dotted path of a `Loader` of your own, `package.module.function`.
        statistics: folder of the Mean.npy and Std.npy that a published generator was trained with, where its file does
            not hold them.
        sampling: steps, scheduler and scale of classifier-free guidance; None for the generator's own.
        device: where its weights go.
        text_cache: folder of the cached text features; None for the usual one.
        encode: text encoder in place of the generator's own.

    Raises:
        ConfigError: an unknown family, a loader that cannot be imported, or settings that the generator does not have.
        CheckpointError: a checkpoint that is missing, of another kind, or does not fit.
        DataError: statistics that are missing or do not fit.
    """
    load = _loader(family)
    folder, cache = (None if place is None else Path(place).expanduser() for place in (statistics, text_cache))
    options = LoadOptions(SamplingConfig() if sampling is None else sampling, folder, cache, encode)
    loaded: Any = load(Path(path).expanduser(), options)
    generator: Generator | MaskedGenerator = loaded.to(device=device) if hasattr(loaded, "to") else loaded
    return generator


def _loader(name: str) -> Loader:
    """The loader of a family of this package, or the one that a dotted path names."""
    if name in _LOADERS:
        module, function = _LOADERS[name]
        found: Loader = getattr(import_module(f"{__name__}.{module}"), function)
        return found
    own: Any = named_part("generator family", name, _LOADERS)
    if not callable(own):
        raise ConfigError(f"generator family={name!r} is a {type(own).__name__}, no function that loads a generator")
    loader: Loader = own
    return loader
