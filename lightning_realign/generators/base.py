"""The protocols of text-to-motion generators, how they are loaded, and the conversion between normalisations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lightning_realign.data.formats import load_statistics
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.settings.sampling import SamplingConfig, SchedulerName
from lightning_realign.types import TextFunction

if TYPE_CHECKING:
    from lightning_realign.models import LatentSpace


# Contacts are 0 or 1 and vary by 0.1 to 0.5; evaluators and MotionDiffuse divide their deviations by 25, MoMask by 5.
SMALLEST_CONTACT_STD = 0.1
_CONTACTS = 4


@dataclass(frozen=True)
class Recipe:
    """How a generator is sampled.

    Attributes:
        scheduler: `ddim`, `ddpm`, or `lcm` for consistency models.
        steps: sampling steps.
        cfg_scale: scale of classifier-free guidance: output = u + cfg_scale (c - u); 1 is purely conditional, at half
            the cost.
        timesteps: the scheduler indices of the steps, noisiest first; None for the scheduler's own spacing.

    Raises:
        ConfigError: a scale that is not a finite number, or no steps.
    """

    scheduler: SchedulerName = "ddim"
    steps: int = 50
    cfg_scale: float = 7.5
    timesteps: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.cfg_scale):
            raise ConfigError(f"generator cfg_scale={self.cfg_scale} is not finite; give a number, 1 for no guidance")
        if self.steps < 1:
            raise ConfigError(f"sampling steps={self.steps}: give 1 or more")


@dataclass(frozen=True)
class LoadOptions:
    """What a user may say of a generator beside its file. None takes what the generator was published with.

    Attributes:
        sampling: steps, scheduler and scale of classifier-free guidance, see `Recipe`.
        statistics: folder of the Mean.npy and Std.npy that it was trained with, for files that do not hold them.
        text_cache: folder of cached text features; None for the usual one.
        encode: text encoder in place of the generator's own.
    """

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    statistics: Path | None = None
    text_cache: Path | None = None
    encode: TextFunction | None = None

    def recipe(self, published: Recipe) -> Recipe:
        """The published recipe with the user's own settings in their place; other steps are spaced by the scheduler."""
        chosen = replace(published, timesteps=None, **self.sampling.recipe_fields)
        same = (chosen.scheduler, chosen.steps) == (published.scheduler, published.steps)
        return replace(chosen, timesteps=published.timesteps) if same else chosen

    def normaliser(self, checkpoint: Path, features: int) -> Normaliser:
        """The statistics in the given folder.

        Args:
            checkpoint: the generator's file, for the message.
            features: D.

        Raises:
            ConfigError: no folder is given.
            DataError: its files are missing or do not fit.
        """
        if self.statistics is None:
            raise ConfigError(
                f"{checkpoint}: holds no statistics of its motions: set statistics to the folder of the Mean.npy and "
                "Std.npy it was trained with, the data set's own"
            )
        return read_dataset_normaliser(self.statistics, features)


def read_dataset_normaliser(folder: Path, features: int) -> Normaliser:
    """A data set's own statistics. Those of an evaluator or of MotionDiffuse are refused.

    Raises:
        DataError: a file is missing, does not fit, or holds other statistics.
    """
    try:
        normaliser = read_normaliser(folder, features)
    except DataError as error:
        raise DataError(f"{error}; a published model needs its data set's Mean.npy and Std.npy") from None
    contacts = normaliser.std[-_CONTACTS:].min().item()
    if contacts < SMALLEST_CONTACT_STD:
        raise DataError(
            f"{folder / 'Std.npy'}: the deviation of the foot contacts is {contacts:.3g}, a data set's lies above "
            f"{SMALLEST_CONTACT_STD}: these are an evaluator's or a generator's statistics, give the data set's"
        )
    return normaliser


def read_normaliser(folder: Path, features: int, names: tuple[str, str] = ("Mean", "Std")) -> Normaliser:
    """The statistics of a folder's two .npy files.

    Raises:
        DataError: a file is missing or does not fit, or a deviation is not positive.
    """
    normaliser = Normaliser(features)
    mean, std = (load_statistics(folder / f"{name}.npy", features) for name in names)
    try:
        normaliser.set(mean, std)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from None
    return normaliser.requires_grad_(False).eval()


