"""Sums of rewards from a configuration: ensembles of learned ones, and physical ones beside them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_realign.checkpoints.diffusion import load_diffusion
from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.checkpoints.reward import reward_spec
from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import CheckpointError, ConfigError, FeatureSpecError
from lightning_realign.inference.rewards import load_members, run_rewards
from lightning_realign.models import RewardSpace, StepAwareRewardModel
from lightning_realign.motion import Normaliser, load_skeleton
from lightning_realign.rewards.physical import FootSkating, Jerkiness
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.search import ParticleConfig
from lightning_realign.settings.sources import JudgeSource, RewardSource
from lightning_realign.types import zero_padding
from tests.helpers.settings import generation, pipeline_of
from tests.helpers.tiny_models import ENCODER, TEXT_SIZE, dataset_normaliser, write_reward
from tests.inference.test_generation import TEST_IDS, make_trainer, predict, run_test

TEXTS, IDS, LENGTHS = ("a person walks", "somebody jumps"), ("one", "two"), torch.tensor([24, 16])
HUMAN = load_skeleton("humanml3d")


@pytest.fixture(scope="module")
def others(_bench, tmp_path_factory) -> list[str]:
    """Further rewards of the bench, other networks."""
    folder = tmp_path_factory.mktemp("others")
    normaliser = dataset_normaliser(_bench.data, "humanml3d")
    return [str(write_reward(folder / f"{seed}.ckpt", normaliser, seed=seed)) for seed in (5, 6)]


def pipeline(bench, guidance=None, reward="", **options):
    settings = {"steps": 4, "cfg_scale": 2.0, "scheduler": "ddpm", **options}
    return pipeline_of(bench.generator, bench.reward if reward == "" else reward, guidance, **settings)


def motions(made):
    return made.sample(TEXTS, LENGTHS, IDS).features


def random_motion():
    return zero_padding(torch.randn(2, 24, HUMAN.num_features, generator=torch.Generator().manual_seed(3)), LENGTHS)


@pytest.mark.parametrize("location", ["x_t", "x0"])
def test_a_reward_twice_is_the_reward_once(bench, tmp_path, location):
    """With mu and eta: both mean what they mean without the ensemble."""
    once = predict(bench, tmp_path / "once", location=location)
    twice = predict(bench, tmp_path / "twice", location=location, ensemble=[bench.reward])
    for sample in TEST_IDS:
        for field in ("features", "rewards"):
            np.testing.assert_allclose(twice[sample][field], once[sample][field], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"candidates": 3}, {"particles": ParticleConfig(3, temperature=0.1)}], ids=["candidates", "particles"]
)
def test_a_reward_twice_ranks_and_weighs_as_once(bench, options):
    guidance = GuidanceConfig(mu=2.0, location="x0", stop=0.25)
    once, twice = (motions(pipeline(bench, guidance, ensemble=more, **options)) for more in ((), [bench.reward]))
    torch.testing.assert_close(once, twice, rtol=1e-6, atol=1e-6)


def test_an_ensemble_guides_by_the_mean(bench, others):
    guidance = GuidanceConfig(mu=3.0, eta=2.0)
    built = pipeline(bench, guidance, ensemble=others).rewards
    guiding = built.guiding(guidance)
    seen = guiding.normaliser.normalise(random_motion())
    references = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    found = guiding.prepare(TEXTS, references, mu=3.0, eta=2.0)(seen, LENGTHS, 0.4)
    text = [one.prepare(TEXTS, mu=3.0, eta=0.0)(seen, LENGTHS, 0.4) for one in built.members]
    towards = built.members[0].prepare(TEXTS, references, mu=0.0, eta=2.0)(seen, LENGTHS, 0.4)
    assert len(built.members) == 3 and not torch.allclose(text[0], text[1])
    torch.testing.assert_close(found, sum(text) / 3 + towards)


def test_an_ensemble_ranks_candidates_by_the_mean(bench, others):
    plain = pipeline(bench, None)
    drawn = [plain.sample(TEXTS, LENGTHS, IDS, number * 2**32).features for number in range(6)]
    kept = motions(pipeline(bench, None, ensemble=others, candidates=6))
    scorers = [pipeline(bench, None, path).clean_reward for path in (bench.reward, *others)]
    table = torch.stack([torch.stack([score(one, LENGTHS, TEXTS) for one in drawn]) for score in scorers])
    chosen = table.mean(dim=0).argmax(dim=0)
    assert chosen.tolist() != table[0].argmax(dim=0).tolist()
    for row, number in enumerate(chosen.tolist()):
        torch.testing.assert_close(kept[row], drawn[number][row])


def test_the_figure_is_that_of_the_first_reward(bench, others):
    features = random_motion()
    alone, many = (pipeline(bench, None, ensemble=more) for more in ((), others))
    expected = alone.clean_reward(features, LENGTHS, TEXTS)
    torch.testing.assert_close(many.clean_reward(features, LENGTHS, TEXTS), expected, rtol=0, atol=0)


def test_weights_of_zero_are_no_rewards(bench, tmp_path):
    without = predict(bench, tmp_path / "without")
    zero = predict(bench, tmp_path / "zero", physical={"jerk": 0.0, "foot_skating": 0.0})
    for sample in TEST_IDS:
        np.testing.assert_array_equal(zero[sample]["features"], without[sample]["features"])
    assert not GuidanceConfig(physical={"jerk": 0.0}).filled().active


@pytest.mark.parametrize("mu", [0.0, 3.0])
def test_physical_weights_do_not_depend_on_mu(bench, others, mu):
    weights = {"foot_skating": 0.7, "jerk": 1e-4}
    guidance = GuidanceConfig(mu=mu, location="x0", physical=weights)
    source = RewardSource(bench.reward, ensemble=[others[0]])
    built = run_rewards(source, load_members(source), HUMAN)
    guiding = built.guiding(guidance)
    features = random_motion()
    seen = zero_padding(guiding.normaliser.normalise(features), LENGTHS)
    found = guiding.prepare(TEXTS, None, mu=mu, eta=0.0)(seen, LENGTHS, 1.0)
    learned = mu * built.learned.score(features, LENGTHS, TEXTS)
    physical = [kind(HUMAN).score(features, LENGTHS, TEXTS) for kind in (FootSkating, Jerkiness)]
    torch.testing.assert_close(found, learned + 0.7 * physical[0] + 1e-4 * physical[1], rtol=1e-4, atol=1e-4)


def skating(made):
    features = motions(made)
    return FootSkating(HUMAN, softness=0.05).score(features, LENGTHS, TEXTS)


@pytest.mark.parametrize("location", ["x0", "x0_through"])
@pytest.mark.parametrize("mu", [0.0, 2.0])
def test_physical_guidance_lowers_skating(bench, grounded, location, mu):
    """On a latent generator, whose motions it reads decoded; without a learned reward, and beside one."""
    plain = GuidanceConfig(mu=mu, location=location)
    guided = GuidanceConfig(mu=mu, location=location, physical={"foot_skating": 20.0})
    reward = bench.reward if mu else None
    before, after = (skating(pipeline(grounded, guidance, reward)) for guidance in (plain, guided))
    assert (after > before).all()
    assert after.mean() > 0.9 * before.mean()


@pytest.fixture
def grounded(bench, tmp_path):
    """The bench's generator, its mean motion one that slides with the toes on the ground."""
    content = torch.load(bench.generator, weights_only=True)
    mean = content["state_dict"]["normaliser.mean"]
    mean[0], mean[1:3], mean[3] = 0.0, 0.05, 0.02
    mean[4 : 4 + 3 * (HUMAN.num_joints - 1)] = 0.02
    path = tmp_path / "grounded.ckpt"
    torch.save(content, path)
    return type(bench)(bench.data, str(path), bench.reward, bench.cache)


