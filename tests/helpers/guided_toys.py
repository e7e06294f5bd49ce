"""Closed-form generators and rewards, and tiny random networks, for the tests of guidance and generators."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from lightning_realign.checkpoints.diffusion import DiffusionBundle
from lightning_realign.checkpoints.reward import RewardBundle
from lightning_realign.diffusion import NoiseSchedule, make_scheduler
from lightning_realign.diffusion.noise import SampleNoise
from lightning_realign.generators.base import Recipe, convert_normalisation
from lightning_realign.models import LatentDenoiser, LatentSpace, MotionVAE, RewardSpace, StepAwareRewardModel
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import TextFeatures, zero_padding

FEATURES, TOKEN, SENTENCE = 6, 8, 8


def normaliser_of(features: int, seed: int | None = None) -> Normaliser:
    """Identity, or random statistics."""
    normaliser = Normaliser(features)
    if seed is not None:
        random = torch.Generator().manual_seed(seed)
        normaliser.set(torch.randn(features, generator=random), 0.5 + torch.rand(features, generator=random))
    return normaliser


class GaussianGenerator:
    """The exact denoiser of independent features x_0 ~ N(mean, std^2); its state is the motion itself, in float64."""

    skeleton = "humanml3d"
    device = torch.device("cpu")
    dtype = torch.float64
    latents = None
    recipe = Recipe()
    evaluations = 1

    def __init__(self, mean: float = 0.7, std: float = 0.5, prediction: Any = "epsilon") -> None:
        self.mean, self.std, self.prediction = mean, std, prediction
        self.normaliser = normaliser_of(FEATURES)
        self.schedule = NoiseSchedule()
        self.levels = self.schedule.alpha_bar[1:]

    @property
    def scheduler(self) -> Any:
        return make_scheduler("ddim", self.schedule, self.prediction)

    def noise_shape(self, length: int) -> tuple[int, ...]:
        return (length, FEATURES)

    def condition(self, texts: Sequence[str]) -> None:
        return None

    def denoise(self, x: Tensor, t: int, cond: None, lengths: Tensor) -> Tensor:
        clean = self.posterior_mean(x, float(self.levels[t]))
        if self.prediction == "sample":
            return clean
        return (x - self.levels[t].sqrt() * clean) / (1 - self.levels[t]).sqrt()

    def posterior_mean(self, x: Tensor, alpha_bar: float) -> Tensor:
        """E[x_0 | x_t]."""
        gain = math.sqrt(alpha_bar) * self.std**2 / (alpha_bar * self.std**2 + 1 - alpha_bar)
        return self.mean + gain * (x - math.sqrt(alpha_bar) * self.mean)

    def posterior_variance(self, alpha_bar: float) -> float:
        """Var[x_0 | x_t]."""
        return self.std**2 * (1 - alpha_bar) / (alpha_bar * self.std**2 + 1 - alpha_bar)

    def to_motion(self, x: Tensor, alpha_bar: float, lengths: Tensor, target: Normaliser) -> Tensor:
        return zero_padding(convert_normalisation(x, alpha_bar, self.normaliser, target), lengths)

    def features(self, x: Tensor, lengths: Tensor) -> Tensor:
        return zero_padding(self.normaliser.denormalise(x), lengths)


class FunctionReward:
    """A reward given as a function (motion, alpha_bar) -> [B]; keeps the levels it was asked at."""

    skeleton = "humanml3d"
    latents = None

    def __init__(self, function: Callable[[Tensor, float], Tensor]) -> None:
        self.normaliser = normaliser_of(FEATURES)
        self.function = function
        self.levels: list[float] = []
        self.prepared = 0

    def prepare(self, captions: Sequence[str], references: Tensor | None, *, mu: float, eta: float) -> Any:
        self.prepared += 1

        def evaluate(motion: Tensor, lengths: Tensor, alpha_bar: float) -> Tensor:
            self.levels.append(alpha_bar)
            return mu * self.function(motion, alpha_bar)

        return evaluate


@torch.no_grad()
def plain_sampling(
    generator: Any, texts: Sequence[str], lengths: Tensor, ids: Sequence[str], steps: int, name: Any = "ddim"
) -> Tensor:
    """Features [B, T, D] of the generator's own sampling, written out with diffusers' scheduler and nothing of ours.

    DDPM is DDIM with eta = 1 whose last step goes to signal level 1.
    """
    own = generator.scheduler
    scheduler = DDIMScheduler(**vars(own.config), clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = own.alphas_cumprod, own.final_alpha_cumprod
    if name == "ddpm":
        scheduler.final_alpha_cumprod = torch.ones_like(scheduler.alphas_cumprod[0])
    scheduler.set_timesteps(steps)
    shapes = [generator.noise_shape(length) for length in lengths.tolist()]
    noise = SampleNoise(1234, ids, 0, shapes, device=generator.device, dtype=generator.dtype)
    x, cond = noise.draw(), generator.condition(texts)
    for t in scheduler.timesteps.tolist():
        output = generator.denoise(x, t, cond, lengths)
        # DDPM's step to signal level 1 adds no noise.
        stochastic = name == "ddpm" and t >= scheduler.config.num_train_timesteps // steps
        fresh = noise.draw() if stochastic else None
        x = scheduler.step(output, t, x, eta=float(stochastic), variance_noise=fresh).prev_sample
    return generator.features(x, lengths)


def toy_encoder(captions: Sequence[str]) -> TextFeatures:
    """Random features of each caption, a function of the caption alone; as many tokens as words, and one more."""
    lengths = [len(caption.split()) + 1 for caption in captions]
    tokens = torch.zeros(len(captions), max(lengths), TOKEN)
    sentence = torch.zeros(len(captions), SENTENCE)
    for row, (caption, length) in enumerate(zip(captions, lengths, strict=True)):
        seed = int.from_bytes(hashlib.sha256(caption.encode()).digest()[:4], "big")
        random = torch.Generator().manual_seed(seed)
        tokens[row, :length] = torch.randn(length, TOKEN, generator=random)
        sentence[row] = torch.nn.functional.normalize(torch.randn(SENTENCE, generator=random), dim=0)
    return TextFeatures(tokens, torch.tensor(lengths), sentence)


_SMALL = {"width": 16, "layers": 3, "heads": 2, "feedforward": 32, "dropout": 0.1}


def tiny_reward(seed: int = 0, schedule: NoiseSchedule | None = None) -> RewardBundle:
    """A random reward network with statistics of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = StepAwareRewardModel(FEATURES, TOKEN, **_SMALL).eval()
    schedule = schedule if schedule is not None else NoiseSchedule()
    space = RewardSpace("motion", normaliser_of(FEATURES, 3))
    return RewardBundle(network, space, schedule, "humanml3d", "toy", "0" * 16, 0.5, 1, schedule.steps)


def tiny_diffusion(seed: int = 1) -> DiffusionBundle:
    """A random latent diffusion generator with statistics of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = MotionVAE(FEATURES, latent_tokens=2, latent_size=8, **_SMALL).eval()
        denoiser = LatentDenoiser(2, 8, SENTENCE, **_SMALL).eval()
        latents = LatentSpace(vae)
        latents.statistics.set(torch.randn(2, 8), 0.5 + torch.rand(2, 8))
    return DiffusionBundle(
        latents,
        denoiser,
        normaliser_of(FEATURES, 5),
        NoiseSchedule(),
        "epsilon",
        "humanml3d",
        "toy",
        "0" * 16,
    )