class Generator(Protocol):
    """A diffusion generator behind one interface; x is its own noisy state, latent or motion.

    `scheduler` is a DDIM scheduler: `diffusion.ddim.DDIM`, or diffusers'. It carries the noise schedule, the spacing of
    the timesteps and the prediction type; index t of its timesteps has signal level alphas_cumprod[t].
    """

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it makes."""

    @property
    def normaliser(self) -> Normaliser:
        """Statistics of the normalisation that it makes motions in."""

    @property
    def recipe(self) -> Recipe:
        """How it is sampled."""

    @property
    def evaluations(self) -> int:
        """Evaluations of its network per motion and call of `denoise`, at most: 2 with classifier-free guidance."""

    def evaluations_at(self, t: int) -> int:
        """Evaluations of its network per motion in a call of `denoise` at scheduler index t."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Its floating-point precision."""

    @property
    def scheduler(self) -> Any:
        """A fresh DDIM scheduler with this generator's schedule and prediction type."""

    @property
    def latents(self) -> LatentSpace | None:
        """The latent space whose standardised latents are its states; None if its states are motions."""

    def noise_shape(self, length: int) -> tuple[int, ...]:
        """Shape of the noise of one sample of `length` frames (without the batch axis)."""

    def condition(self, texts: Sequence[str]) -> Any:
        """Everything `denoise` needs to know of B captions, computed once per batch."""

    def denoise(self, x: Tensor, t: int, cond: Any, lengths: Tensor) -> Tensor:
        """The network's output for x_t [B, ...] at scheduler index t, classifier-free guidance included."""

    def to_motion(self, x: Tensor, alpha_bar: float, lengths: Tensor, target: Normaliser) -> Tensor:
        """Features [B, T, D] of the state x at signal level `alpha_bar`, in the target's normalisation.

        Differentiable in x. Zero beyond a sample's length.
        """

    def features(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features [B, T, D] of a clean state, in the data set's own units, zero beyond a sample's length."""

    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What the generator's own representation keeps of real motions [B, T, D], in the data set's own units.

        These are the motions themselves if it works on features, and decoded latents if it works on latents.
        """


LatentGuide = Callable[[int, Tensor, Callable[[Tensor], Tensor]], Tensor | None]
"""(denoising step, predicted clean latents [B, n, C], function from those to features [B, T, D]) -> gradient.

The function is differentiable, and its features are in the data set's own units. The gradient is the reward's with
regard to the latents; None where the step is not guided.
"""


@runtime_checkable
class MaskedGenerator(Protocol):
    """A generator with a sampling loop of its own, such as MoMask or MARDM: it fills in masked codes over some rounds.

    At most a part of it denoises latents, and only that part can be guided by a reward.
    """

    @property
    def skeleton(self) -> str:
        """Name of the feature spec of the motions it makes."""

    @property
    def normaliser(self) -> Normaliser:
        """Statistics of the normalisation that it makes motions in."""

    @property
    def evaluations(self) -> int:
        """Evaluations of its networks per generated motion."""

    @property
    def denoising_steps(self) -> int:
        """Steps of each denoising of its latents; 0 if it denoises nothing."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Its floating-point precision."""

    def condition(self, texts: Sequence[str]) -> Any:
        """What its networks read of B captions. Calling it puts their features into the cache."""

    def generate(
        self,
        texts: Sequence[str],
        lengths: Tensor,
        noise: Sequence[torch.Generator],
        guide: LatentGuide | None = None,
    ) -> Tensor:
        """Generate B motions.

        Args:
            texts: B captions.
            lengths: [B] frames.
            noise: B random generators on the CPU, one per motion. All randomness of a motion comes from its own, so
                that no motion depends on the others.
            guide: called at every denoising step.

        Returns:
            Features [B, T, D] in the data set's own units, zero beyond a sample's length.
        """

    def reconstruct(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What its own representation keeps of real motions [B, T, D], in the data set's own units."""


def convert_normalisation(x: Tensor, alpha_bar: float, source: Normaliser, target: Normaliser) -> Tensor:
    """Rewrite noisy features from one normalisation in another, at the same noise level.

    For x = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, only the signal carries the source's offset, so

        y = (s_source / s_target) x + sqrt(alpha_bar) (m_source - m_target) / s_target.

    The signal of y is the clean motion in the target's normalisation; its noise has scale s_source / s_target. At
    alpha_bar = 1, this denormalises and normalises again.

    Args:
        x: [..., D] features in the source's normalisation.
        alpha_bar: cumulative signal level of x.
        source: statistics that x was normalised with.
        target: statistics wanted.
    """
    std, mean = target.std.to(x), target.mean.to(x)
    return x * (source.std.to(x) / std) + math.sqrt(alpha_bar) * (source.mean.to(x) - mean) / std
