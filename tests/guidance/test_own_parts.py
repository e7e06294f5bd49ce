"""Scales and locations of one's own, named by their path; nothing of the sampler knows them."""

from __future__ import annotations

import pytest
import torch

from lightning_realign import GuidanceConfig, RewardGuidedSampler, SamplingConfig
from lightning_realign.errors import ConfigError
from lightning_realign.guidance.locations import Location
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.guidance.scales import Scale, parts_of
from tests.helpers.guided_toys import FunctionReward, GaussianGenerator

TEXTS, LENGTHS, IDS = ("a", "b"), torch.tensor([2, 3]), ("one", "two")


class HalfConstant(Scale):
    """x_{t-1} <- step + g / 2."""

    def guide(self, step, gradient):
        return step.unguided.prev + gradient / 2


class LateState(Location):
    """x_t, written anew."""

    def place(self, steps, index, evaluation, unguided):
        return evaluation.x, steps.alpha_bar[index]


def states(mu, scale, location):
    reward = FunctionReward(lambda x, level: (1 + level) * x.square().sum((1, 2)))
    guidance = GuidanceConfig(mu=mu, scale=scale, location=location)
    sampler = RewardGuidedSampler(GaussianGenerator(), SamplingConfig(steps=6), guidance, reward)
    return sampler.sample_states(Prompts(TEXTS, LENGTHS, IDS)).states


def test_own_parts_guide():
    found = states(0.1, f"{__name__}.HalfConstant", f"{__name__}.LateState")
    torch.testing.assert_close(found, states(0.05, "constant", "x_t"), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": "linear"}, "scale='linear' is unknown; use one of score, posterior, constant, moment, or the path"),
        ({"scale": "nowhere.Scale"}, r"scale='nowhere.Scale' cannot be imported \(No module named 'nowhere'\)"),
        ({"location": f"{__name__}.Missing"}, "has no attribute 'Missing'"),
    ],
)
def test_parts_that_are_not_there(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parts_of(GuidanceConfig(**settings))
    assert "\n" not in str(caught.value)
