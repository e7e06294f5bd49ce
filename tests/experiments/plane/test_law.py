"""Measuring the toy's law over seeds: the ratio and its interval, the clouds, the file that is taken up again."""

from __future__ import annotations

import json

import pytest
import torch

from experiments.plane import law
from experiments.plane.__main__ import main
from experiments.plane.distances import sliced_wasserstein
from experiments.plane.experiment import Option
from experiments.plane.law import default_plan, draw_clouds, ideal_pair, run_law
from experiments.plane.mixture import ring
from experiments.plane.receipt import SCHEDULES, Cell, Plan, ratio
from lightning_realign.errors import ConfigError

TINY = Plan((Cell(Option("exact"), 4, 60, 3), Cell(Option(), 4, 60, 2), Cell(Option("clean"), 4, 40, 2, 3)), batch=2)


def silent(_: str) -> None:
    """No progress."""


def test_a_ratio_of_the_same_distances_is_one_and_certain():
    found = ratio([0.3, 0.1, 0.2], [0.3, 0.1, 0.2])
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("further", [0, 60])
def test_the_interval_covers_the_true_ratio_as_often_as_it_says(further):
    random = torch.Generator().manual_seed(7)
    covered = 0
    for _ in range(60):
        common = torch.rand(40, generator=random)
        above = 2 * (common + torch.rand(40, generator=random))
        below = torch.cat([common + torch.rand(40, generator=random), 2 * torch.rand(further, generator=random)])
        found = ratio(above.tolist(), below.tolist())
        assert found.low < found.value < found.high
        covered += found.low <= 2.0 <= found.high
    assert 51 <= covered <= 60


def test_schedules_end_in_noise():
    assert all(float(schedule.alpha_bar[-1]) < 1e-4 for schedule in SCHEDULES.values())


def test_ideal_samples_are_independent_and_repeat():
    target = ring().target
    first, second = ideal_pair(target, 50, 3)
    assert torch.equal(first, ideal_pair(target, 50, 3)[0])
    assert not torch.equal(first, second)
    assert not torch.equal(first, ideal_pair(target, 50, 4)[0])


@pytest.mark.parametrize("cell", TINY.cells, ids=lambda cell: cell.name)
def test_a_cloud_is_the_same_in_any_batch(cell):
    together = draw_clouds(ring(), cell, SCHEDULES["cosine"], [0, 1])
    alone = draw_clouds(ring(), cell, SCHEDULES["cosine"], [1])
    assert together.shape == (2, cell.points, 2)
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("kind", ["exact", "predicted", "clean"])
def test_single_precision_does_not_show(kind):
    """But for one point in a hundred, near a watershed, all end where they would in double precision."""
    cell = Cell(Option(kind), 60, 1000, 1)
    found = draw_clouds(ring(), cell, SCHEDULES["cosine"], [0])[0]
    generator = law.PlaneGenerator(ring(), SCHEDULES["cosine"])
    reward = law.PlaneReward(ring(), kind)
    exact = law.sample_clouds(generator, ["0"], 1000, 60, cell.option.config, reward, seed=0)[0]
    assert int(((found - exact).norm(dim=1) > 0.05).sum()) <= 10


def test_particles_weighed_by_a_reward_without_time_near_the_guided_law_as_they_grow():
    problem, points = ring(), 800
    ideal = ideal_pair(problem.target, points, 0)[0]

    def distance(particles: int) -> float:
        cell = Cell(Option("clean"), 40, points, 1, particles)
        return sliced_wasserstein(draw_clouds(problem, cell, SCHEDULES["cosine"], [0])[0], ideal)

    unguided = draw_clouds(problem, Cell(Option(), 40, points, 1), SCHEDULES["cosine"], [0])[0]
    some, many = distance(3), distance(60)
    assert many < some < 0.7 * sliced_wasserstein(unguided, ideal)
    assert many < 0.35 * sliced_wasserstein(unguided, ideal)


def test_a_run_is_taken_up_where_it_ended(tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole.json", tmp_path / "cut.json"
    table = run_law(whole, TINY, silent)
    content = json.loads(whole.read_text())
    assert [len(values) for values in content["distances"].values()] == [3, 3, 3, 2, 2]
    assert len(content["rows"]) == 3 and "exact" in table
    assert whole.with_suffix(".md").read_text().startswith("| reward | way")
    first = content["rows"][0]
    assert first["value"] == pytest.approx(first["distance"] / first["ideal"])

    del content["distances"][TINY.cells[1].name]
    content["distances"][TINY.cells[0].name].pop()
    cut.write_text(json.dumps(content))
    drawn = []

    def counted(problem, cell, schedule, seeds):
        drawn.append((cell.name, list(seeds)))
        return draw_clouds(problem, cell, schedule, seeds)

    monkeypatch.setattr(law, "draw_clouds", counted)
    assert run_law(cut, TINY, silent) == table
    assert sorted(drawn) == [("exact/score/4 steps", [2]), ("none/score/4 steps", [0, 1])]
    again = json.loads(cut.read_text())
    assert run_law(cut, TINY, silent) == table
    assert len(drawn) == 2, "a finished run draws nothing"
    assert json.loads(cut.read_text()) == again


def test_a_receipt_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "toy.json"
    run_law(path, Plan(TINY.cells[1:2]), silent)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"toy.json: is of other settings.*another --out"):
        run_law(path, TINY, silent)
    assert path.read_bytes() == before


def test_the_default_plan_names_every_cell_once():
    plan = default_plan(10_000, 50, "cosine")
    assert len({cell.name for cell in plan.cells}) == len(plan.cells)
    asked = {(cell.option.reward, cell.option.scale, cell.steps) for cell in plan.cells if cell.particles == 1}
    for steps in (50, 200, 1000):
        assert {("exact", "score", steps), ("clean", "score", steps), ("exact", "constant", steps)} <= asked
    assert {cell.particles for cell in plan.cells} == {1, 10, 100, 1000}


def test_too_few_points_end_the_tool_with_one_line(tmp_path, capsys):
    assert main(["law", "--out", str(tmp_path / "toy.json"), "--points", "100"]) == 2
    assert "points=100, seeds=50: need at least 200 points" in capsys.readouterr().err
    assert not (tmp_path / "toy.json").exists()
