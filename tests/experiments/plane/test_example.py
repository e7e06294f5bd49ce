"""The toy: its closed forms against Monte Carlo, quadrature and autograd, and what guided sampling makes of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.plane import example, experiment, pictures
from experiments.plane.__main__ import main
from experiments.plane.distances import Grid, sliced_wasserstein
from experiments.plane.example import run_toy
from experiments.plane.experiment import Option, all_options, target_yardstick, tuned
from experiments.plane.generator import PlaneGenerator, PlaneReward, PrintedSteps, sample_clouds
from experiments.plane.mixture import Captioned, Mixture, ring
from lightning_realign.errors import ConfigError
from lightning_realign.rewards.reward import reward_gradient
from lightning_realign.settings.guidance import GuidanceConfig

LEVELS = (0.01, 0.3, 0.9, 0.999)


@pytest.fixture(scope="module")
def uneven():
    """No two components alike, so that no mistake can cancel."""
    law = Mixture(
        torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        torch.tensor([[1.0, 0.2], [-0.7, 0.9], [0.1, -1.1]], dtype=torch.float64),
        torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64),
    )
    return Captioned(law, torch.tensor([0.9, 0.05, 0.4], dtype=torch.float64))


@pytest.fixture(scope="module")
def spots():
    return torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("level", (0.01, 0.3, 0.8))
def test_expected_reward_and_posterior_mean_against_monte_carlo(uneven, spots, level):
    clean = uneven.law.sample(400_000, torch.Generator().manual_seed(0))
    rewards = uneven.clean_reward(clean).exp()
    for spot in spots:
        weights = (-(spot - math.sqrt(level) * clean).square().sum(1) / (2 * (1 - level))).softmax(0)
        error = 5 / math.sqrt(float(1 / weights.square().sum()))  # 5 standard errors of quantities of order 1
        assert float(uneven.log_expectation(spot, level).exp()) == pytest.approx(float(weights @ rewards), abs=error)
        mean = uneven.law.posterior_mean(spot, level)
        torch.testing.assert_close(mean, weights @ clean, rtol=0, atol=2 * error)


@pytest.mark.parametrize("level", LEVELS)
def test_score_is_the_gradient_of_the_log_density(uneven, spots, level):
    gradient, _ = reward_gradient(lambda x: uneven.law.log_density(x, level), spots)
    torch.testing.assert_close(uneven.law.score(spots, level), gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("level", (*LEVELS, 1.0))
def test_guided_law_at_every_level_is_the_law_times_the_expected_reward(uneven, spots, level):
    log_ratio = uneven.law.log_density(spots, level) + uneven.log_expectation(spots, level)
    log_ratio = log_ratio - uneven.target.log_density(spots, level)
    torch.testing.assert_close(log_ratio, log_ratio[:1].expand_as(log_ratio), rtol=0, atol=1e-10)
    assert float(log_ratio[0].exp()) == pytest.approx(float(uneven.law.weights @ uneven.fit))  # Z


def test_grid_is_normalised_and_exact(uneven):
    grid = Grid()
    cells = grid.probabilities(lambda x: uneven.law.log_density(x) + uneven.clean_reward(x))
    assert float(cells.sum()) == pytest.approx(1.0, abs=1e-12)
    edges = torch.linspace(-grid.extent, grid.extent, grid.cells + 1, dtype=torch.float64)
    target = uneven.target
    below = torch.special.ndtr((edges[:, None, None] - target.means) / target.stds[:, None])  # [edge, K, xy]
    masses = below.diff(dim=0)
    exact = torch.einsum("k,ik,jk->ij", target.weights, masses[..., 0], masses[..., 1])
    torch.testing.assert_close(cells, exact, rtol=0, atol=1e-4 * float(exact.max()) + 4e-5)


def test_divergence_counts_points_outside_and_in_the_right_cells():
    grid = Grid(extent=1.0, cells=2, refine=1)
    points = torch.tensor([[-0.5, 0.5], [-0.5, 0.5], [0.5, -0.5], [3.0, 0.0]], dtype=torch.float64)
    shares = grid.shares(points)
    assert shares.tolist() == [[0.0, 0.5], [0.25, 0.0]]
    law = torch.full((2, 2), 0.25, dtype=torch.float64)
    expected = 0.5 * math.log(2) + 0.25 * math.log(1) + 0.25 * math.log(0.25 / 1e-12)
    assert grid.divergence(points, law) == pytest.approx(expected)


def test_sliced_distance_of_a_shift_is_its_mean_projection():
    points = torch.randn(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert sliced_wasserstein(points, points.flip(0)) == 0.0
    shifted = points + torch.tensor([0.6, 0.8], dtype=torch.float64)
    assert sliced_wasserstein(points, shifted) == pytest.approx(2 / math.pi, rel=1e-3)


def test_rewards_agree_on_clean_points_and_differ_on_noisy_ones(uneven, spots):
    rewards = [PlaneReward(uneven, kind) for kind in ("clean", "exact", "predicted")]
    clean = [reward.of_points(spots, 1.0) for reward in rewards]
    noisy = [reward.of_points(spots, 0.3) for reward in rewards]
    for one, other in zip(clean[1:], noisy[1:], strict=True):
        torch.testing.assert_close(one, clean[0], rtol=0, atol=1e-12)
        assert (other - noisy[0]).abs().max() > 0.05
    with pytest.raises(ConfigError, match="use one of clean, exact, predicted"):
        PlaneReward(uneven, "guessed")


@pytest.mark.parametrize("scale", ["score", "posterior", "constant"])
def test_the_three_rewards_are_one_at_predicted_x0(uneven, scale):
    clouds = [Option(kind, scale, "x0").sample(uneven, 40, 10, 3) for kind in ("clean", "exact", "predicted")]
    torch.testing.assert_close(clouds[1], clouds[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(clouds[2], clouds[0], rtol=1e-9, atol=1e-9)


def test_printed_step_has_the_ddpm_mean_and_more_noise(uneven):
    generator = PlaneGenerator(uneven)
    steps = PrintedSteps(generator.scheduler, "ddpm", 50)
    own = type(steps).__bases__[0](generator.scheduler, "ddpm", 50)
    x = torch.randn(1, 9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    output, noise = generator.denoise(x, steps.timesteps[20], None, torch.tensor([9])), torch.ones_like(x)
    still = steps.step(20, output, x, None)
    expected = own.step(20, output, x, torch.zeros_like(x))
    torch.testing.assert_close(still.prev, expected.prev, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(still.x0, expected.x0, rtol=1e-9, atol=1e-9)
    alpha = steps.alpha_bar[20] / steps.alpha_bar_next[20]
    added = steps.step(20, output, x, noise).prev - still.prev
    torch.testing.assert_close(added.square(), torch.full_like(added, (1 - alpha) / alpha), rtol=1e-9, atol=0)
    assert math.sqrt((1 - alpha) / alpha) > steps.sigma[20]


def test_exact_reward_reaches_the_guided_law_as_steps_grow_and_a_time_independent_one_does_not():
    problem, points = ring(), 3000
    yardstick = target_yardstick(problem, points, 0)
    exact = [yardstick.measure(Option("exact").sample(problem, points, steps, 1))[0] for steps in (10, 50, 250)]
    assert exact[0] > 3 * yardstick.floor.sliced_most
    assert exact[0] > exact[1] > exact[2]
    assert exact[2] <= yardstick.floor.sliced_most
    for other in (Option("clean"), Option("clean", mu=0.7), Option("exact", "constant")):
        assert yardstick.measure(other.sample(problem, points, 100, 1))[0] > 1.5 * yardstick.floor.sliced_most
    unguided = yardstick.measure(Option().sample(problem, points, 50, 1))[0]
    assert unguided > 10 * yardstick.floor.sliced


def test_recording_sees_every_state(uneven):
    states = experiment.record_run(uneven, True, 50, 10, 4)
    assert len(states) == 11
    levels = [level for level, _ in states]
    assert levels == sorted(levels) and levels[-1] == 1.0
    assert torch.equal(states[-1][1], Option("exact").sample(uneven, 50, 10, 4))


def test_paths_begin_unguided(uneven):
    paths = experiment.strength_paths(uneven, 20, (0.0, 1.0), 4)
    unguided = sample_clouds(PlaneGenerator(uneven), ["toy"], 20, 50, GuidanceConfig(), None, scheduler="ddim", seed=4)[
        0
    ]
    assert torch.equal(paths[0], unguided)
    assert not torch.allclose(paths[1], paths[0])


def test_options_are_distinct_and_tuning_leaves_the_exact_ones():
    options = all_options()
    assert len(set(options)) == len(options) == 1 + 9 + 12 + 4 + 1
    distances = [1.0] * len(experiment.STRENGTHS)
    distances[2] = 0.5
    assert tuned(Option("exact"), distances) == Option("exact")
    assert tuned(Option("clean"), distances) == replace(Option("clean"), mu=experiment.STRENGTHS[2])


def test_run_writes_all_files_and_repeats_its_values(tmp_path, monkeypatch, capsys):
    for name, value in (("STEP_COUNTS", (2, 5)), ("STRENGTHS", (0.1, 1.0))):
        monkeypatch.setattr(experiment, name, value)
        monkeypatch.setattr(pictures, name, value)
    monkeypatch.setattr(experiment, "TUNING_STEPS", 2)
    first = run_toy(tmp_path / "a", points=200, steps=4, seed=3)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["flow.png", "table.csv", "table.md", "toy.png"]
    for name in ("toy.png", "flow.png"):
        assert np.asarray(Image.open(tmp_path / "a" / name)).std() > 10
    assert len(first.found) == len(all_options())
    for name in ("plot_overview", "plot_flow"):
        monkeypatch.setattr(example, name, lambda *_: None)
    again, other = (run_toy(tmp_path / folder, points=200, steps=4, seed=seed) for folder, seed in (("b", 3), ("c", 4)))
    assert again.table == first.table != other.table
    assert (tmp_path / "a" / "table.csv").read_bytes() == (tmp_path / "b" / "table.csv").read_bytes()
    assert main(["toy", "--out", str(tmp_path / "e"), "--points", "200", "--steps", "4", "--seed", "3"]) == 0
    assert capsys.readouterr().out == first.table


def test_too_few_points_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="points=10: need at least 200"):
        run_toy(tmp_path / "out", points=10)
    assert not (tmp_path / "out").exists()
