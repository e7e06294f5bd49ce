"""How guidance enters MARDM's denoising, where the exact answer is known: Gaussian codes and a linear reward."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import ConfigError
from lightning_realign.generators.mardm.denoising import DiffusionDenoising, FlowDenoising

MEAN, STD, SLOPE = 0.7, 0.5, 1.6
# x_1 ~ N(m, s^2), tilted by exp(a x_1), is N(m + s^2 a, s^2).
TILTED = MEAN + STD**2 * SLOPE


def unguided(step, clean):
    return None


class Gaussian:
    """The exact network of codes x_1 ~ N(m, s^2) at levels of signal and noise, and the exact tilt of the score."""

    def __init__(self, levels) -> None:
        self.levels, self.at = levels, 0.0

    def _gain(self) -> float:
        signal, noise = self.levels(self.at)
        return signal * STD**2 / (signal**2 * STD**2 + noise**2)

    def clean(self, x, t):
        self.at = t
        return MEAN + self._gain() * (x - self.levels(t)[0] * MEAN)

    def velocity(self, x, t):
        clean = self.clean(x, t)
        signal, noise = self.levels(t)
        return clean - (x - signal * clean) / noise

    def noise(self, x, t):
        clean = self.clean(x, t)
        signal, noise = self.levels(t)
        return (x - signal * clean) / noise

    def tilt(self, step, clean):
        """The gradient of log E[exp(a x_1) | x_t]."""
        return torch.full_like(clean, SLOPE * self._gain())


def test_the_flow_is_moved_to_the_tilted_gaussian():
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    network = Gaussian(lambda t: (t, 1 - t))
    plain = FlowDenoising(200).run(network.velocity, lambda: start, unguided)
    # The flow of one Gaussian to another is affine.
    torch.testing.assert_close(plain, MEAN + STD * start, rtol=0, atol=1e-4)
    errors = [
        (FlowDenoising(steps).run(network.velocity, lambda: start, network.tilt) - (TILTED + STD * start)).abs().max()
        for steps in (25, 200)
    ]
    assert errors[0] < 0.01 and errors[1] < 2e-4


def test_diffusion_is_moved_to_the_tilted_gaussian():
    levels = NoiseSchedule("cosine", steps=50).alpha_bar[1:].tolist()
    network = Gaussian(lambda t: (math.sqrt(levels[int(t)]), math.sqrt(1 - levels[int(t)])))
    for guide, mean in ((unguided, MEAN), (network.tilt, TILTED)):
        random = torch.Generator().manual_seed(0)

        def draw(random=random):
            return torch.randn(20_000, generator=random, dtype=torch.float64)

        made = DiffusionDenoising().run(network.noise, draw, guide)
        # The error of the mean is 0.0035; that of 50 steps comes on top, whose noise is the smaller of two usual ones.
        assert made.mean().item() == pytest.approx(mean, abs=0.02)
        assert made.std().item() == pytest.approx(STD, abs=0.04)


def test_a_guide_is_asked_at_every_step_and_told_the_clean_prediction():
    seen = []

    def guide(step, clean):
        seen.append((step, clean))

    start = torch.tensor([0.3], dtype=torch.float64)
    network = Gaussian(lambda t: (t, 1 - t))
    FlowDenoising(3).run(network.velocity, lambda: start, guide)
    assert [step for step, _ in seen] == [0, 1, 1, 2, 2]
    x = start + network.velocity(start, 0.0) / 6
    torch.testing.assert_close(seen[0][1], network.clean(x, 1 / 6))


def test_numbers_of_steps_are_checked():
    assert (FlowDenoising(7).evaluations, DiffusionDenoising(10).evaluations) == (14, 10)
    with pytest.raises(ConfigError, match="steps=0"):
        FlowDenoising(0)
    with pytest.raises(ConfigError, match="steps=51: need 1 to 50"):
        DiffusionDenoising(51)
