"""Weighted sums of rewards: the sum itself, normalisations, x^c, and members that cannot be combined."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.generators.base import convert_normalisation
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.motion import load_skeleton
from lightning_realign.rewards.physical import Jerkiness
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.rewards.weighted import WeightedRewards
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import zero_padding
from tests.helpers.guided_toys import (
    FEATURES,
    FunctionReward,
    GaussianGenerator,
    normaliser_of,
    tiny_reward,
    toy_encoder,
)

TEXTS, LENGTHS, IDS = ("a person walks", "a bow"), torch.tensor([9, 6]), ("one", "two")


class Given(FunctionReward):
    """A function of motions in statistics of its own."""

    def __init__(self, function, seed=None):
        super().__init__(function)
        self.normaliser = normaliser_of(FEATURES, seed)

    def score(self, features, lengths, captions):
        return self.function(zero_padding(self.normaliser.normalise(features), lengths), 1.0)


def learned(seed):
    return DualAlignmentReward(tiny_reward(seed), toy_encoder).to(dtype=torch.float64)


def motion(seed=0):
    random = torch.Generator().manual_seed(seed)
    return zero_padding(torch.randn(2, 9, FEATURES, generator=random, dtype=torch.float64), LENGTHS)


@pytest.mark.parametrize("alpha_bar", [1.0, 0.3])
def test_an_ensemble_of_learned_rewards_is_their_weighted_sum(alpha_bar):
    members, references = (learned(0), learned(1), learned(2)), torch.randn(2, 16, dtype=torch.float64)
    both = WeightedRewards(members, (0.5, 2.0, -1.0), reference=1)
    found = both.prepare(TEXTS, references, mu=3.0, eta=0.7)(motion(), LENGTHS, alpha_bar)
    parts = [
        member.prepare(TEXTS, references, mu=3.0, eta=eta)(motion(), LENGTHS, alpha_bar)
        for member, eta in zip(members, (0.0, 0.7, 0.0), strict=True)
    ]
    torch.testing.assert_close(found, 0.5 * parts[0] + 2.0 * parts[1] - parts[2])
    scores = [member.score(motion(), LENGTHS, TEXTS) for member in members]
    torch.testing.assert_close(both.score(motion(), LENGTHS, TEXTS), 0.5 * scores[0] + 2.0 * scores[1] - scores[2])


def test_no_weights_are_the_mean_and_one_member_is_itself():
    one, other = learned(0), learned(1)
    mean = WeightedRewards([one, other]).score(motion(), LENGTHS, TEXTS)
    expected = (one.score(motion(), LENGTHS, TEXTS) + other.score(motion(), LENGTHS, TEXTS)) / 2
    torch.testing.assert_close(mean, expected)
    config = GuidanceConfig(mu=2.0)
    runs = [
        RewardGuidedSampler(GaussianGenerator(), SamplingConfig(steps=5), guidance=config, reward=reward)
        .sample(TEXTS, LENGTHS, IDS)
        .features
        for reward in (one, WeightedRewards([one], [1.0]))
    ]
    assert torch.equal(*runs)


def test_members_read_clean_motions_in_their_own_normalisation():
    first, second = Given(lambda x, _: x.square().sum((1, 2)), 1), Given(lambda x, _: x.pow(3).sum((1, 2)), 2)
    both = WeightedRewards([first, second], [1.0, 0.5])
    assert both.normaliser is first.normaliser
    features = motion()
    seen = zero_padding(first.normaliser.normalise(features), LENGTHS)
    found = both.prepare(TEXTS, None, mu=1.0, eta=0.0)(seen, LENGTHS, 1.0)
    expected = first.score(features, LENGTHS, TEXTS) + 0.5 * second.score(features, LENGTHS, TEXTS)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(both.score(features, LENGTHS, TEXTS), expected)


def test_noisy_motions_are_converted_only_where_noise_keeps_its_level():
    first, second = Given(lambda x, _: x.sum((1, 2)), 1), Given(lambda x, _: x.square().sum((1, 2)), 2)
    both = WeightedRewards([first, second])
    with pytest.raises(ConfigError, match=r"member 1 reads another scale than member 0.*use location x0"):
        both.prepare(TEXTS, None, mu=1.0, eta=0.0)(motion(), LENGTHS, 0.5)
    second.normaliser.set(torch.arange(FEATURES), 1.05 * first.normaliser.std)
    found = both.prepare(TEXTS, None, mu=1.0, eta=0.0)(motion(), LENGTHS, 0.5)
    converted = zero_padding(convert_normalisation(motion(), 0.5, first.normaliser, second.normaliser), LENGTHS)
    torch.testing.assert_close(found, (motion().sum((1, 2)) + converted.square().sum((1, 2))) / 2)


def latent_reading(fingerprint):
    reward = Given(lambda x, _: x.sum((1, 2)))
    reward.latents = SimpleNamespace(fingerprint=lambda: fingerprint, statistics=normaliser_of(FEATURES))
    return reward


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (lambda: [learned(0), latent_reading("abc")], "member 1 reads latents of the VAE abc, member 0 reads motions"),
        (lambda: [latent_reading("abc"), latent_reading("def")], "reads latents of the VAE def"),
        (
            lambda: [learned(0), Jerkiness(load_skeleton("kit"))],
            "member 1 is for skeleton 'kit', member 0 has 'humanml3d'",
        ),
    ],
)
def test_members_that_cannot_be_combined(members, message):
    with pytest.raises(FeatureSpecError, match=message):
        WeightedRewards(members())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "there is none"),
        (([learned(0)], [1.0, 2.0]), "for 1 rewards"),
        (([learned(0)], [float("nan")]), "nan"),
        (([learned(0)], None, 1), "reference=1"),
    ],
)
def test_settings_that_do_not_fit(arguments, message):
    with pytest.raises(ConfigError, match=message):
        WeightedRewards(*arguments)


def test_latent_members_are_read_as_they_are():
    both = WeightedRewards([latent_reading("abc"), latent_reading("abc")], [1.0, 2.0])
    assert both.latents.fingerprint() == "abc"
    found = both.prepare(TEXTS, None, mu=1.0, eta=0.0)(motion(), LENGTHS, 0.2)
    torch.testing.assert_close(found, 3 * motion().sum((1, 2)))
