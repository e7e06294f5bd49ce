"""Physical rewards against the metrics they are made of, their gradients, and guidance by them."""

from __future__ import annotations

import pytest
import torch

from lightning_realign.errors import ConfigError
from lightning_realign.guidance import BestOfN, ParticleSteering, RewardGuidedSampler
from lightning_realign.metrics.functional.physical import foot_skating_ratio, ground_penetration, jerk
from lightning_realign.motion import Normaliser, load_skeleton, recover_joints
from lightning_realign.rewards.physical import FootSkating, Jerkiness, JointReward, Penetration
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import ParticleConfig
from tests.helpers.guided_toys import GaussianGenerator

HUMAN, KIT = load_skeleton("humanml3d"), load_skeleton("kit")
REWARDS = (FootSkating, Jerkiness, Penetration)
TEXTS, IDS = ("a", "b"), ("one", "two")


class Human(GaussianGenerator):
    """Independent features of HumanML3D."""

    def __init__(self):
        super().__init__(mean=0.0, std=0.3)
        self.normaliser = Normaliser(HUMAN.num_features)

    def noise_shape(self, length):
        return (length, HUMAN.num_features)


def motions(skeleton=HUMAN, seed=0, frames=(12, 9)):
    random = torch.Generator().manual_seed(seed)
    unit = 1000.0 if skeleton.unit == "millimetre" else 1.0
    features = 0.1 * torch.randn(2, max(frames), skeleton.num_features, generator=random, dtype=torch.float64)
    features[..., 4 : 4 + 3 * (skeleton.num_joints - 1)] *= unit
    features[..., 1:4] *= unit
    return features, torch.tensor(frames)


def standing(height, speed, frames=10):
    """All joints at one height, in metres; the toes slide at `speed` metres per second."""
    joints = torch.full((1, frames, HUMAN.num_joints, 3), 0.0, dtype=torch.float64)
    joints[..., 1] = height
    for toe in (HUMAN.feet_left[1], HUMAN.feet_right[1]):
        joints[:, :, toe, 0] = speed * torch.arange(frames) / HUMAN.fps
    return joints, torch.tensor([frames])


@pytest.mark.parametrize("skeleton", [HUMAN, KIT])
@pytest.mark.parametrize(("kind", "metric"), [(Jerkiness, jerk), (Penetration, ground_penetration)])
def test_what_does_not_count_is_the_metric_itself(kind, metric, skeleton):
    features, lengths = motions(skeleton)
    found = kind(skeleton).score(features, lengths, TEXTS)
    rows = [metric(recover_joints(row[:n], skeleton), skeleton) for row, n in zip(features, lengths, strict=True)]
    torch.testing.assert_close(found, -torch.stack(rows))
    assert (found < 0).all()


def test_skating_is_the_speed_of_toes_on_the_ground():
    reward = FootSkating(HUMAN)
    assert reward.of_joints(*standing(0.0, 0.0)).item() == 0.0
    assert reward.of_joints(*standing(0.3, 2.0)).item() == pytest.approx(0.0, abs=1e-9)
    assert reward.of_joints(*standing(0.0, 2.0)).item() == pytest.approx(-2.0, rel=0.02)
    assert reward.of_joints(*standing(0.05, 2.0)).item() == pytest.approx(-0.5, rel=1e-6)
    sharp = FootSkating(HUMAN, softness=1e-4)
    assert sharp.of_joints(*standing(0.049, 2.0)).item() == pytest.approx(-2.0, rel=1e-3)
    assert foot_skating_ratio(standing(0.049, 2.0)[0], HUMAN).item() == 1.0