def test_a_run_that_is_physical_only_is_guided(bench, tmp_path):
    few = {"replications": 1, "multimodality_captions": 0, "steps": 3, "cfg_scale": 1.0}
    model = generation(bench.generator, location="x0", physical={"jerk": 1e-3}, **few)
    make_trainer(tmp_path).test(model, datamodule=HumanML3DDataModule(bench.data), verbose=False)
    table = json.loads((tmp_path / "table-test.json").read_text())
    rows, settings = table["systems"], table["settings"]
    assert rows["guided"]["jerk"]["mean"] < rows["unguided"]["jerk"]["mean"]
    assert "reward" not in rows["guided"] and settings["guided"]
    assert settings["guidance"]["physical"] == {"jerk": 1e-3} and settings["shared_with_reward"] == {}
    with pytest.raises(ConfigError, match="inference_mode"):
        make_trainer(tmp_path, inference_mode=True).test(model, datamodule=HumanML3DDataModule(bench.data))


def test_receipts_list_every_reward(bench, others, tmp_path):
    judges = {"second": JudgeSource("tmr", others[1])}
    table = run_test(bench, tmp_path, ensemble=others, judges=judges, replications=1, multimodality_captions=0)
    settings = table["settings"]
    files = settings["provenance"]["files"]
    for role, path in {"reward": bench.reward, "ensemble.0": others[0], "ensemble.1": others[1]}.items():
        assert files[role] == {"path": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    assert settings["reward"]["ensemble"] == others
    assert settings["shared_with_reward"] == {"second": ["weights", "architecture", "training data"]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"physical": {"skating": 1.0}}, r"physical='skating' is unknown; use one of foot_skating, jerk, penetration"),
        ({"physical": {"jerk": float("nan")}}, r"physical\.jerk=nan is not finite"),
        ({"physical": {"jerk": 1.0}}, r"location='x_t': physical rewards read clean motions; use location x0"),
        ({"physical": {"jerk": 1.0}, "location": "x_prev"}, r"location='x_prev'"),
        ({"ensemble": ["a.ckpt"]}, r"reward path is not set, but ensemble is \['a.ckpt'\]"),
        ({"physical": {"jerk": 1.0}, "location": "x0", "mu": 1.0}, "reward path is not set, but mu=1.0"),
        ({"physical": {"jerk": 1.0}, "location": "x0", "candidates": 2}, "reward path is not set, but candidates is 2"),
    ],
)
def test_settings_are_refused_before_anything_is_read(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        generation("missing.ckpt", **settings)
    assert "\n" not in str(caught.value)


def test_rewards_that_cannot_be_added_up(bench, tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.ckpt"):
        pipeline(bench, GuidanceConfig(mu=1.0), ensemble=[str(tmp_path / "nowhere.ckpt")])
    kit = str(write_reward(tmp_path / "kit.ckpt", Normaliser(load_skeleton("kit").num_features), "kit"))
    with pytest.raises(FeatureSpecError, match=r"kit\.ckpt: reward model is for skeleton 'kit', the generator has"):
        pipeline(bench, GuidanceConfig(mu=1.0), ensemble=[kit])


def latent_reward(bench, path: Path) -> str:
    """A reward that reads the latents of the bench's generator."""
    bundle = load_diffusion(bench.generator)
    torch.manual_seed(0)
    space = RewardSpace("latent", bundle.normaliser, bundle.latents)
    network = StepAwareRewardModel(space.num_features, TEXT_SIZE, width=32, layers=3, heads=2, feedforward=48)
    names = {"skeleton": "humanml3d", "text_encoder": ENCODER, "fingerprint": "tiny"}
    spec = reward_spec(network, space, bundle.schedule, **names, omega=0.5, t_min=1, t_max=1000)
    parts = {"network": network, "normaliser": bundle.normaliser, "latents": bundle.latents}
    state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    torch.save({"state_dict": state, SPEC_KEY: spec}, path)
    return str(path)


def test_latent_rewards_among_others(bench, tmp_path):
    latent = latent_reward(bench, tmp_path / "latent.ckpt")
    with pytest.raises(FeatureSpecError, match="member 1 reads motions, member 0 reads latents of the VAE"):
        pipeline(bench, GuidanceConfig(mu=1.0), latent, ensemble=[bench.reward])
    # A reward that does not guide is no part of the sum.
    physical = {"mu": 0.0, "location": "x0", "physical": {"jerk": 1e-3}}
    alone, beside = (motions(pipeline(bench, GuidanceConfig(**physical), reward)) for reward in (None, latent))
    assert torch.equal(alone, beside)
    once, twice = (motions(pipeline(bench, GuidanceConfig(mu=2.0), latent, ensemble=more)) for more in ((), [latent]))
    torch.testing.assert_close(once, twice, rtol=1e-6, atol=1e-6)


def test_physical_rewards_join_a_latent_one(bench, tmp_path):
    """Each counts in full: the sum's reward of clean latents is the learned one's plus that of the decoded motion."""
    latent = latent_reward(bench, tmp_path / "latent.ckpt")
    guidance = GuidanceConfig(mu=2.0, location="x0", physical={"foot_skating": 0.7, "jerk": 1e-3})
    source = RewardSource(latent)
    built = run_rewards(source, load_members(source), HUMAN)
    guiding = built.guiding(guidance)
    space = built.learned.latents
    states = torch.randn(2, *space.shape, generator=torch.Generator().manual_seed(1))
    decoded = built.learned.normaliser.denormalise(space.decode(states, LENGTHS, 24))
    features = zero_padding(decoded, LENGTHS)
    found = guiding.prepare(TEXTS, None, mu=2.0, eta=0.0)(states, LENGTHS, 1.0)
    learned = built.learned.prepare(TEXTS, mu=2.0, eta=0.0)(states, LENGTHS, 1.0)
    skating, jerk = (kind(HUMAN).score(features, LENGTHS, TEXTS) for kind in (FootSkating, Jerkiness))
    torch.testing.assert_close(found, learned + 0.7 * skating + 1e-3 * jerk, rtol=1e-4, atol=1e-4)
    smooth = GuidanceConfig(mu=2.0, location="x0", physical={"jerk": 1e-3})
    before, after = (motions(pipeline(bench, one, latent)) for one in (GuidanceConfig(mu=2.0, location="x0"), smooth))
    scores = [Jerkiness(HUMAN).score(made, LENGTHS, TEXTS) for made in (before, after)]
    assert (scores[1] > scores[0]).all()
