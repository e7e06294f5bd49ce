"""Generators that this project trained, from their self-contained checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lightning_realign.checkpoints.diffusion import (
    LATENT_DIFFUSION,
    MOTION_DIFFUSION,
    diffusion_bundle,
    motion_diffusion_bundle,
)
from lightning_realign.checkpoints.entry import CheckpointFile
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.generators.base import Generator, LoadOptions, Recipe
from lightning_realign.generators.latent import LatentDiffusionGenerator
from lightning_realign.generators.mdm.generator import CFG_SCALE, MDMGenerator
from lightning_realign.generators.network import GeneratorSpec
from lightning_realign.settings.sampling import SamplingConfig


def load(checkpoint: Path, options: LoadOptions) -> Generator:
    """The generator in a checkpoint of a `fit`: of latents, or of motions.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or of another kind, or its weights do not fit.
    """
    file = CheckpointFile.read(checkpoint, LATENT_DIFFUSION, MOTION_DIFFUSION)
    if file.spec["kind"] == LATENT_DIFFUSION:
        return LatentDiffusionGenerator(diffusion_bundle(file), options.recipe(_remembered(file, Recipe())), options)
    bundle = motion_diffusion_bundle(file)
    recipe = options.recipe(_remembered(file, Recipe(cfg_scale=CFG_SCALE)))
    spec = GeneratorSpec(bundle.skeleton, bundle.schedule, bundle.prediction, bundle.text_encoder, recipe)
    return MDMGenerator(spec, bundle.denoiser, bundle.normaliser, options)


def _remembered(file: CheckpointFile, usual: Recipe) -> Recipe:
    """The recipe that the entry's `sampling` states as measured to suit the generator, else the usual one."""
    found = file.spec.get("sampling", {})
    try:
        return replace(usual, **SamplingConfig(**found).recipe_fields)
    except (TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{file.where}: field 'sampling' is {found!r} ({error}): export the model again"
        ) from None