@pytest.mark.parametrize("kind", REWARDS)
def test_padding_never_counts_and_gradients_are_exact(kind):
    features, lengths = motions()
    reward = kind(HUMAN)
    dirty = features.clone()
    dirty[1, 9:] = 7.0
    clean = features.clone()
    clean[1, 9:] = 0.0
    torch.testing.assert_close(reward.score(dirty, lengths, TEXTS), reward.score(clean, lengths, TEXTS))
    alone = reward.score(features[1:, :9], lengths[1:], TEXTS[1:])
    torch.testing.assert_close(reward.score(clean, lengths, TEXTS)[1:], alone)
    leaf = clean.clone().requires_grad_(True)
    value = reward.score(leaf, lengths, TEXTS)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    direction = torch.randn(clean.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ahead, behind = (reward.score(clean + s * 1e-6 * direction, lengths, TEXTS).sum() for s in (1, -1))
    assert (gradient * direction).sum().item() == pytest.approx(((ahead - behind) / 2e-6).item(), rel=1e-4)
    assert (gradient[1, 9:] == 0).all()


@pytest.mark.parametrize("kind", REWARDS)
def test_motions_too_short_and_still_ones_are_finite(kind):
    leaf = torch.zeros(2, 3, HUMAN.num_features, requires_grad=True)
    value = kind(HUMAN).score(leaf, torch.tensor([1, 3]), TEXTS)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("location", ["x0", "x0_through"])
@pytest.mark.parametrize(("kind", "mu"), [(FootSkating, 0.3), (Jerkiness, 0.0005), (Penetration, 20.0)])
def test_guidance_raises_them(kind, mu, location):
    texts, lengths, ids = ["a"] * 4, torch.tensor([12, 9, 10, 8]), list("abcd")
    reward, config = kind(HUMAN), GuidanceConfig(mu=mu, location=location)
    samplers = (
        RewardGuidedSampler(Human(), SamplingConfig(steps=20)),
        RewardGuidedSampler(Human(), SamplingConfig(steps=20), guidance=config, reward=reward),
    )
    before, after = (reward.score(sampler.sample(texts, lengths, ids).features, lengths, texts) for sampler in samplers)
    assert (after > before).all()
    assert after.mean() > 0.95 * before.mean()


@pytest.mark.parametrize("location", ["x_t", "x_prev"])
def test_noisy_motions_are_refused(location):
    config = GuidanceConfig(mu=1.0, location=location)
    sampler = RewardGuidedSampler(Human(), SamplingConfig(steps=5), guidance=config, reward=Jerkiness(HUMAN))
    with pytest.raises(ConfigError, match=r"Jerkiness reads clean motions.*use location x0 or x0_through"):
        sampler.sample(TEXTS, torch.tensor([5, 4]), IDS)


def test_softness_must_be_positive():
    with pytest.raises(ConfigError, match="softness=0"):
        FootSkating(HUMAN, 0.0)


class Crouch(JointReward):
    """Minus the height of the root: what a reward of one's own takes."""

    def of_joints(self, joints, lengths):
        inside = torch.arange(joints.shape[1])[None] < lengths[:, None]
        return -(joints[:, :, 0, 1] * inside).sum(dim=1) / lengths


def test_a_reward_of_ones_own_guides_ranks_and_steers():
    reward, lengths = Crouch(HUMAN), torch.tensor([6, 4])
    plain = RewardGuidedSampler(Human(), SamplingConfig(steps=10, scheduler="ddpm"))
    before = plain.sample(TEXTS, lengths, IDS).features
    best = BestOfN(plain, reward, 4).sample(TEXTS, lengths, IDS).motions.features
    steered = ParticleSteering(plain, reward, ParticleConfig(4, temperature=0.05)).sample(TEXTS, lengths, IDS).features
    config = GuidanceConfig(mu=30.0, location="x0")
    guided = (
        RewardGuidedSampler(Human(), SamplingConfig(steps=10), guidance=config, reward=reward)
        .sample(TEXTS, lengths, IDS)
        .features
    )
    scores = [reward.score(features, lengths, TEXTS).mean().item() for features in (before, best, steered, guided)]
    assert min(scores[1:]) > scores[0] + 0.02
