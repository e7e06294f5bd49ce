"""Sweep files: W&B's schema, the agent's command line, and the local runner."""

import csv
import itertools
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image

from lightning_realign.__main__ import build_parser
from lightning_realign.errors import ConfigError
from lightning_realign.sweep import read_sweep, run_sweep
from lightning_realign.sweep.search import search
from lightning_realign.sweep.spec import schema_violations

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "sweeps").glob("*.yaml")), *sorted((ROOT / "experiments/mocap/sweeps").glob("*.yaml"))]

GUIDANCE = "--model.init_args.guidance"
TOY = """
import json, os, pathlib, sys
given = dict(part.lstrip("-").split("=", 1) for part in sys.argv[1:])
asked = json.loads(os.environ["REALIGN_SWEEP_POINT"])
assert {name: str(value) for name, value in asked.items()} == {name: given[name] for name in asked}
x, y = float(given["model.init_args.x"]), float(given.get("model.init_args.y", 0))
folder = pathlib.Path(given["trainer.default_root_dir"])
with (folder / "runs.txt").open("a") as file:
    file.write("ran\\n")
if x == float(os.environ.get("TOY_FAILS_AT", "nan")):
    sys.exit("x cannot be that")
score = -((x - 2) ** 2) - (y - 1) ** 2
(folder / "metrics.json").write_text(json.dumps({"stage": "validate", "metrics": {"val/score": score}}))
"""


def write_sweep(folder: Path, **changes) -> Path:
    """A sweep over the toy command; a change of None leaves a key out."""
    (folder / "toy.py").write_text(TOY)
    config = {
        "method": "grid",
        "metric": {"name": "val/score", "goal": "maximize"},
        "parameters": {"model.init_args.x": {"values": [1.0, 2.0, 3.0]}, "model.init_args.y": {"values": [0, 1]}},
        "command": ["${env}", "python", str(folder / "toy.py"), "${args}"],
    } | changes
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in config.items() if value is not None}))
    return path


def runs(folder: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in folder.rglob("runs.txt"))


def first_point(path: Path) -> dict:
    return next(search(read_sweep(path)))


