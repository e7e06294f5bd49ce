"""Every sweep file's point runs, by the very argument list that the W&B agent builds."""

import functools
import json

import pytest
import wandb
import yaml
from lightning.pytorch.loggers import WandbLogger

from lightning_realign.sweep import read_sweep, run_sweep
from lightning_realign.sweep.search import search
from tests.helpers.cli_bench import ROOT, files_in, one_error_line, realign

FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
NAMES = [f"sweeps/{path.name}" for path in FILES]


@pytest.fixture(params=NAMES)
def sweep(request, cli_bench, checkout, monkeypatch):
    """A sweep file's specification, its first point, and the arguments of that point on tiny data."""
    spec = read_sweep(checkout / request.param)
    point = next(search(spec))
    words = spec.arguments(point)
    args = words[words.index("train.py") + 1 :]
    config = args[args.index("--config") + 1]
    monkeypatch.setenv("REALIGN_SWEEP_POINT", json.dumps(point))
    # As the local runner does: every point has a folder of its own.
    return spec, point, [*args, *cli_bench.options(config, args[0]), f"--trainer.default_root_dir={checkout / 'point'}"]


@pytest.fixture
def agent(sweep, tmp_path_factory, monkeypatch):
    """What the W&B agent sets for a run of the sweep; the run's id."""
    _, point, _ = sweep
    path = tmp_path_factory.mktemp("agent") / "config.yaml"
    path.write_text(yaml.safe_dump({"wandb_version": 1, **{name: {"value": value} for name, value in point.items()}}))
    settings = {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_RUN_ID": "run0",
        "WANDB_SWEEP_ID": "sweep0",
        "WANDB_SWEEP_PARAM_PATH": str(path),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()  # what it read from the environment in an earlier run
    yield "run0"
    wandb.finish()  # a run that outlived the service could never be ended
    wandb.teardown()


def test_a_point_measures_its_metric(sweep, agent, checkout, monkeypatch):
    spec, point, args = sweep
    monkeypatch.setenv("REALIGN_RUN_DIR", str(checkout / "point"))
    run = realign(*args)
    (logger,) = (logger for logger in run.trainer.loggers if isinstance(logger, WandbLogger))
    assert logger.experiment.id == agent
    assert logger.experiment.summary[spec.metric] == pytest.approx(run.trainer.callback_metrics[spec.metric].item())
    logger.experiment.finish()
    wandb.teardown()  # once its writer has ended, the file is complete
    (offline,) = (checkout / "point" / "wandb").glob(f"offline-run-*/run-{agent}.wandb")
    assert spec.metric.encode() in offline.read_bytes()
    record = json.loads((checkout / "point" / "metrics.json").read_text())
    assert isinstance(record["metrics"][spec.metric], float)
    for name, value in point.items():
        section, _, *path = name.split(".")
        live = functools.reduce(lambda owner, part: owner[part], path, run.model.hparams)
        assert section == "model" and live == pytest.approx(value)
    assert all(file.startswith("point/") for file in files_in(checkout) if "/" in file)


def test_a_point_that_another_argument_overrides_fails(sweep, capsys):
    _, point, args = sweep
    name, value = next(iter(point.items()))
    with pytest.raises(SystemExit) as caught:
        realign(*args, f"--{name}={0.5 * value + 0.1}")
    assert caught.value.code == 2
    assert f"sweep parameter {name}" in one_error_line(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_points_run_without_a_server(name, cli_bench, checkout, monkeypatch):
    """The local runner starts each point as a process of its own, as a user would."""
    content = yaml.safe_load((checkout / name).read_text())
    first, *others = content["parameters"].values()
    for parameter, count in ((first, 2), *((other, 1) for other in others)):
        if "values" in parameter:
            parameter["values"] = parameter["values"][:count]
    (checkout / "two.yaml").write_text(yaml.safe_dump({**content, "run_cap": 2}))
    spec = read_sweep(checkout / "two.yaml")
    words = spec.arguments(next(search(spec)))
    config = words[words.index("--config") + 1]
    result = run_sweep(checkout / "two.yaml", extra=cli_bench.options(config, words[words.index("train.py") + 1]))
    assert result.exit_code == 0 and len(result.outcomes) == 2
    assert all(outcome.value is not None for outcome in result.outcomes)
