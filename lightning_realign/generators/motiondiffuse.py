"""MotionDiffuse (Zhang et al., arXiv 2208.15001) from its public files, github.com/mingyuan-zhang/MotionDiffuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_realign.checkpoints.published import (
    channels_read,
    numbered,
    read_options,
    sizes_of_weights,
    skeleton_of_size,
)
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import CheckpointError, ConfigError, DataError
from lightning_realign.files.weights import load_strictly, read_weights
from lightning_realign.generators.base import LoadOptions, Recipe, read_normaliser
from lightning_realign.generators.motion_state import MotionStateGenerator
from lightning_realign.generators.network import GeneratorSpec
from lightning_realign.models.published.motiondiffuse import (
    MotionDiffuseArchitecture,
    MotionDiffuseDenoiser,
    MotionDiffuseText,
)
from lightning_realign.motion import Skeleton
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import TextFeatures

TEXT_ENCODER = "clip-vit-base-patch32"
_SCALED_BLOCKS = ("root_yaw_velocity", "root_velocity", "root_height", "contacts")
# What the published models divided the deviations of those blocks by.
FEAT_BIAS = 25.0
# A contact is 0 or 1: its deviation in a data set's own statistics is never above one half.
_MAX_CONTACT_STD = 0.5


@dataclass(frozen=True)
class _Settings:
    """What a training's opt.txt says beyond the weights; the defaults are the published ones.

    no_eff: quadratic attention. diffusion_steps: length of the noise schedule. feat_bias: what the deviations of root
    and contact channels were divided by.
    """

    no_eff: bool = False
    diffusion_steps: int = 1000
    feat_bias: float = FEAT_BIAS


class PublicSizes(NamedTuple):
    """Skeleton of the motions; width and layers of the network; frames of its position table."""

    skeleton: Skeleton
    width: int
    layers: int
    frames: int


class MotionDiffuseGenerator(MotionStateGenerator):
    """`Generator` over a `MotionDiffuseDenoiser`; its state x is the motion in MotionDiffuse's own normalisation.

    Root and contact channels are 25 times as large there as in the data set's normalisation. A reward in the latter
    reads the right motion at any noise level, but with 1/25 of that level's noise in those channels, so it should read
    the predicted x_0.

    Quadratic attention reads every frame of a state, so those states have all the frames that the model can make.
    Lengths are the user's; the published evaluation first rounds them down to multiples of 4.

    Args:
        spec: what it is.
        denoiser: the network, with its weights.
        normaliser: statistics of its motions.
        options: only its text encoder and the folder of cached text features are used.

    Raises:
        ConfigError: a scale of classifier-free guidance other than 1.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        denoiser: MotionDiffuseDenoiser,
        normaliser: Normaliser,
        options: LoadOptions | None = None,
    ) -> None:
        if spec.recipe.cfg_scale != 1:
            raise ConfigError(
                f"generator cfg_scale={spec.recipe.cfg_scale}: MotionDiffuse was never trained without text, and has "
                "no classifier-free guidance; leave cfg_scale out"
            )
        super().__init__(spec, {"denoiser": denoiser, "normaliser": normaliser}, normaliser, options)
        self.denoiser = denoiser

    @property
    def max_frames(self) -> int:
        """Frames of the longest motion it can make."""
        return self.denoiser.architecture.max_frames

    @property
    def state_frames(self) -> int | None:
        """All the frames it can make, if its attention reads the padding; else None."""
        return self.max_frames if self.denoiser.architecture.quadratic else None

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> MotionDiffuseText:
        """What the denoiser makes of B captions, which does not depend on the step.

        Raises:
            ConfigError: features of an encoder other than `clip-vit-base-patch32`.
        """
        features = self.encode_text(texts)
        tokens = features.tokens.to(self.device, self.dtype)
        return self.denoiser.encode_text(tokens, _ends(features).to(self.device))

    def denoise(self, x: Tensor, t: int, cond: MotionDiffuseText, lengths: Tensor) -> Tensor:
        """The noise [B, T, D] predicted in x_t at scheduler index t."""
        steps = torch.full((len(x),), t, dtype=torch.long, device=x.device)
        output: Tensor = self.denoiser(x, steps, cond, lengths)
        return output


def _ends(features: TextFeatures) -> Tensor:
    """The place [B] of each caption's end-of-text token.

    The encoder gives that token's hidden state, unchanged, as the sentence, so it is the token that equals the
    sentence.
    """
    if features.tokens.shape[2] == features.sentence.shape[1]:
        matches = (features.tokens == features.sentence[:, None]).all(dim=2)
        if bool(matches.any(dim=1).all()):
            return matches.int().argmax(dim=1)
    raise ConfigError(
        f"text features {tuple(features.tokens.shape)}: no token equals the sentence; MotionDiffuse reads the hidden "
        f"states of {TEXT_ENCODER!r}, whose sentence is the end-of-text token's"
    )


