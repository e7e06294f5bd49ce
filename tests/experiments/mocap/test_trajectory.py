"""The trajectory is the sampler's own, and its metrics are those of its predicted motions."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from experiments.mocap.measure import steps, trajectory
from experiments.mocap.report.trajectory_report import Place, Trajectories, write_report
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.paired import Side, differences
from lightning_realign.evaluation.record import Embeddings, Record
from lightning_realign.generators import LoadOptions, Recipe
from lightning_realign.generators.latent import LatentDiffusionGenerator
from lightning_realign.guidance import RewardGuidedSampler
from lightning_realign.guidance.prompts import Prompts
from lightning_realign.metrics.functional.physical import foot_height
from lightning_realign.motion import load_skeleton, recover_joints
from lightning_realign.rewards.compatibility import state_reward
from lightning_realign.rewards.reward import DualAlignmentReward
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import TravelConfig
from lightning_realign.types import zero_padding
from tests.helpers.guided_toys import FunctionReward, GaussianGenerator, tiny_diffusion, tiny_reward, toy_encoder
from tests.helpers.support import write_tiny_dataset
from tests.helpers.tiny_models import dataset_normaliser, use_hashed_text, write_generator, write_reward

TEXTS, IDS, LENGTHS = ("walk on", "a person jumps up"), ("one", "two"), torch.tensor([12, 17])


def towards_one():
    return FunctionReward(lambda motion, level: -(motion - 1).square().sum(dim=(1, 2)))


def latent_sampler(config, scheduler, count, travel):
    generator = LatentDiffusionGenerator(
        tiny_diffusion(), Recipe(scheduler, count, 2.5), LoadOptions(encode=toy_encoder)
    )
    return RewardGuidedSampler(
        generator,
        SamplingConfig(steps=count, scheduler=scheduler),
        guidance=config,
        reward=DualAlignmentReward(tiny_reward(), toy_encoder),
        travel=travel,
    )


def motion_sampler(config, scheduler, count, travel):
    return RewardGuidedSampler(
        GaussianGenerator(),
        SamplingConfig(steps=count, scheduler=scheduler),
        guidance=config,
        reward=towards_one(),
        travel=travel,
    )


@pytest.mark.parametrize("make", [latent_sampler, motion_sampler])
@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
@pytest.mark.parametrize(
    ("config", "travel"),
    [
        (GuidanceConfig(), None),
        (GuidanceConfig(0.3, scale="constant", location="x0"), None),
        (GuidanceConfig(0.3, location="x0_through", start=0.7), TravelConfig(times=1)),
    ],
)
def test_what_is_followed_ends_as_what_is_sampled(make, scheduler, config, travel):
    sampler, seen = make(config, scheduler, 6, travel), []
    states = steps.follow(sampler, Prompts(TEXTS, LENGTHS, IDS, 2), lambda *see: seen.append(see))
    sampled = sampler.sample(TEXTS, LENGTHS, IDS, 2)
    assert torch.equal(sampler.generator.features(states, LENGTHS), sampled.features)
    assert [index for index, *_ in seen] == list(range(7))
    assert torch.equal(seen[0][1], sampler.noise(Prompts(TEXTS, LENGTHS, IDS, 2)).draw())
    assert all(torch.equal(seen[-1][place], states) for place in (1, 2))
    if not config.filled().active and scheduler == "ddpm":  # its last step is to the predicted state
        torch.testing.assert_close(seen[-2][2], states)


def test_what_is_predicted_is_the_posterior_mean():
    sampler, seen = motion_sampler(GuidanceConfig(), "ddim", 8, None), []
    steps.follow(sampler, Prompts(TEXTS, LENGTHS, IDS), lambda *see: seen.append(see))
    places = steps.places_of(sampler)
    assert [place.timestep for place in places] == [*sampler.steps.timesteps, None]
    for (_, x, predicted), place in zip(seen[:-1], places, strict=False):
        torch.testing.assert_close(
            predicted, sampler.generator.posterior_mean(x, place.alpha_bar), rtol=1e-5, atol=1e-5
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trajectory")
    data = write_tiny_dataset(folder / "data", train=6, val=34, test=4)
    normaliser = dataset_normaliser(data, "humanml3d")
    return {
        "data": str(data),
        "generator": str(write_generator(folder / "generator.ckpt", normaliser)),
        "reward": str(write_reward(folder / "reward.ckpt", normaliser)),
        "judge": str(write_reward(folder / "judge.ckpt", normaliser, seed=4)),
        "cache": folder / "cache",
    }


@pytest.fixture
def command(files, monkeypatch, tmp_path):
    use_hashed_text(monkeypatch, files["cache"])

    def build(out="out", **changes):
        options = {
            **{name: files[name] for name in ("data", "generator", "reward")},
            "judges": f"tmr:{files['judge']}",
            **{"mu": "3", "steps": "3", "replications": "2", "out": str(tmp_path / out), **changes},
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    return build


def test_the_command_writes_what_it_measured(command, tmp_path, capsys):
    trajectory.main(command())
    written = json.loads((tmp_path / "out" / "trajectory.json").read_text())
    with (tmp_path / "out" / "trajectory.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert (tmp_path / "out" / "trajectory.png").read_bytes().startswith(b"\x89PNG")
    assert written["settings"]["samples"] == 34 and written["settings"]["mu"] == 3.0
    assert set(written["settings"]["provenance"]["files"]) == {"generator", "reward", "tmr"}
    assert [step["timestep"] for step in written["steps"]][-1] is None and len(written["steps"]) == 4
    for line in lines:
        found = written["steps"][int(line["step"])]["systems"][line["system"]][line["metric"]]
        assert [float(line[name]) for name in ("mean", "low", "high")] == [found["mean"], found["low"], found["high"]]
    first = written["steps"][0]["systems"]
    assert first["guided - unguided"]["reward"]["mean"] == 0  # from the same noise, before any guidance
    assert {"tmr/R@1", "tmr/R@1_caption", "tmr/MM-Dist"} <= first["guided"].keys()
    real = [step["systems"]["real"] for step in written["steps"]]
    assert len({figures["reward"]["mean"] for figures in real}) == 1
    assert len({figures["reward_at_level"]["mean"] for figures in real}) == 4
    assert "guided - unguided" in capsys.readouterr().out


def test_every_metric_is_of_the_predicted_motions(command, monkeypatch):
    """Recomputed from the states themselves, in one batch; as random networks' feet do not skate, by their height."""
    monkeypatch.setattr(steps, "foot_skating_ratio", foot_height)
    found = trajectory.run(trajectory.parse(command(batch="17")))
    options = trajectory.parse(command())
    data = trajectory.OwnDataModule(options.data, batch_size=34)
    data.setup("validate")
    (batch,) = list(data.val_dataloader())
    generator = trajectory.load_generator(options.generator, sampling=SamplingConfig(steps=3, cfg_scale=2.5))
    reward = DualAlignmentReward(trajectory.read_reward(options.reward))
    config = GuidanceConfig(3.0, scale="constant", location="x0")
    sampler = RewardGuidedSampler(generator, guidance=config, reward=reward)
    seen, skeleton = [], load_skeleton("humanml3d")
    steps.follow(sampler, Prompts(batch.captions, batch.lengths, batch.ids, 1), lambda *see: seen.append(see))
    order = [batch.ids.index(sample) for sample in found.record.ids]
    at_level = state_reward(generator, reward, reward.prepare(batch.captions, mu=1.0, eta=0.0), batch.lengths)
    real = generator.latents.states(
        zero_padding(generator.normaliser.normalise(batch.motion), batch.lengths), batch.lengths
    )
    for index, x, predicted in seen:
        level = found.places[index].alpha_bar
        noisy = level**0.5 * real + (1 - level) ** 0.5 * seen[0][1]
        torch.testing.assert_close(
            found.record.metrics[f"unguided_{index}"]["real_at_level"][1],
            at_level(noisy, level).detach()[order].double(),
            rtol=1e-4,
            atol=1e-4,
        )
        figures = found.record.metrics[f"guided_{index}"]
        features = generator.features(predicted, batch.lengths).detach()
        expected = {
            "reward": reward.score(features, batch.lengths, batch.captions)[order],
            "reward_at_level": at_level(x, level).detach()[order],
        }
        for name, values in expected.items():
            torch.testing.assert_close(figures[name][1], values.double(), rtol=1e-4, atol=1e-4)
        joints = [recover_joints(features[row, : batch.lengths[row]], skeleton) for row in order]
        heights = torch.stack([foot_height(each, skeleton) for each in joints])
        assert heights.std() > 0
        torch.testing.assert_close(figures["foot_skating"][1], heights, rtol=1e-4, atol=1e-4)


