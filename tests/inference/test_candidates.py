"""The best of several candidates in runs: with a diffusion generator, and with MoMask, which has nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.errors import ConfigError
from lightning_realign.inference.pipeline import Pipeline
from lightning_realign.settings.guidance import GuidanceConfig
from tests.helpers.published_momask import write_momask
from tests.helpers.settings import generation, pipeline_of, prompts
from tests.inference.test_generation import make_trainer

TEXTS, IDS, LENGTHS = ("a person walks", "a person jumps"), ("one", "two"), torch.tensor([24, 40])
# Two rounds with the text alone, and five further codebooks with and without it.
DRAW = {"family": "momask", "steps": 2, "cfg_scale": 1.0}
EVALUATIONS = 2 + 5 * 2


@pytest.fixture(scope="module")
def momask(tmp_path_factory) -> str:
    return str(write_momask(tmp_path_factory.mktemp("t2m")))


def table_of(bench, folder, generator, **settings) -> dict:
    few = {"replications": 2, "multimodality_captions": 0, **settings}
    model = generation(generator, bench.reward, **few)
    make_trainer(folder).test(model, datamodule=HumanML3DDataModule(bench.data, batch_size=4), verbose=False)
    return json.loads((folder / "table-test.json").read_text())


def test_a_drawn_row_is_improved_and_its_draws_are_counted(bench, momask, tmp_path):
    rows = table_of(bench, tmp_path, momask, candidates=4, **DRAW)["systems"]
    assert rows.keys() == {"real", "reconstruction", "unguided", "guided"}
    assert rows["unguided"]["denoiser_calls"]["values"] == [EVALUATIONS] * 2
    assert rows["guided"]["denoiser_calls"]["values"] == [4 * EVALUATIONS] * 2
    for drawn, best in zip(rows["unguided"]["reward"]["values"], rows["guided"]["reward"]["values"], strict=True):
        assert best > drawn
    assert rows["reconstruction"]["denoiser_calls"]["mean"] == 0


def test_one_candidate_has_no_guided_row(bench, momask, tmp_path):
    assert table_of(bench, tmp_path, momask, **DRAW)["systems"].keys() == {"real", "reconstruction", "unguided"}


@pytest.mark.parametrize("mu", [0.0, 3.0])
def test_candidates_come_on_top_of_the_gradient(bench, mu):
    def pipeline(candidates: int) -> Pipeline:
        return pipeline_of(
            bench.generator, bench.reward, GuidanceConfig(mu=mu), steps=3, cfg_scale=2.0, candidates=candidates
        )

    one, five = pipeline(1), pipeline(5)
    single = one.sample(TEXTS, LENGTHS, IDS)
    best = five.sample(TEXTS, LENGTHS, IDS)
    assert (one.generator.calls, five.generator.calls) == (6, 30)
    rewards = [five.clean_reward(made.features, LENGTHS, TEXTS) for made in (single, best)]
    assert (rewards[1] >= rewards[0]).all() and (rewards[1] > rewards[0]).any()
    plain = five.sample(TEXTS, LENGTHS, IDS, guided=False)
    assert torch.equal(plain.features, one.sample(TEXTS, LENGTHS, IDS, guided=False).features)
    assert torch.equal(plain.features, single.features) == (mu == 0)


def test_what_cannot_be_guided_says_what_can(bench, momask):
    with pytest.raises(ConfigError, match=r"mu=2.0, eta=0.0: this generator has no denoising .* candidates above 1"):
        pipeline_of(momask, bench.reward, GuidanceConfig(mu=2.0), **DRAW)
    with pytest.raises(ConfigError, match=r"ddim_eta=0\.5"):
        pipeline_of(momask, None, None, ddim_eta=0.5, **DRAW)
    with pytest.raises(ConfigError, match="candidates is 3: give the checkpoint of a reward"):
        pipeline_of(momask, None, None, candidates=3, **DRAW)
    with pytest.raises(ConfigError, match="candidates is 0"):
        generation(momask, bench.reward, candidates=0, **DRAW)
    with pytest.raises(ConfigError, match="candidates is 3: give the checkpoint of a reward"):
        generation(momask, candidates=3, **DRAW)


def test_prompts_are_answered_by_the_best(bench, momask, tmp_path):
    def made(name: str, **more):
        files = prompts([*TEXTS], momask, tmp_path / name, seconds=2.0, **DRAW, **more)
        return [dict(np.load(file)) for file in files]

    settings = {"reward": bench.reward, "candidates": 6}
    plain, best = made("plain"), made("best", **settings)
    assert all(fields["features"].shape == (40, 263) for fields in best)
    assert all(fields["rewards"].shape == (0,) for fields in best)
    reward = pipeline_of(momask, bench.reward, None, **DRAW).clean_reward
    scores = [
        reward(torch.from_numpy(np.stack([fields["features"] for fields in each])), torch.tensor([40, 40]), TEXTS)
        for each in (plain, best)
    ]
    assert (scores[1] >= scores[0]).all() and (scores[1] > scores[0]).any()
    alone = prompts([TEXTS[1]], momask, tmp_path / "alone", seconds=2.0, **DRAW, **settings)
    np.testing.assert_allclose(np.load(alone[0])["features"], best[1]["features"], atol=2e-4)
