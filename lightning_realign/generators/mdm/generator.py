"""MDM (Tevet et al., ICLR 2023) from its public files, github.com/GuyTevet/motion-diffusion-model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lightning_realign.checkpoints.published import sizes_of_weights
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import ConfigError
from lightning_realign.files.weights import load_strictly, read_weights
from lightning_realign.generators.base import LoadOptions, Recipe
from lightning_realign.generators.mdm.files import MDMForm, read_form
from lightning_realign.generators.motion_state import MotionStateGenerator
from lightning_realign.generators.network import GeneratorSpec
from lightning_realign.models.published.mdm import MotionDenoiser
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import TextFeatures

# Frames of every motion in the published training and evaluation, padding included.
MAX_FRAMES = 196
CFG_SCALE = 2.5
TEXT_ENCODERS = {"clip": "clip-vit-base-patch32-22", "bert": "distilbert-base-uncased"}
# The table of sinusoids is computed, and the text encoder that an older file holds is not used.
_IGNORED = ("clip_model.", "sequence_pos_encoder.pe", "embed_timestep.sequence_pos_encoder.pe")


class MDMGenerator(MotionStateGenerator):
    """`Generator` over a `MotionDenoiser`; its state x is the normalised motion.

    A network that does not mask padding reads every frame of its state. All states then have `state_frames` frames, as
    in the published training and evaluation, and the motion is their beginning.

    Args:
        spec: what it is.
        denoiser: the network, with its weights.
        normaliser: statistics of its motions.
        options: only its text encoder and the folder of cached text features are used.
        state_frames: frames of every state, for a network that does not mask padding.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        denoiser: MotionDenoiser,
        normaliser: Normaliser,
        options: LoadOptions | None = None,
        state_frames: int = MAX_FRAMES,
    ) -> None:
        super().__init__(spec, {"denoiser": denoiser, "normaliser": normaliser}, normaliser, options)
        self.denoiser = denoiser
        self._state_frames = None if denoiser.architecture.mask_frames else state_frames

    @property
    def state_frames(self) -> int | None:
        """Frames of every state if the network reads padding; else None."""
        return self._state_frames

    def condition(self, texts: Sequence[str]) -> TextFeatures:
        """The features of B captions. The unconditional half of classifier-free guidance needs no text."""
        return self.encode_text(texts).to(self.device, self.dtype)

    def denoise(self, x: Tensor, t: int, cond: TextFeatures, lengths: Tensor) -> Tensor:
        """The network's output [B, T, D] for x_t at scheduler index t."""

        def evaluate(doubled: bool) -> Tensor:
            states = torch.cat([x, x]) if doubled else x
            output: Tensor = self.denoiser(
                states,
                torch.full((1,), t, dtype=torch.long, device=x.device),
                _doubled(cond) if doubled else cond,
                lengths.repeat(2) if doubled else lengths,
                torch.arange(len(states), device=x.device) < len(x) if doubled else None,
            )
            return output

        return self.with_cfg(evaluate)


def _doubled(text: TextFeatures) -> TextFeatures:
    return TextFeatures(*(torch.cat([part, part]) for part in (text.tokens, text.lengths, text.sentence)))


def load(checkpoint: Path, options: LoadOptions) -> MDMGenerator:
    """A generator from the public files: `model*.pt`, and beside it the `args.json` of its training.

    If a file holds averaged weights (`model_avg`), they are used.

    Args:
        checkpoint: the public file, or what `convert` made of it.
        options: changes to the published recipe, which is DDPM over all steps of the schedule, with cfg_scale 2.5.

    Raises:
        CheckpointError: a file that is missing, unsafe to read or no such model, or one whose training is not known.
        ConfigError: a setting or a training argument that it cannot have, or no statistics.
        DataError: statistics that are missing or do not fit, or an unreadable args.json.
    """
    weights = read_weights(checkpoint, "model_avg", "model")
    form = read_form(checkpoint, weights)
    with sizes_of_weights(checkpoint):
        denoiser = MotionDenoiser(form.skeleton.num_features, form.text_size, **form.architecture())
    load_strictly(denoiser, weights, str(checkpoint), ignored=_IGNORED)
    spec = GeneratorSpec(
        skeleton=form.skeleton.name,
        schedule=NoiseSchedule("cosine", steps=form.steps),
        prediction="sample",
        text_encoder=TEXT_ENCODERS[form.text_encoder],
        recipe=_recipe(checkpoint, form, options),
    )
    normaliser = options.normaliser(checkpoint, form.skeleton.num_features)
    return MDMGenerator(spec, denoiser, normaliser, options)


def _recipe(checkpoint: Path, form: MDMForm, options: LoadOptions) -> Recipe:
    recipe = options.recipe(Recipe("ddpm", form.steps, CFG_SCALE if form.knows_no_text else 1.0))
    if recipe.cfg_scale != 1 and not form.knows_no_text:
        raise ConfigError(
            f"{checkpoint}: generator cfg_scale={recipe.cfg_scale}, but it was never trained without text "
            "(cond_mask_prob=0 in its args.json); leave cfg_scale out"
        )
    return recipe