def along_the_way(gains, count=64):
    """Two replications of motions that resemble their captions the more, the larger the gain of kind and step."""
    random = torch.Generator().manual_seed(0)
    text = torch.randn(1, count, 6, generator=random)
    noise = torch.randn(2, count, 6, generator=random)
    rows = {
        f"{kind}_{step}": text + (1 - gain) * noise for kind, steps in gains.items() for step, gain in enumerate(steps)
    }
    rewards = {row: {"reward": -(motion - text).double().norm(dim=-1)} for row, motion in rows.items()}
    for figures in rewards.values():
        figures["real_at_level"] = torch.zeros(2, count, dtype=torch.float64)
    judge = Embeddings(text, {**rows, "real": text}, {}, None)
    ids = tuple(f"{number:03d}" for number in range(count))
    figures = {**rewards, "real": {"reward": torch.ones(1, count, dtype=torch.float64)}}
    record = Record(ids, (ids,), torch.full((1, count), 40), (None,) * count, 2, figures, {"guo": judge}, {})
    return Trajectories(record, (Place(0, 900, 0.01), Place(1, 400, 0.4), Place(2, None, 1.0)), {})


def test_the_differences_are_those_of_a_records_systems():
    found = along_the_way({"unguided": (0.1, 0.5, 0.3), "guided": (0.1, 0.6, 0.8)})
    middle = found.along[1]
    for kind, (before, after) in {
        "guided - unguided": ("unguided_1", "guided_1"),
        "unguided: end - here": ("unguided_1", "unguided_2"),
        "guided: end - here": ("guided_1", "guided_2"),
    }.items():
        expected = differences(Side(found.record, before), Side(found.record, after), fid=False)
        for name in found.metrics:
            assert middle[kind][name] == expected[name]
    assert middle["real"]["guo/R@1"].change == 1.0
    expected = middle["guided"]["reward"].change - 1.0
    assert middle["guided - real"]["reward"].change == pytest.approx(expected)


