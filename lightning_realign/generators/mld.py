"""MLD (Chen et al., arXiv 2212.04048), MLD* and MLD++ (Dai et al., MotionLCM-V2) from their public checkpoints.

github.com/ChenFengYe/motion-latent-diffusion and github.com/Dai-Wenxun/MotionLCM save Lightning's form: `state_dict`
holds `vae.*`, `denoiser.*` and the networks of their own evaluation. No entry of a file says
which model it is, but the weights do: 16 x 32 latents have projections, consistency models embed the guidance scale,
and only the first MLD carries a position table, which it never reads. Statistics are the data set's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor, nn

from lightning_realign.checkpoints.diffusion import DiffusionBundle
from lightning_realign.checkpoints.published import channels_read, skeleton_of_size
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import CheckpointError
from lightning_realign.files.weights import load_strictly, read_weights
from lightning_realign.generators.base import Generator, LoadOptions, Recipe
from lightning_realign.generators.latent import LatentDiffusionGenerator
from lightning_realign.models import DenoiserArchitecture, LatentDenoiser, LatentSpace, MotionVAE, VAEArchitecture

CLIP, SENTENCE_T5 = "clip-vit-large-patch14", "sentence-t5-large"
TEXT_SIZE = 768
GUIDANCE_SIZE = 256
_UNUSED_TABLE = "denoiser.mem_pos.pe"
# Files may also hold the networks of the public evaluation and the text encoder, which are not read.
_OTHERS = ("t2m_textencoder.", "t2m_moveencoder.", "t2m_motionencoder.", "text_encoder.")
_SMALL_LATENTS = VAEArchitecture(latent_tokens=16, latent_size=32)


@dataclass(frozen=True)
class LatentForm:
    """What the weights of a published latent model are.

    vae, denoiser: their sizes. text_encoder: name of the encoder whose sentences it reads. file: its published name.
    """

    file: str
    text_encoder: str = SENTENCE_T5
    vae: VAEArchitecture = field(default_factory=VAEArchitecture)
    denoiser: DenoiserArchitecture = field(default_factory=DenoiserArchitecture)


FORMS: Mapping[str, LatentForm] = {
    "mld": LatentForm("1222_mld_humanml3d_FID041.ckpt", CLIP),
    "mld_star": LatentForm("mld_humanml_v1.ckpt"),
    "mldpp": LatentForm("mld_humanml.ckpt", vae=_SMALL_LATENTS, denoiser=DenoiserArchitecture(text_relu=False)),
    "motionlcm": LatentForm("motionlcm_humanml_v1.ckpt", denoiser=DenoiserArchitecture(guidance_size=GUIDANCE_SIZE)),
    "motionlcm_v2": LatentForm(
        "motionlcm_humanml.ckpt",
        vae=_SMALL_LATENTS,
        denoiser=DenoiserArchitecture(text_relu=False, guidance_size=GUIDANCE_SIZE),
    ),
}


def load_mld(checkpoint: Path, options: LoadOptions) -> Generator:
    """The first MLD, conditioned on CLIP's text embedding; see `read_bundle` for what it raises."""
    return _load("mld", checkpoint, options)


def load_mld_star(checkpoint: Path, options: LoadOptions) -> Generator:
    """MLD trained again by MotionLCM's authors, conditioned on sentence-t5-large; see `read_bundle`."""
    return _load("mld_star", checkpoint, options)


def load_mldpp(checkpoint: Path, options: LoadOptions) -> Generator:
    """MLD++, with latents of 16 x 32; see `read_bundle`."""
    return _load("mldpp", checkpoint, options)


def _load(family: str, checkpoint: Path, options: LoadOptions) -> Generator:
    bundle = read_bundle(family, checkpoint, options)
    return LatentDiffusionGenerator(bundle, options.recipe(Recipe("ddim", 50, 7.5)), options)


def read_bundle(family: str, checkpoint: Path, options: LoadOptions) -> DiffusionBundle:
    """The networks of a published latent model, with the statistics of its motions.

    Args:
        family: a name in `FORMS`.
        checkpoint: its `.ckpt`, or the `.safetensors` that `convert` made of it.
        options: only its statistics are used.

    Raises:
        CheckpointError: the file is missing, damaged, holds Python objects, another model, or does not fit.
        ConfigError: no statistics are given.
        DataError: statistics are missing or do not fit.
    """
    form, weights = FORMS[family], read_weights(checkpoint, "state_dict")
    found = recognise(weights, checkpoint)
    if found != family:
        raise CheckpointError(
            f"{checkpoint}: holds the model of family {found!r} (published as {FORMS[found].file}), not {family!r}: "
            f"set the family to {found!r}, or give {form.file}"
        )
    skeleton = skeleton_of_size(
        channels_read(weights, "vae.skel_embedding"), checkpoint, "give the checkpoint of HumanML3D or KIT-ML"
    )
    features = skeleton.num_features
    vae = MotionVAE(features, **asdict(form.vae))
    sizes = vae.latent_tokens, vae.latent_size, TEXT_SIZE
    denoiser = LatentDenoiser(*sizes, **asdict(form.denoiser))
    both = nn.ModuleDict({"vae": vae, "denoiser": denoiser})
    load_strictly(both, weights, str(checkpoint), ignored=(*_OTHERS, _UNUSED_TABLE), remedy=f"give {form.file}")
    latents = LatentSpace(vae)
    latents.fingerprint()
    return DiffusionBundle(
        latents,
        denoiser,
        options.normaliser(checkpoint, features),
        NoiseSchedule(),
        "epsilon",
        skeleton.name,
        form.text_encoder,
        fingerprint="",
    )


def recognise(weights: Mapping[str, Tensor], checkpoint: Path) -> str:
    """The family that the weights belong to.

    Raises:
        CheckpointError: they belong to no latent text-to-motion model.
    """
    _check_parts(weights, checkpoint)
    small = "denoiser.latent_pre.weight" in weights
    if "denoiser.time_embedding.cond_proj.weight" in weights:
        return "motionlcm_v2" if small else "motionlcm"
    if small:
        return "mldpp"
    return "mld" if _UNUSED_TABLE in weights else "mld_star"


def _check_parts(weights: Mapping[str, Tensor], checkpoint: Path) -> None:
    """Refuse everything but a VAE with the denoiser of its latents."""
    if any(key.startswith(("controlnet.", "traj_encoder.")) for key in weights):
        raise CheckpointError(
            f"{checkpoint}: holds a MotionLCM ControlNet, which follows trajectories and is no family here: give "
            f"{FORMS['motionlcm_v2'].file} of family 'motionlcm_v2', which it was trained upon"
        )
    for part, sort in (("vae.", "a diffusion model on motions"), ("denoiser.", "a VAE alone")):
        if not any(key.startswith(part) for key in weights):
            wanted = ", ".join(form.file for form in FORMS.values())
            raise CheckpointError(f"{checkpoint}: holds no {part}* weights, so it is {sort} at most: give {wanted}")