def load(checkpoint: Path, options: LoadOptions) -> MotionDiffuseGenerator:
    """A generator from the public files: `model/latest.tar`, and `opt.txt` and `meta/` in the folder above.

    `opt.txt` says whether attention is linear or quadratic; without it, attention is linear, as published. `meta/`
    holds the statistics that the model was trained with; without it, they are computed from the data set's own in
    `options.statistics`.

    Args:
        checkpoint: the public file, or what `convert` made of it.
        options: changes to the published recipe, which is DDPM over all steps, without classifier-free guidance.

    Raises:
        CheckpointError: a file that is missing, unsafe to read, or no MotionDiffuse model.
        ConfigError: settings that it does not have, or a bad line of opt.txt.
        DataError: statistics that are missing or do not fit.
    """
    weights = read_weights(checkpoint, "encoder")
    settings = _read_settings(_beside(checkpoint, "opt.txt"))
    found = read_sizes(weights, str(checkpoint), "MotionDiffuse, latest.tar")
    with sizes_of_weights(checkpoint):
        sizes = MotionDiffuseArchitecture(
            width=found.width, layers=found.layers, max_frames=found.frames, quadratic=settings.no_eff
        )
    denoiser = MotionDiffuseDenoiser(found.skeleton.num_features, sizes)
    load_strictly(denoiser, weights, str(checkpoint), ignored=("clip.",))
    steps = settings.diffusion_steps
    spec = GeneratorSpec(
        skeleton=found.skeleton.name,
        # The public code keeps the schedule's shape when its number of steps changes: 1e-4 to 0.02 at 1000 steps.
        schedule=NoiseSchedule("linear", 0.1 / steps, 20.0 / steps, steps),
        prediction="epsilon",
        text_encoder=TEXT_ENCODER,
        recipe=options.recipe(Recipe("ddpm", steps, 1.0)),
    )
    meta = _beside(checkpoint, "meta")
    normaliser = scaled_statistics(meta, checkpoint, found.skeleton, options, settings.feat_bias)
    return MotionDiffuseGenerator(spec, denoiser, normaliser, options)


def _beside(checkpoint: Path, name: str) -> Path | None:
    """A file or folder that came with the checkpoint: in the folder above its own, as published, or in its own."""
    places = (checkpoint.parent.parent / name, checkpoint.parent / name)
    return next((place for place in places if place.exists()), None)


def read_sizes(weights: Mapping[str, Tensor], where: str, what: str) -> PublicSizes:
    """The sizes that the public trainings of this family let vary.

    Args:
        weights: the denoiser's weights.
        where: the file, for the message.
        what: the family and the file to give, for the message.

    Raises:
        CheckpointError: the weights belong to something else.
    """
    table, features = weights.get("sequence_embedding"), channels_read(weights, "joint_embed")
    layers = numbered(weights, "temporal_decoder_blocks.", ".ffn.linear1.bias")
    family, _, file = what.partition(", ")
    if table is None or features is None or table.dim() != 2 or not layers:
        raise CheckpointError(
            f"{where}: is no {family} model, which has 'sequence_embedding', 'joint_embed.weight' and "
            f"'temporal_decoder_blocks': give its {file}"
        )
    frames, width = table.shape
    return PublicSizes(skeleton_of_size(features, where, f"give a published {file}"), width, layers, frames)


def _read_settings(path: Path | None) -> _Settings:
    """The fields of opt.txt that matter here."""
    published = _Settings()
    if path is None:
        return published
    fields = read_options(path)
    quadratic = fields.get("no_eff", "False")
    if quadratic not in ("True", "False"):
        raise ConfigError(f"{path}: no_eff is {quadratic!r}, neither True nor False; copy the published opt.txt again")
    if fields.get("no_clip", "False") != "False":
        raise ConfigError(
            f"{path}: no_clip is {fields['no_clip']!r}, so the model has a text encoder of its own; only models that "
            f"read the published {TEXT_ENCODER} can be used"
        )
    steps = _number(fields, "diffusion_steps", published.diffusion_steps, path)
    bias = _number(fields, "feat_bias", published.feat_bias, path)
    # The last beta, 20 / steps, has to stay below 1.
    if not 20 < steps <= 1_000_000 or steps != int(steps):
        raise ConfigError(f"{path}: diffusion_steps is {steps:g}, not a whole number above 20; copy opt.txt again")
    if not 1 <= bias <= 1_000_000:
        raise ConfigError(f"{path}: feat_bias is {bias:g}, not a number of at least 1; copy opt.txt again")
    return _Settings(quadratic == "True", int(steps), bias)


def _number(fields: Mapping[str, str], name: str, published: float, path: Path) -> float:
    try:
        return float(fields.get(name, published))
    except ValueError:
        raise ConfigError(f"{path}: {name} is {fields[name]!r}, not a number; copy opt.txt again") from None


def scaled_statistics(
    folder: Path | None, checkpoint: Path, skeleton: Skeleton, options: LoadOptions, feat_bias: float = FEAT_BIAS
) -> Normaliser:
    """The model's own statistics: its root and contact deviations are the data set's, divided by `feat_bias`.

    Args:
        folder: folder of its own mean.npy and std.npy; None to compute them from the data set's.
        checkpoint: the model's file, for the message.
        skeleton: skeleton of its motions.
        options: only its folder of the data set's statistics is used.
        feat_bias: what the deviations are divided by.

    Raises:
        ConfigError: neither folder is given.
        DataError: files that are missing, do not fit, or are not the model's own.
    """
    blocks = dict(skeleton.blocks)
    if folder is None:
        normaliser = options.normaliser(checkpoint, skeleton.num_features)
        std = normaliser.std.clone()
        for name in _SCALED_BLOCKS:
            std[blocks[name]] /= feat_bias
        normaliser.set(normaliser.mean, std)
        return normaliser
    normaliser = read_normaliser(folder, skeleton.num_features, ("mean", "std"))
    most = float(normaliser.std[blocks["contacts"]].max())
    if most > 1.001 * _MAX_CONTACT_STD / feat_bias:
        raise DataError(
            f"{folder / 'std.npy'}: the contacts' deviation {most:.3g} is above {_MAX_CONTACT_STD / feat_bias:g}, so "
            f"it was not divided by {feat_bias:g} as the model's own is; copy the file published with it"
        )
    return normaliser