def test_what_is_lost_on_the_way_differs_from_what_is_won():
    found = along_the_way({"unguided": (0.1, 0.5, 0.3), "guided": (0.1, 0.6, 0.8)})
    lost, won = (found.along[1][f"{kind}: end - here"]["reward"] for kind in ("unguided", "guided"))
    assert lost.high < 0 < won.low
    assert all(kinds["unguided"]["reward"].low < kinds["unguided"]["reward"].change for kinds in found.along)


def test_the_report_is_of_three_files(tmp_path):
    found = along_the_way({"unguided": (0.1, 0.5, 0.3), "guided": (0.1, 0.6, 0.8)})
    for figures in found.record.metrics.values():
        figures |= {name: torch.zeros(2, 64, dtype=torch.float64) for name in ("reward_at_level", "foot_skating")}
    write_report(tmp_path, found)
    assert {path.name for path in tmp_path.iterdir()} == {f"trajectory.{end}" for end in ("csv", "json", "png")}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mu": "0"}, ConfigError, "mu must not be 0"),
        ({"replications": "0"}, ConfigError, "at least one replication"),
        ({"split": "test"}, DataError, "split 'test' has 4 motions"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(changes, error, message, command):
    with pytest.raises(error, match=message):
        trajectory.run(trajectory.parse(command(**changes)))


@pytest.mark.parametrize("judge", ["guo", "moon:x.ckpt", "tmr:"])
def test_a_judge_is_a_kind_and_a_file(judge, command, capsys):
    with pytest.raises(SystemExit):
        trajectory.parse(command(judges=judge))
    assert "give guo:CHECKPOINT or tmr:CHECKPOINT" in capsys.readouterr().err
