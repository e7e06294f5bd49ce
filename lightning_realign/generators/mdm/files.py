"""What a public file of MDM holds: its form and sizes, from the weights and the `args.json` of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_realign.checkpoints.published import channels_read, numbered, skeleton_of_size
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.files.reading import read_json
from lightning_realign.models.published.mdm import MotionDenoiserArchitecture, MotionDenoiserKind
from lightning_realign.motion import Skeleton

_STACKS: dict[str, tuple[MotionDenoiserKind, str]] = {
    "trans_enc": ("encoder", "seqTransEncoder"),
    "trans_dec": ("decoder", "seqTransDecoder"),
}
_DATASETS = {"humanml3d": "humanml", "kit": "kit"}
_TEXT_ENCODERS = {512: "clip", 768: "bert"}
# Timesteps also index the public networks' table of positions.
_MAX_STEPS = MotionDenoiserArchitecture().max_tokens

# The published training's values of options that an older args.json does not name.
_DEFAULTS: dict[str, Any] = {
    "diffusion_steps": 1000,
    "mask_frames": False,
    "emb_trans_dec": False,
    "cond_mask_prob": 0.1,
}
# Options of the public training that must have these values; others give no text-to-motion diffusion of this kind.
_REQUIRED: dict[str, Any] = {
    "noise_schedule": "cosine",
    "sigma_small": True,
    "unconstrained": False,
    "context_len": 0,
    "pred_len": 0,
    "emb_policy": "add",
    "multi_target_cond": False,
    "lambda_target_loc": 0,
}
# (arch, text encoder, data set) of the files that were published in one version only, which need no args.json.
_PUBLISHED_ONCE: dict[tuple[str, str, str], dict[str, Any]] = {
    ("trans_enc", "clip", "kit"): {},
    ("trans_dec", "bert", "humanml"): {"diffusion_steps": 50, "mask_frames": True},
}


@dataclass(frozen=True)
class MDMForm:
    """One form of MDM.

    Attributes:
        arch, text_encoder: the public training's names of them.
        skeleton: skeleton of its motions.
        text_size, width, layers, feedforward: sizes of the weights.
        steps: length of the cosine noise schedule.
        mask_frames, time_token, text_in_token: see `MotionDenoiser`.
        knows_no_text: whether it was also trained without text, which classifier-free guidance needs.
    """

    arch: str
    text_encoder: str
    skeleton: Skeleton
    text_size: int
    width: int
    layers: int
    feedforward: int
    steps: int
    mask_frames: bool
    time_token: bool
    text_in_token: bool
    knows_no_text: bool

    def architecture(self) -> dict[str, Any]:
        """The arguments of its `MotionDenoiser`. The public code fixes heads and dropout."""
        return {
            "kind": _STACKS[self.arch][0],
            "text": "tokens" if self.text_encoder == "bert" else "sentence",
            "mask_frames": self.mask_frames,
            "time_token": self.time_token,
            "text_in_token": self.text_in_token,
            "width": self.width,
            "layers": self.layers,
            "feedforward": self.feedforward,
        }


def read_form(checkpoint: Path, weights: Mapping[str, Tensor]) -> MDMForm:
    """The form of a checkpoint with these weights.

    Raises:
        CheckpointError: the weights are not those of MDM's text-to-motion transformers, or args.json belongs to another
            model, or is missing although the weights do not say what it says.
        ConfigError: a training argument has no equivalent here.
        DataError: args.json cannot be read.
    """
    arch, skeleton, sizes = _sizes(checkpoint, weights)
    dataset, text_encoder = _DATASETS[skeleton.name], _TEXT_ENCODERS[sizes["text_size"]]
    path, older = checkpoint.parent / "args.json", False
    if path.exists():
        known: dict[str, Any] = {"arch": arch, "text_encoder_type": text_encoder, "dataset": dataset}
        known |= {"latent_dim": sizes["width"], "layers": sizes["layers"]}
        arguments = read_json(path, "training arguments")
        _check_model(path, checkpoint, arguments, known)
        given = _training(path, arguments)
        # The public code has this option since it has DistilBERT. Before that, a decoder's token also held the text.
        older = "text_encoder_type" not in arguments
    elif (arch, text_encoder, dataset) in _PUBLISHED_ONCE:
        given = _DEFAULTS | _PUBLISHED_ONCE[arch, text_encoder, dataset]
    else:
        raise CheckpointError(
            f"{checkpoint}: no args.json beside it, and its weights do not tell the number of diffusion steps and "
            "the form that it was trained with: copy the args.json that came with it"
        )
    return MDMForm(
        arch,
        text_encoder,
        skeleton,
        **sizes,
        steps=given["diffusion_steps"],
        mask_frames=given["mask_frames"],
        time_token=given["emb_trans_dec"] and arch == "trans_dec",
        text_in_token=given["emb_trans_dec"] and arch == "trans_dec" and older,
        knows_no_text=given["cond_mask_prob"] > 0,
    )


def _sizes(checkpoint: Path, weights: Mapping[str, Tensor]) -> tuple[str, Skeleton, dict[str, int]]:
    """The public training's name of the transformer, the skeleton, and the sizes of the weights."""
    firsts = {arch: f"{stack}.layers.0.linear1" for arch, (_, stack) in _STACKS.items()}
    archs = [arch for arch, first in firsts.items() if channels_read(weights, first) is not None]
    features, text = channels_read(weights, "input_process.poseEmbedding"), channels_read(weights, "embed_text")
    if len(archs) != 1 or features is None or text is None:
        raise CheckpointError(
            f"{checkpoint}: is no text-to-motion transformer of MDM, which has 'input_process.poseEmbedding', "
            "'embed_text' and 'seqTransEncoder' or 'seqTransDecoder': give its model*.pt"
        )
    skeleton = skeleton_of_size(features, checkpoint, "give a model of one of those")
    if text not in _TEXT_ENCODERS:
        known = " or ".join(map(str, _TEXT_ENCODERS))
        raise CheckpointError(f"{checkpoint}: its texts have {text} features: give a model of {known}")
    (arch,) = archs
    return (
        arch,
        skeleton,
        {
            "text_size": text,
            "width": len(weights["input_process.poseEmbedding.weight"]),
            "layers": numbered(weights, f"{_STACKS[arch][1]}.layers.", ".linear1.weight"),
            "feedforward": len(weights[f"{firsts[arch]}.weight"]),
        },
    )


