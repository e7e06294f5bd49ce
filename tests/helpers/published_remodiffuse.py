"""ReMoDiffuse's files in the public form, small, with weights by a fixed rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lightning_realign.generators import LoadOptions
from lightning_realign.generators.remodiffuse.database import DatabaseForm, RetrievalDatabase
from lightning_realign.generators.remodiffuse.generator import ReMoDiffuseGenerator, load
from lightning_realign.models.published.remodiffuse import ReMoDiffuseArchitecture, ReMoDiffuseDenoiser
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import TextFeatures
from tests.helpers.fixed_weights import fixed_input, fixed_state, fixed_tensor

TEXTS, ENDS, FRAMES, WIDTH = ["a person walks", "somebody jumps"], (9, 31), 24, 64
ROWS = [24, 9, 17, 12, 20, 5]
FORM = DatabaseForm(512, WIDTH, FRAMES, 263)
# Root channels, contacts last.
SCALED = [0, 1, 2, 3, -4, -3, -2, -1]


def network(features: int = 263, **sizes) -> ReMoDiffuseDenoiser:
    small = {"width": WIDTH, "layers": 2, "max_frames": FRAMES} | sizes
    module = ReMoDiffuseDenoiser(features, ReMoDiffuseArchitecture(**small)).eval().requires_grad_(False)
    module.load_state_dict(fixed_state({key: tuple(value.shape) for key, value in module.state_dict().items()}))
    return module


def hidden_states(captions) -> TextFeatures:
    """Stand-ins for CLIP's hidden states of the two captions, or of others by their first letters."""
    places = [TEXTS.index(caption) if caption in TEXTS else ord(caption[0]) % 2 for caption in captions]
    tokens = fixed_input("clip", 2, 77, 512).float()[places]
    sentence = tokens[torch.arange(len(tokens)), [ENDS[place] for place in places]]
    return TextFeatures(tokens, torch.full((len(tokens),), 77), sentence)


def arrays(features: int = 263, width: int = WIDTH, frames: int = FRAMES) -> dict[str, np.ndarray]:
    """A database of 6 motions, whose captions are near those of the tests by turns."""
    queries = hidden_states(TEXTS).sentence.double() @ fixed_tensor("clip.text_projection", (512, 512)).double()
    spread = 0.3 * queries.norm(dim=1).mean() / 512**0.5 * fixed_input("db:text", 6, 512)
    return {
        "text_features": (queries[[0, 1] * 3] + spread).float().numpy(),
        "captions": np.array([f"caption {row}" for row in range(6)]),
        "motions": fixed_input(f"db:motions{features}", 6, frames, features).float().numpy(),
        "m_lengths": np.array(ROWS),
        "clip_seq_features": fixed_input("db:tokens", 6, 77, width).float().numpy(),
    }


def write_remodiffuse(
    root: Path, features: int = 263, width: int = WIDTH, frames: int = FRAMES, layers: int = 2, **changes
) -> Path:
    """A small model in the form of the public tree, logs/ and data/. Returns the checkpoint."""
    name, database = ("human_ml3d", "t2m_text_train") if features != 251 else ("kit_ml", "kit_text_train")
    for folder in ("logs/remodiffuse", "data/database", f"data/datasets/{name}"):
        (root / folder).mkdir(parents=True)
    weights = {
        f"model.{key}": value
        for key, value in network(features, width=width, max_frames=frames, layers=layers).state_dict().items()
    }
    weights |= {"model.clip.ln_final.weight": torch.ones(512), "model.clip.positional_embedding": torch.zeros(77, 512)}
    meta = {
        "mmcv_version": "1.7.0",
        "seed": 0,
        "epoch": 40,
        "iter": 1,
        "time": "Mon",
        "env_info": "sys.platform: linux",
    }
    torch.save({"meta": meta, "state_dict": weights | changes}, root / "logs/remodiffuse/latest.pth")
    np.savez(root / f"data/database/{database}.npz", **arrays(features, width, frames))
    mean, std = raw_statistics(features)
    std[SCALED] /= 25
    np.save(root / f"data/datasets/{name}/mean.npy", mean)
    np.save(root / f"data/datasets/{name}/std.npy", std)
    return root / "logs/remodiffuse/latest.pth"


def raw_statistics(features: int = 263) -> tuple[np.ndarray, np.ndarray]:
    """Statistics as a data set has them."""
    random = np.random.RandomState(0)
    return random.randn(features), 0.3 + 0.2 * random.rand(features)


def options(statistics=None, **sampling) -> LoadOptions:
    return LoadOptions(SamplingConfig(**sampling), statistics, encode=hidden_states)


def generator_of(root: Path, features: int = 263, dtype: torch.dtype = torch.float64, **given) -> ReMoDiffuseGenerator:
    return load(write_remodiffuse(root, features), options(**given)).to(dtype=dtype)


def database(root: Path, **changes) -> RetrievalDatabase:
    np.savez(root / "database.npz", **(arrays() | changes))
    return RetrievalDatabase(root / "database.npz", FORM)
