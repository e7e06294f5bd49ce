"""ReMoDiffuse (Zhang et al., ICCV 2023, arXiv 2304.01116) from its public files, github.com/mingyuan-zhang/ReMoDiffuse.

For a caption and a length, two motions are retrieved from a database of captioned training motions. The network reads
them beside the caption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import LoadOptions, Recipe
from lightning_realign.generators.motion_state import MotionStateGenerator
from lightning_realign.generators.motiondiffuse import TEXT_ENCODER
from lightning_realign.generators.network import GeneratorSpec
from lightning_realign.generators.remodiffuse.database import RetrievalDatabase
from lightning_realign.generators.remodiffuse.files import read_database, read_denoiser, read_statistics
from lightning_realign.models.published.remodiffuse import ReMoDiffuseDenoiser, RetrievedMotions
from lightning_realign.motion.normaliser import Normaliser

# Timesteps above this are coarse, the others fine, see `Mixture`.
LAST_FINE = 100
_TRAIN_STEPS = 1000
# Sampling steps in each fifth of the schedule, the least noisy first.
_SECTIONS = (15, 15, 8, 6, 6)


@dataclass(frozen=True)
class Mixture:
    """How the network's outputs with and without caption and retrieved motions are mixed. The coefficients sum to 1.

    At coarse timesteps the scale is w = 1 + (cfg_scale - 1) t / 1000, and a coin chooses between two mixtures:
    w both + (1 - w) retrieved, or w caption + (1 - w) none. At fine timesteps the coefficients are constant.

    Attributes:
        cfg_scale: w at t = 1000.
        both, text, retrieved: coefficients at fine timesteps; the output without either has what is missing to 1.
    """

    cfg_scale: float
    both: float
    text: float
    retrieved: float


MIXTURES = {
    "humanml3d": Mixture(7.5, 0.52351, -0.28419, 2.39872),
    "kit": Mixture(5.0, 0.78123, 0.39284, -0.12475),
}


class Branch(NamedTuple):
    """One evaluation of a batch: the coefficient of its output, and which inputs [B, 2] each sample reads."""

    coefficient: float
    reads: Tensor


@dataclass(frozen=True)
class ReMoDiffuseCondition:
    """What the denoiser reads of B captions.

    text: [B, 77, text_width]. query: [B, E], for the search. found: the motions retrieved so far, by lengths.
    """

    captions: tuple[str, ...]
    text: Tensor
    query: Tensor
    found: dict[tuple[int, ...], RetrievedMotions] = field(default_factory=dict)


class ReMoDiffuseGenerator(MotionStateGenerator):
    """`Generator` over a `ReMoDiffuseDenoiser`; its state x is the motion in the model's own normalisation.

    Root and contact channels are 25 times as large there as in the data set's normalisation. A reward in the latter
    reads the right motion at any noise level, but with 1/25 of that level's noise in those channels, so it should read
    the predicted x_0.

    The coin of `Mixture` depends on caption and timestep alone, so that a motion does not depend on its batch; the
    public code throws one coin for a whole batch. With cfg_scale 1 nothing is mixed: caption and retrieved motions are
    read.

    Args:
        spec: what it is.
        denoiser: the network, with its weights.
        database: the database that motions are retrieved from.
        normaliser: statistics of its motions.
        options: only its text encoder and the folder of cached text features are used.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        denoiser: ReMoDiffuseDenoiser,
        database: RetrievalDatabase,
        normaliser: Normaliser,
        options: LoadOptions | None = None,
    ) -> None:
        super().__init__(spec, {"denoiser": denoiser, "normaliser": normaliser}, normaliser, options)
        self.denoiser, self.database = denoiser, database
        self.mixture = MIXTURES[spec.skeleton]

    @property
    def evaluations(self) -> int:
        """Evaluations of its network per motion and call of `denoise`, at most: 4 at fine timesteps, 2 at others."""
        return 1 if self.cfg_scale == 1 else 4

    def evaluations_at(self, t: int) -> int:
        """Evaluations of a call at scheduler index t: one for each of its `branches`."""
        return len(self.branches(t, ("",)))

    @property
    def max_frames(self) -> int:
        """Frames of the longest motion it can make."""
        return self.denoiser.architecture.max_frames

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> ReMoDiffuseCondition:
        """What the denoiser makes of B captions, which does not depend on the step.

        Raises:
            ConfigError: features of an encoder other than `clip-vit-base-patch32`.
        """
        features, size = self.encode_text(texts), self.denoiser.architecture.text_size
        if features.tokens.shape[2] != size or features.sentence.shape[1] != size:
            raise ConfigError(
                f"text features {tuple(features.tokens.shape)}: ReMoDiffuse reads those of {TEXT_ENCODER!r}"
            )
        features = features.to(self.device, self.dtype)
        text = self.denoiser.encode_text(features.tokens)
        return ReMoDiffuseCondition(tuple(texts), text, self.denoiser.search_features(features.sentence))

    @torch.no_grad()
    def retrieved(self, cond: ReMoDiffuseCondition, lengths: Tensor) -> RetrievedMotions:
        """The motions retrieved for captions and lengths [B]. They are searched and encoded only once."""
        key = tuple(lengths.tolist())
        if key not in cond.found:
            rows = self.database.search(cond.query, lengths, self.denoiser.architecture.retrieved)
            motions, frames, tokens = self.database.read(rows)
            cond.found[key] = self.denoiser.database(
                motions.to(self.device, self.dtype), frames.to(self.device), tokens.to(self.device, self.dtype)
            )
        return cond.found[key]

    def denoise(self, x: Tensor, t: int, cond: ReMoDiffuseCondition, lengths: Tensor) -> Tensor:
        """The clean motion [B, T, D] predicted from x_t at scheduler index t."""
        branches = self.branches(t, cond.captions)
        count = len(branches)
        rows = torch.arange(len(x), device=x.device).repeat(count)
        outputs = self.denoiser(
            x[rows],
            torch.full((len(rows),), t, dtype=torch.long, device=x.device),
            cond.text[rows],
            self.retrieved(cond, lengths).rows(rows),
            lengths.to(x.device)[rows],
            torch.cat([branch.reads for branch in branches]).to(x.device),
        ).chunk(count)
        parts = [branch.coefficient * output for branch, output in zip(branches, outputs, strict=True)]
        return torch.stack(parts).sum(dim=0)

    def branches(self, t: int, captions: Sequence[str]) -> tuple[Branch, ...]:
        """The evaluations at a timestep for B captions."""

        def all_read(text: bool, retrieved: bool) -> Tensor:
            return torch.tensor([[text, retrieved]]).expand(len(captions), -1)

        if self.cfg_scale == 1:
            return (Branch(1.0, all_read(True, True)),)
        if t > LAST_FINE:
            scale = 1 + (self.cfg_scale - 1) * t / _TRAIN_STEPS
            # Both outputs read the retrieved motions, or none does; only the first reads the caption.
            coins = torch.tensor([[coin(caption, t)] for caption in captions])
            texts = torch.ones_like(coins), torch.zeros_like(coins)
            return (
                Branch(scale, torch.cat([texts[0], coins], dim=1)),
                Branch(1 - scale, torch.cat([texts[1], coins], dim=1)),
            )
        mixture = self.mixture
        rest = 1 - mixture.both - mixture.text - mixture.retrieved
        return (
            Branch(mixture.both, all_read(True, True)),
            Branch(mixture.text, all_read(True, False)),
            Branch(mixture.retrieved, all_read(False, True)),
            Branch(rest, all_read(False, False)),
        )