def _check_model(path: Path, checkpoint: Path, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse arguments that contradict the weights, or belong to a model that cannot be used."""
    for name, value in known.items():
        if name in given and given[name] != value:
            raise CheckpointError(
                f"{path}: {name} is {given[name]!r}, but the weights of {checkpoint.name} are of {value!r}: "
                "copy the args.json that came with them"
            )
    for name, value in _REQUIRED.items():
        if name in given and given[name] != value:
            raise ConfigError(f"{path}: {name} is {given[name]!r}; only models trained with {value!r} can be used")


def _training(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that do not follow from the weights."""
    chosen = {name: given.get(name, value) for name, value in _DEFAULTS.items()}
    steps, share = chosen["diffusion_steps"], chosen["cond_mask_prob"]
    if type(steps) is not int or not 1 <= steps <= _MAX_STEPS:
        raise ConfigError(f"{path}: diffusion_steps is {steps!r}, not an integer of 1 to {_MAX_STEPS}; copy it again")
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ConfigError(f"{path}: cond_mask_prob is {share!r}, not a number of 0 to 1; copy it again")
    for name in ("mask_frames", "emb_trans_dec"):
        if not isinstance(chosen[name], bool):
            raise ConfigError(f"{path}: {name} is {chosen[name]!r}, neither true nor false; copy it again")
    return chosen
