"""Files in the public formats of MLD and MotionLCM, with weights by `fixed_weights`, and their golden numbers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_realign.generators.base import LoadOptions
from lightning_realign.generators.latent import LatentDiffusionGenerator
from lightning_realign.generators.mld import FORMS, TEXT_SIZE
from lightning_realign.models import LatentDenoiser, MotionVAE
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import TextFeatures
from tests.helpers.fixed_weights import fixed_input, fixed_state, golden

GOLDEN = Path(__file__).parents[1] / "generators" / "golden"
LENGTHS = torch.tensor([24, 17])
FEATURES = 263
TEXTS = ("first", "second")
# What the public files hold beside the model, for their own evaluation.
EVALUATOR = {"t2m_textencoder.pos_emb.weight": (300, 15), "t2m_moveencoder.out_net.bias": (512,)}


@functools.cache
def shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a family's own weights."""
    form = FORMS[family]
    with torch.device("meta"):
        vae = MotionVAE(FEATURES, **asdict(form.vae))
        denoiser = LatentDenoiser(vae.latent_tokens, vae.latent_size, TEXT_SIZE, **asdict(form.denoiser))
    parts = {"vae": vae, "denoiser": denoiser}
    return {f"{name}.{key}": tuple(v.shape) for name, part in parts.items() for key, v in part.state_dict().items()}


def published_shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Those of its file."""
    unused = {"denoiser.mem_pos.pe": (500, 1, 256)} if family == "mld" else {}
    return {**shapes(family), **unused, **EVALUATOR, "t2m_motionencoder.hidden": (2, 1, 1024)}


def write_published(path: Path, family: str, **entries: object) -> Path:
    """A file with fixed weights, and further entries beside `state_dict`."""
    torch.save({"state_dict": fixed_state(published_shapes(family)), **entries}, path)
    return path


def write_hollow(path: Path, keys: dict[str, tuple[int, ...]]) -> Path:
    """A file whose weights are all zero and take no room."""
    torch.save({"state_dict": {key: torch.zeros(1).expand(shape) for key, shape in keys.items()}}, path)
    return path


def write_statistics(folder: Path) -> Path:
    """Mean.npy and Std.npy of HumanML3D's size."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    np.save(folder / "Mean.npy", random.standard_normal(FEATURES).astype(np.float32))
    np.save(folder / "Std.npy", random.uniform(0.5, 1.5, FEATURES).astype(np.float32))
    return folder


def encode(captions: Sequence[str]) -> TextFeatures:
    """The golden runs' sentences: two captions, and the empty one."""
    known = dict(zip(TEXTS, fixed_input("text", 2, TEXT_SIZE), strict=True)) | {
        "": fixed_input("empty", 1, TEXT_SIZE)[0]
    }
    sentence = torch.stack([known[caption] for caption in captions])
    return TextFeatures(torch.zeros(len(captions), 1, 1), torch.ones(len(captions), dtype=torch.long), sentence)


def options(folder: Path, **sampling: Any) -> LoadOptions:
    """Statistics of a folder, the golden runs' sentences, and settings of `SamplingConfig`."""
    return LoadOptions(SamplingConfig(**sampling), statistics=folder, encode=encode)


def expected(family: str) -> dict:
    """The golden numbers of a family."""
    return golden(GOLDEN / f"{family}.json")  # type: ignore[return-value]


def forward(generator: LatentDiffusionGenerator, w: Tensor | None = None) -> dict[str, Tensor]:
    """What the golden runs computed: decoded latents, the mean of encoded motions, the denoiser's output at t = 481."""
    vae, denoiser, dtype = generator.latents.vae, generator.bundle.denoiser, generator.dtype
    n, d = generator.latents.shape
    latent = fixed_input("latent", 2, n, d).to(dtype)
    motion = fixed_input("motion", 2, 24, FEATURES).to(dtype)
    text = fixed_input("text", 2, TEXT_SIZE).to(dtype)
    return {
        "decode": vae.decode(latent, LENGTHS, 24),
        "encode": vae.encode(motion, LENGTHS).mean,
        "denoise": denoiser(latent, torch.tensor(481), text, w),
    }


def start(generator: LatentDiffusionGenerator) -> Tensor:
    """The golden runs' first noise, float64."""
    return fixed_input("noise", 2, *generator.latents.shape)