def coin(caption: str, t: int) -> bool:
    """The fair coin of a caption and a timestep: whether the retrieved motions are read there."""
    return hashlib.sha256(f"{t}:{caption}".encode()).digest()[0] % 2 == 0


def published_timesteps() -> tuple[int, ...]:
    """The 50 timesteps of the published sampling, noisiest first: evenly spread within each fifth of the schedule.

    >>> published_timesteps()[:8]
    (999, 959, 919, 880, 840, 800, 799, 759)
    """
    size, rising = _TRAIN_STEPS // len(_SECTIONS), []
    for section, count in enumerate(_SECTIONS):
        # Strides are summed as in the public code, whose rounding errors decide about places that are halfway.
        strides = repeat((size - 1) / (count - 1), count - 1)
        rising += [section * size + round(place) for place in accumulate(strides, initial=0.0)]
    return tuple(reversed(rising))


def load(checkpoint: Path, options: LoadOptions) -> ReMoDiffuseGenerator:
    """A generator from the public files: the checkpoint, the retrieval database, and mean.npy and std.npy.

    They are searched beside the checkpoint and in the folders above it, where the public tree has them: `database` and
    `datasets/<name>` in `data`. Without statistics there, they are computed from the data set's in
    `options.statistics`.

    Args:
        checkpoint: the public file, or what `convert` made of it.
        options: changes to the published recipe, which is DDIM over 50 timesteps and the published mixture.

    Raises:
        CheckpointError: a file that is missing, unsafe to read, or no ReMoDiffuse model.
        ConfigError: no statistics.
        DataError: a database or statistics that are missing, damaged or do not fit.
        FeatureSpecError: a database of another model.
    """
    denoiser, skeleton = read_denoiser(checkpoint)
    timesteps = published_timesteps()
    spec = GeneratorSpec(
        skeleton=skeleton.name,
        schedule=NoiseSchedule("linear", 1e-4, 0.02, _TRAIN_STEPS),
        prediction="sample",
        text_encoder=TEXT_ENCODER,
        recipe=options.recipe(Recipe("ddim", len(timesteps), MIXTURES[skeleton.name].cfg_scale, timesteps)),
    )
    normaliser = read_statistics(checkpoint, skeleton, options)
    return ReMoDiffuseGenerator(spec, denoiser, read_database(checkpoint, denoiser, skeleton), normaliser, options)