@pytest.fixture
def agent_run(monkeypatch, tmp_path):
    """What W&B's own agent would start for a sweep file and a point, and the parameter file that it writes."""
    wandb_agent = pytest.importorskip("wandb.wandb_agent")
    started = []
    monkeypatch.setattr(
        wandb_agent, "AgentProcess", lambda **kwargs: started.append(kwargs) or SimpleNamespace(last_sigterm_time=None)
    )
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep0")

    def run(path: Path, point: dict) -> list[str]:
        config = yaml.safe_load(path.read_text())
        agent = wandb_agent.Agent(api=None, queue=None, sweep_id="sweep0")
        agent._sweep_command = config.get("command", [])
        arguments = {name: {"value": value} for name, value in point.items()}
        agent._command_run({"run_id": "run0", "program": config.get("program"), "args": arguments})
        return started[-1]["command"]

    return run


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_follow_wandbs_schema(path):
    violations = schema_violations(yaml.safe_load(path.read_text()))
    if violations is None:
        pytest.skip("W&B's schema is not installed: pip install --no-deps sweeps")
    assert violations == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_command_lines_are_the_agents(path, agent_run):
    point = first_point(path)
    assert read_sweep(path).arguments(point) == agent_run(path, point)
    sweeps_api = pytest.importorskip("wandb.apis.public.sweeps")
    sweeps_api._validate_config_and_fill_distribution(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_name_their_launch_line_and_a_config(path):
    text = path.read_text()
    name = str(path.relative_to(ROOT))
    assert text.startswith(f"# wandb sweep {name}")
    assert f"python -m lightning_realign sweep {name}" in text
    settings = build_parser().parse_args(["sweep", name, "--out", "found"])
    assert str(settings.sweep.file) == name
    command = yaml.safe_load(text)["command"]
    assert command[:3] == ["${env}", "python", "train.py"]
    # Later values win, so that the configuration comes before what overrides it.
    assert command[-1] == "${args}"
    assert command.index("--config") < min(
        n for n, part in enumerate(command) if part.startswith(("--model", "${args"))
    )
    assert (ROOT / command[command.index("--config") + 1]).parent.parent == ROOT / "configs"


@pytest.mark.parametrize(
    "command",
    [
        ["${env}", "${interpreter}", "${program}", "${args}"],
        ["python", "${program}", "${args_no_hyphens}"],
        ["python", "${program}", "${args_no_equals}"],
        ["python", "${program}", "${args_no_boolean_flags}"],
        ["python", "${program}", "${args_json}", "--home=${envvar:HOME}", 3],
        None,
    ],
)
def test_every_macro_is_the_agents(command, tmp_path, agent_run):
    point = {"model.a": 1e-05, "model.b": True, "model.c": False, "model.d": "word", "data.e": 3}
    path = write_sweep(
        tmp_path, command=command, program="train.py", parameters={name: {"value": point[name]} for name in point}
    )
    assert read_sweep(path).arguments(point) == agent_run(path, point)


def test_grid_ends_in_table_and_heat_map(tmp_path):
    lines = []
    result = run_sweep(write_sweep(tmp_path), tmp_path / "out", report=lines.append)
    assert result.exit_code == 0
    assert [outcome.value for outcome in result.outcomes] == [-2.0, -1.0, -1.0, 0.0, -2.0, -1.0]
    assert result.best.point == {"model.init_args.x": 2.0, "model.init_args.y": 1}
    rows = list(csv.DictReader(result.table_file.open()))
    assert [float(row["val/score"]) for row in rows] == [-2.0, -1.0, -1.0, 0.0, -2.0, -1.0]
    assert [row["status"] for row in rows].index("best") == 3
    assert result.table in "\n".join(lines) + "\n"
    assert "x" in result.table.splitlines()[0].split()
    with Image.open(result.picture) as picture:
        assert min(picture.size) > 300


def test_finished_points_are_not_run_again(tmp_path):
    path, out = write_sweep(tmp_path), tmp_path / "out"
    first = run_sweep(path, out)
    assert runs(out) == 6
    again = run_sweep(path, out)
    assert runs(out) == 6
    assert [outcome.value for outcome in again.outcomes] == [outcome.value for outcome in first.outcomes]
    (first.outcomes[2].folder / "point.json").unlink()  # as if killed before it ended
    run_sweep(path, out)
    assert runs(out) == 7
    run_sweep(path, out, extra=["--data.init_args.seed=2"])
    assert runs(out) == 13
    (tmp_path / "toy.py").write_text(TOY + "# changed\n")
    run_sweep(path, out)
    assert runs(out) == 19


def test_changed_configurations_and_checkpoints_are_measured_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "main.yaml").write_text("model: {generator: net.ckpt, mu: [1, 2]}\ndata: data.yaml\n")
    (tmp_path / "configs" / "data.yaml").write_text("root: nowhere\n")
    for name in ("net.ckpt", "other.ckpt"):
        (tmp_path / name).write_bytes(bytes(2 << 20))
    command = ["${env}", "python", str(tmp_path / "toy.py"), "--config=configs/main.yaml", "${args}"]
    path, out = write_sweep(tmp_path, command=command, parameters={"model.init_args.x": {"value": 2.0}}), Path("out")

    def ran(*extra):
        before = runs(out)
        run_sweep(path, out, extra=extra)
        return runs(out) - before

    assert (ran(), ran()) == (1, 0)
    (tmp_path / "configs" / "data.yaml").write_text("root: elsewhere\n")
    assert (ran(), ran()) == (1, 0)
    os.utime(tmp_path / "net.ckpt", ns=(1, 1))  # trained again
    assert (ran(), ran()) == (1, 0)
    assert (ran("--model.reward=other.ckpt"), ran("--model.reward=other.ckpt")) == (1, 0)
    os.utime(tmp_path / "other.ckpt", ns=(1, 1))
    assert (ran(), ran("--model.reward=other.ckpt")) == (0, 1)


def test_the_reason_is_the_programs_last_word(tmp_path):
    path = write_sweep(tmp_path, parameters={"model.init_args.x": {"value": 2.0}})
    (tmp_path / "toy.py").write_text("print('error: no such thing\\nwandb: Find logs at: here')\nraise SystemExit(2)\n")
    result = run_sweep(path, tmp_path / "out")
    assert "exit code 2: error: no such thing (log" in result.failures[0].failure


def test_guidance_is_swept_where_its_range_means_something():
    for name in ("mu_eta", "mu_eta_bayes"):
        content = yaml.safe_load((ROOT / "sweeps" / f"{name}.yaml").read_text())
        assert {f"{GUIDANCE}.scale=constant", f"{GUIDANCE}.location=x_prev"} <= set(content["command"])


def test_every_sweep_reports_to_weights_and_biases():
    for path in FILES:
        command = yaml.safe_load(path.read_text())["command"]
        assert [after for before, after in itertools.pairwise(command) if before == "--config"][1:] == [
            "configs/wandb.yaml"
        ]


