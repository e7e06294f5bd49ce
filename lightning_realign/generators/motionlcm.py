"""MotionLCM (Dai et al., ECCV 2024, arXiv 2404.19759) and MotionLCM-V2, consistency models, from their public files.

github.com/Dai-Wenxun/MotionLCM. One to four steps make a motion. Classifier-free guidance was distilled into the
network, whose input includes the scale: nothing is evaluated twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import Generator, LoadOptions, Recipe
from lightning_realign.generators.latent import LatentDiffusionGenerator
from lightning_realign.generators.mld import read_bundle

_TRAIN_STEPS = 1000


@dataclass(frozen=True)
class Consistency:
    """How a published consistency model is sampled.

    original: steps of the DDIM solver that it was distilled from. scales: guidance scale by number of steps.
    timesteps: scheduler indices by number of steps, where they are not spaced by the usual rule.
    """

    original: int
    scales: Mapping[int, float]
    timesteps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


MOTIONLCM = Consistency(50, {1: 7.5})
# The last two of four steps run at one timestep: between them, the state is made noisy to the same level again.
MOTIONLCM_V2 = Consistency(10, {1: 8.0, 2: 12.5, 4: 13.5}, {1: (799,), 2: (699, 299), 4: (699, 399, 299, 299)})


class ConsistencyGenerator(LatentDiffusionGenerator):
    """`Generator` over the `DiffusionBundle` of a latent consistency model; its state x is the VAE latent [B, n, d].

    The network reads the guidance weight, cfg_scale - 1; there is no unconditional half. It was trained with weights
    from 5 to 15.
    """

    @property
    def evaluations(self) -> int:
        """One evaluation per step, whatever the scale."""
        return 1

    def condition(self, texts: Sequence[str]) -> Tensor:
        """Sentence features [B, S]."""
        features = self.encode_text(texts)
        return features.sentence.to(self.device, self.dtype)

    def denoise(self, x: Tensor, t: int, cond: Tensor, lengths: Tensor) -> Tensor:
        """The denoiser's output [B, n, d] for x_t at scheduler index t."""
        steps = torch.full((len(x),), t, dtype=torch.long, device=x.device)
        weight = torch.full((len(x),), self.cfg_scale - 1, device=x.device)
        output: Tensor = self.bundle.denoiser(x, steps, cond, weight)
        return output


def load_motionlcm(checkpoint: Path, options: LoadOptions) -> Generator:
    """The first MotionLCM, distilled from MLD*; see `generators.mld.read_bundle` for what it raises."""
    return _load("motionlcm", MOTIONLCM, checkpoint, options)


def load_motionlcm_v2(checkpoint: Path, options: LoadOptions) -> Generator:
    """MotionLCM-V2, distilled from MLD++; see `generators.mld.read_bundle`."""
    return _load("motionlcm_v2", MOTIONLCM_V2, checkpoint, options)


def _load(family: str, published: Consistency, checkpoint: Path, options: LoadOptions) -> Generator:
    recipe = consistency_recipe(published, options)
    return ConsistencyGenerator(read_bundle(family, checkpoint, options), recipe, options)


def consistency_recipe(published: Consistency, options: LoadOptions) -> Recipe:
    """How a consistency model is sampled: by default one step at the published scale.

    A number of steps that was not published gets timesteps by the usual rule, and the scale of the next lower number.

    Raises:
        ConfigError: another scheduler than `lcm`, or more steps than the model was distilled from.
    """
    if options.sampling.scheduler not in (None, "lcm"):
        raise ConfigError(
            f"generator scheduler={options.sampling.scheduler!r}: a consistency model takes 'lcm' alone; leave "
            "scheduler out"
        )
    steps = 1 if options.sampling.steps is None else options.sampling.steps
    if not 1 <= steps <= published.original:
        raise ConfigError(
            f"sampler steps={steps}: need 1 to {published.original}, the steps of the solver that this consistency "
            "model was distilled from"
        )
    timesteps = published.timesteps.get(steps) or spaced_timesteps(published.original, steps)
    scale = published.scales[max(count for count in published.scales if count <= steps)]
    return Recipe("lcm", steps, scale if options.sampling.cfg_scale is None else options.sampling.cfg_scale, timesteps)


def spaced_timesteps(original: int, steps: int) -> tuple[int, ...]:
    """Evenly spaced timesteps of the solver, noisiest first, as diffusers' consistency scheduler has them.

    >>> spaced_timesteps(50, 4)
    (999, 759, 499, 259)
    """
    stride = _TRAIN_STEPS // original
    places = (int(index * (original / steps)) for index in range(steps))
    return tuple((original - place) * stride - 1 for place in places)
