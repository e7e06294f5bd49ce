"""The best of N motions: never worse than the first, the same in any batch, and with N = 1 nothing at all."""

from __future__ import annotations

import pytest
import torch

from lightning_realign.errors import ConfigError
from lightning_realign.generators.base import MaskedGenerator
from lightning_realign.guidance import BestOfN, MaskedSampler, RewardGuidedSampler
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.types import zero_padding
from tests.helpers.guided_toys import FEATURES, GaussianGenerator, normaliser_of, tiny_reward, toy_encoder

TEXTS = ("a person walks", "somebody jumps up", "a bow", "a person walks")
LENGTHS = torch.tensor([9, 16, 12, 5])
IDS = ("one", "two", "three", "four")


class ToyMasked:
    """A masked generator whose motions are independent noise."""

    skeleton = "humanml3d"
    evaluations = 7
    denoising_steps = 0
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self) -> None:
        self.normaliser = normaliser_of(FEATURES)
        self.drawn = 0

    def condition(self, texts):
        return None

    def generate(self, texts, lengths, noise, guide=None):
        self.drawn += 1
        rows = [torch.randn(length, FEATURES, generator=g) for length, g in zip(lengths.tolist(), noise, strict=True)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def reconstruct(self, features, lengths):
        return zero_padding(features, lengths)


class GivenReward:
    """Rewards by a table, one row for each call."""

    def __init__(self, *rows) -> None:
        self.rows = iter(rows)

    def score(self, features, lengths, captions):
        return torch.tensor(next(self.rows))


def reward() -> DualAlignmentReward:
    return DualAlignmentReward(tiny_reward(), toy_encoder)


def samplers():
    guided = RewardGuidedSampler(
        GaussianGenerator(),
        SamplingConfig(steps=5),
        guidance=GuidanceConfig(mu=2.0),
        reward=reward().to(dtype=torch.float64),
    )
    return {
        "masked": MaskedSampler(ToyMasked()),
        "plain": RewardGuidedSampler(GaussianGenerator(), SamplingConfig(steps=5)),
        "guided": guided,
    }


def scorer(name: str) -> DualAlignmentReward:
    return reward().to(dtype=torch.float32 if name == "masked" else torch.float64)


def test_the_toy_is_a_masked_generator_and_a_denoising_one_is_not():
    assert isinstance(ToyMasked(), MaskedGenerator)
    assert not isinstance(GaussianGenerator(), MaskedGenerator)


@pytest.mark.parametrize("replication", [0, 3])
@pytest.mark.parametrize("name", ["masked", "plain", "guided"])
def test_the_kept_motion_is_the_best_of_all_and_never_worse_than_the_first(name, replication):
    sampler, judge = samplers()[name], scorer(name)
    best = BestOfN(sampler, judge, 6).sample(TEXTS, LENGTHS, IDS, replication)
    first = sampler.sample(TEXTS, LENGTHS, IDS, replication)
    alone = judge.score(first.features, LENGTHS, TEXTS)
    kept = judge.score(best.motions.features, LENGTHS, TEXTS)
    assert best.rewards.shape == (4, 6)
    assert torch.equal(best.rewards[:, 0], alone)
    torch.testing.assert_close(kept, best.rewards.amax(dim=1))
    assert torch.equal(best.rewards.gather(1, best.chosen[:, None])[:, 0], best.rewards.amax(dim=1))
    assert (kept >= alone).all()
    # Of six independent motions, the first is the best of all four samples about once in a thousand times.
    assert (kept > alone).any()
    for row in (best.chosen == 0).nonzero()[:, 0].tolist():
        assert torch.equal(best.motions.features[row], first.features[row])


@pytest.mark.parametrize("name", ["masked", "plain", "guided"])
def test_one_candidate_is_the_sampler_bit_for_bit(name):
    sampler = samplers()[name]
    plain = sampler.sample(TEXTS, LENGTHS, IDS, 2)
    best = BestOfN(sampler, scorer(name), 1).sample(TEXTS, LENGTHS, IDS, 2)
    assert torch.equal(best.motions.features, plain.features)
    assert torch.equal(best.motions.rewards.nan_to_num(), plain.rewards.nan_to_num())
    assert torch.equal(best.motions.timesteps, plain.timesteps)
    assert not best.chosen.any()


@pytest.mark.parametrize("name", ["masked", "guided"])
def test_the_best_does_not_depend_on_the_batch(name):
    best_of = BestOfN(samplers()[name], scorer(name), 4)
    together = best_of.sample(TEXTS, LENGTHS, IDS)
    order = [2, 0, 3]
    shuffled = best_of.sample([TEXTS[i] for i in order], LENGTHS[order], [IDS[i] for i in order])
    for place, row in enumerate(order):
        length, alone = int(LENGTHS[row]), best_of.sample([TEXTS[row]], LENGTHS[row : row + 1], [IDS[row]])
        assert together.chosen[row] == shuffled.chosen[place] == alone.chosen[0]
        for other, at in ((shuffled, place), (alone, 0)):
            torch.testing.assert_close(
                together.motions.features[row, :length], other.motions.features[at, :length], rtol=1e-5, atol=1e-6
            )


def test_fewer_candidates_are_the_first_of_more():
    few, many = (BestOfN(MaskedSampler(ToyMasked()), reward(), n).sample(TEXTS, LENGTHS, IDS) for n in (3, 8))
    assert torch.equal(many.rewards[:, :3], few.rewards)
    assert many.rewards.unique().numel() == 32
    other = BestOfN(MaskedSampler(ToyMasked()), reward(), 3).sample(TEXTS, LENGTHS, IDS, replication=1)
    # No candidate of one replication is one of another's.
    assert not torch.isin(other.rewards, many.rewards).any()


def test_of_equal_rewards_the_first_wins_and_nan_never():
    nan = float("nan")
    rows = ([0.5, nan, nan, 0.1], [0.5, 0.2, nan, nan], [0.4, 0.2, nan, 0.3])
    sampler = MaskedSampler(ToyMasked())
    best = BestOfN(sampler, GivenReward(*rows), 3).sample(TEXTS, LENGTHS, IDS)
    assert best.chosen.tolist() == [0, 1, 0, 2]
    again = BestOfN(sampler, GivenReward(*rows[:1]), 1).sample(TEXTS, LENGTHS, IDS)
    for row in (0, 2):
        assert torch.equal(best.motions.features[row], again.motions.features[row])
    for row in (1, 3):
        assert not torch.equal(best.motions.features[row], again.motions.features[row])


def test_a_drawing_sampler_is_of_seed_id_and_replication():
    sampler = MaskedSampler(ToyMasked(), SamplingConfig(seed=5))
    first = sampler.sample(TEXTS, LENGTHS, IDS)
    assert first.timesteps.shape == (0,) and first.rewards.shape == (4, 0)
    assert torch.equal(first.features, sampler.sample(TEXTS, LENGTHS, IDS).features)
    for other in (
        sampler.sample(TEXTS, LENGTHS, IDS, replication=1),
        sampler.sample(TEXTS, LENGTHS, IDS[::-1]),
        MaskedSampler(ToyMasked(), SamplingConfig(seed=6)).sample(TEXTS, LENGTHS, IDS),
    ):
        assert (other.features[0, :9] - first.features[0, :9]).abs().max() > 0.01
    # Without ids a repeated prompt is a sample of its own.
    bare = sampler.sample(["a", "a"], torch.tensor([8, 8]))
    assert not torch.equal(bare.features[0], bare.features[1])


def test_bad_numbers_are_told():
    with pytest.raises(ConfigError, match="candidates is 0"):
        BestOfN(MaskedSampler(ToyMasked()), reward(), 0)
    with pytest.raises(ConfigError, match="2 texts, 4 lengths"):
        BestOfN(MaskedSampler(ToyMasked()), reward(), 2).sample(TEXTS[:2], LENGTHS)
