"""Particles, time travel and the gradient through the denoiser from the command line's own parts, and their costs."""

from __future__ import annotations

import json

import pytest
import torch

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.search import ParticleConfig
from tests.helpers.published_momask import write_momask
from tests.helpers.settings import generation, pipeline_of
from tests.inference.test_generation import make_trainer

TEXTS, LENGTHS, IDS = ("a person walks", "somebody jumps"), torch.tensor([24, 16]), ("one", "two")


def pipeline(bench, guidance=None, **options):
    settings = {"steps": 4, "cfg_scale": 2.0, "scheduler": "ddpm", **options}
    return pipeline_of(bench.generator, bench.reward, guidance, **settings)


def calls_of(made):
    before = made.generator.calls
    made.sample(TEXTS, LENGTHS, IDS)
    return made.generator.calls - before


@pytest.mark.parametrize(
    ("guidance", "options", "expected"),
    [
        ({"mu": 0.0}, {}, 8),
        ({"mu": 0.0}, {"candidates": 3}, 24),
        ({"mu": 0.0}, {"particles": ParticleConfig(3)}, 24),
        ({"mu": 2.0, "stop": 0.25}, {"particles": ParticleConfig(3), "candidates": 2}, 48),
        ({"mu": 2.0}, {"travel": 1, "travel_stop": 0.5}, 12),
        ({"mu": 2.0, "location": "x0_through"}, {}, 16),
    ],
)
def test_evaluations_are_counted(bench, guidance, options, expected):
    """4 steps, twice for classifier-free guidance."""
    assert calls_of(pipeline(bench, GuidanceConfig(**guidance), **options)) == expected


def test_steering_raises_the_reward_and_leaves_the_unguided_run(bench):
    plain, steered = pipeline(bench), pipeline(bench, particles=ParticleConfig(6, temperature=0.05))
    before, after = (made.sample(TEXTS, LENGTHS, IDS) for made in (plain, steered))
    rewards = [plain.clean_reward(made.features, LENGTHS, TEXTS) for made in (before, after)]
    assert rewards[1].sum() > rewards[0].sum()
    assert torch.equal(steered.sample(TEXTS, LENGTHS, IDS, guided=False).features, before.features)


def test_the_guided_row_is_steered(bench, tmp_path):
    few = {"replications": 2, "multimodality_captions": 0, "steps": 3, "scheduler": "ddpm", "cfg_scale": 1.0}
    model = generation(bench.generator, bench.reward, particles=3, temperature=0.1, **few)
    make_trainer(tmp_path).test(model, datamodule=HumanML3DDataModule(bench.data, batch_size=4), verbose=False)
    rows = json.loads((tmp_path / "table-test.json").read_text())["systems"]
    assert rows["unguided"]["denoiser_calls"]["values"] == [3, 3]
    assert rows["guided"]["denoiser_calls"]["values"] == [9, 9]
    assert rows["guided"]["reward"]["mean"] > rows["unguided"]["reward"]["mean"]


def test_what_draws_by_itself_is_not_steered(bench, tmp_path):
    draw = {"family": "momask", "steps": 2, "cfg_scale": 1.0, "particles": ParticleConfig(2)}
    with pytest.raises(ConfigError, match="particles count is 2: this generator has a sampling loop of its own"):
        pipeline_of(str(write_momask(tmp_path)), bench.reward, None, **draw)


def test_what_particles_need_is_said(bench):
    with pytest.raises(ConfigError, match="particles count is 3: give the checkpoint of a reward model"):
        generation(bench.generator, particles=3)
    with pytest.raises(ConfigError, match="particles count is 0"):
        generation(bench.generator, bench.reward, particles=0)
    with pytest.raises(ConfigError, match=r"eta is 0\.5: eta needs the training set's index"):
        pipeline(bench, particles=ParticleConfig(2, eta=0.5)).sample(TEXTS, LENGTHS, IDS)