def test_failing_point_is_reported_and_retried(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_FAILS_AT", "2.0")
    lines, path, out = [], write_sweep(tmp_path), tmp_path / "out"
    result = run_sweep(path, out, report=lines.append)
    assert result.exit_code == 1
    assert [outcome.value is None for outcome in result.outcomes] == [False, False, True, True, False, False]
    failure = next(line for line in lines if "failed" in line)
    assert "x cannot be that" in failure and "output.log" in failure and "\n" not in failure
    assert result.table.count("failed") == 2
    monkeypatch.delenv("TOY_FAILS_AT")
    assert run_sweep(path, out).exit_code == 0
    assert runs(out) == 8


def test_command_without_the_metric_fails(tmp_path):
    path = write_sweep(tmp_path, metric={"name": "val/other", "goal": "minimize"})
    result = run_sweep(path, tmp_path / "out")
    assert result.exit_code == 1 and result.best is None and result.picture is None
    assert "'val/other'" in result.failures[0].failure and "val/score" in result.failures[0].failure


def test_bayes_improves_on_its_start_and_resumes_by_replay(tmp_path):
    parameters = {
        "model.init_args.x": {"distribution": "uniform", "min": -10.0, "max": 10.0},
        "model.init_args.y": {"values": [0, 1]},
    }
    path, out = write_sweep(tmp_path, method="bayes", run_cap=12, parameters=parameters), tmp_path / "out"
    result = run_sweep(path, out)
    assert len(result.outcomes) == 12
    assert result.best.value > max(outcome.value for outcome in result.outcomes[:3])
    again = run_sweep(path, out)
    assert runs(out) == 12
    assert [outcome.point for outcome in again.outcomes] == [outcome.point for outcome in result.outcomes]


@pytest.mark.parametrize(
    ("entry", "check"),
    [
        ({"distribution": "uniform", "min": 1.0, "max": 2.0}, lambda x: isinstance(x, float) and 1 <= x <= 2),
        ({"min": 1, "max": 4}, lambda x: isinstance(x, int) and 1 <= x <= 4),
        ({"min": 0.5, "max": 0.75}, lambda x: isinstance(x, float) and 0.5 <= x <= 0.75),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}, lambda x: 1e-4 <= x <= 1),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 2.5}, lambda x: x in (0, 2.5, 5, 7.5, 10)),
        ({"values": ["a", [1, 2]]}, lambda x: x in ("a", [1, 2])),
        ({"value": 7}, lambda x: x == 7),
    ],
)
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_draws_follow_their_distribution(entry, check, method, tmp_path):
    path = write_sweep(tmp_path, method=method, run_cap=20, parameters={"model.x": entry})
    points = search(read_sweep(path))
    drawn = [next(points)["model.x"]] + [points.send(float(n % 3))["model.x"] for n in range(19)]
    assert all(check(x) for x in drawn)
    assert len({str(x) for x in drawn}) > 1 or "value" in entry


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "guess"}, "method"),
        ({"metric": None}, "metric"),
        ({"parameters": {}}, "parameters"),
        ({"parameters": {"model": {"parameters": {"x": {"value": 1}}}}}, "flat dotted names"),
        ({"parameters": {"model.x": {"values": [1, None]}}}, "null"),
        ({"parameters": {"model.x": {"min": 2.0, "max": 1.0}}}, "min < max"),
        ({"parameters": {"model.x": {"distribution": "normal", "mu": 0.0, "sigma": 1.0}}}, "distribution"),
        ({"parameters": {"model.x": {"min": 1.0, "max": 2.0}}}, "a grid needs"),
        ({"method": "bayes"}, "run_cap"),
        ({"command": ["python", "${program}"]}, "program"),
        ({"command": ["python", "${unknown}"]}, "macro"),
        ({"run_cap": -1}, "run_cap"),
    ],
)
def test_wrong_files_get_one_line(changes, message, tmp_path):
    path = write_sweep(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        run_sweep(path, tmp_path / "out")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file_and_broken_yaml(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("method: [grid")
    with pytest.raises(ConfigError, match="YAML"):
        read_sweep(tmp_path / "broken.yaml")


def test_points_use_this_python(tmp_path):
    path = write_sweep(tmp_path, parameters={"model.init_args.x": {"value": 2.0}})
    (tmp_path / "toy.py").write_text(TOY + "print(sys.executable)\n")
    result = run_sweep(path, tmp_path / "out")
    printed = (result.outcomes[0].folder / "output.log").read_text().strip()
    assert Path(printed).parent == Path(sys.executable).parent
    recorded = json.loads((result.outcomes[0].folder / "point.json").read_text())
    assert recorded["point"] == {"model.init_args.x": 2.0}
    assert "REALIGN_SWEEP_POINT" not in os.environ
