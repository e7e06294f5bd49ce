"""The plan of the study: its commands, settings and sweeps."""

import re
from pathlib import Path

import pytest
import yaml

from experiments.mocap.__main__ import main
from experiments.mocap.plan.chosen import read_chosen
from experiments.mocap.plan.measurements import plan, variants
from experiments.mocap.plan.study import CONFIGS, DEFAULT_OUT, Study
from experiments.mocap.plan.study import SWEEPS as STUDY_SWEEPS
from experiments.mocap.workflow.engine import in_order
from lightning_realign.data.synthetic import make_dataset
from lightning_realign.errors import ConfigError
from lightning_realign.sweep import read_sweep
from lightning_realign.sweep.search import search
from tests.helpers.cli_bench import ROOT, TINY_RUN, realign, slow_if
from tests.helpers.study_commands import module_of


@pytest.fixture(scope="module")
def planned():
    return {unit.name: unit for unit in plan(Path("raw"), DEFAULT_OUT, ROOT / CONFIGS / "chosen.yaml")}


def test_every_file_that_a_command_reads_is_made_by_a_unit_that_it_needs(planned):
    for unit in in_order(list(planned.values())):
        text = " ".join(unit.command)
        for word in unit.command[1:]:
            if word.startswith((f"{CONFIGS}/", f"{STUDY_SWEEPS}/")):
                text += (ROOT / word).read_text()
        read = set(re.findall(rf"{DEFAULT_OUT}/units/([\w.]+)/", text))
        read |= set(re.findall(rf"{DEFAULT_OUT}/(data|pairs_data)\b", text)) - {unit.name}
        if "measure.nearest" not in text:
            assert read == set(unit.needs) or unit.name.startswith("val_"), unit.name
        assert read <= set(unit.needs), unit.name


def test_only_selectors_are_asked_on_validation_and_only_judges_in_tests(planned):
    for unit in planned.values():
        judges, selectors = {"judge_guo", "judge_tmr"}, {"select_guo", "select_tmr"}
        if unit.name.startswith("val_"):
            assert selectors <= set(unit.needs) and not judges & set(unit.needs)
        elif unit.name.startswith("test_"):
            assert not selectors & set(unit.needs)
            of_others = {"pairs_guo", "pairs_data"}, {"synthetic_judge_guo", "synthetic_judge_tmr"}
            assert any(found <= set(unit.needs) for found in (judges, *of_others)), unit.name


def test_another_folder_has_configurations_of_its_own(tmp_path, planned, monkeypatch):
    monkeypatch.chdir(ROOT)
    out = tmp_path / "study"
    Study(Path("raw"), out).write_own()
    for unit in plan(Path("raw"), out):
        assert str(DEFAULT_OUT) not in unit.line(out)
        for word in unit.command:
            if word.startswith((str(out / "configs"), str(out / "sweeps"))):
                assert str(DEFAULT_OUT) not in Path(word).read_text() and str(out) in Path(word).read_text() + word
    assert len(plan(Path("raw"), out)) == len(planned)


def test_the_first_list_shows_every_command(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert main(["--source", "raw", "--out", str(tmp_path), "--list", "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    for unit in plan(Path("raw"), tmp_path):
        place = shown.index(f"{unit.name}: not done")
        assert shown[place + 1] == f"    {unit.line(tmp_path)}"
    assert not list(tmp_path.iterdir())
    assert main(["--source", "raw", "--out", str(tmp_path), "--only", "nothing"]) == 2
    assert "no unit is called 'nothing'" in capsys.readouterr().err


def test_choices_reach_the_test_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load((CONFIGS / "chosen.yaml").read_text())
    chosen = {"guidance.mu": 7.5, "guidance.eta": 2.5, "sampling.cfg_scale": 3.0}
    content["mld"] |= {
        **chosen,
        "checkpoint": "epoch149.ckpt",
        "guidance.start": 0.5,
        "guidance.physical": {"jerk": 0.1},
    }
    content["ablations"]["latent"] = {"guidance.mu": 12.5}
    path = tmp_path / "chosen.yaml"
    path.write_text(yaml.safe_dump(content))
    found = {unit.name: unit.command for unit in plan(Path("raw"), DEFAULT_OUT, path)}
    expected = {**chosen, "measuring.replications": 20}
    assert {f"--model.init_args.{name}={value}" for name, value in expected.items()} <= set(found["test_mld"])
    assert "--model.init_args.generator.path=runs/mocap/units/mld/epoch149.ckpt" in found["test_mld"]
    for name, mu, eta in (("motion", 0.0, 20.0), ("text_alone", 20.0, 0.0)):
        options = {f"--model.init_args.guidance.mu={mu}", f"--model.init_args.guidance.eta={eta}"}
        assert options <= set(found[f"test_mld_{name}"])
    assert "--model.init_args.guidance.mu=12.5" in found["test_mld_latent"]
    late, physical = "--model.init_args.guidance.start=0.5", '--model.init_args.guidance.physical={"jerk": 0.1}'
    for row in ("test_mld", "val_mld", "test_mld_cfg1"):
        assert {late, physical} <= set(found[row])
    for row in ("text_alone", "exact", "best", "latent"):
        # Whatever was chosen: every step, by the learned reward alone.
        assert {"--model.init_args.guidance.start=1.0", "--model.init_args.guidance.physical={}"} <= set(
            found[f"test_mld_{row}"]
        )
    assert {"--model.init_args.guidance.mu=0.0", physical, late} <= set(found["test_mld_physical"])
    assert found["trajectory_mld"][found["trajectory_mld"].index("--start") + 1] == "0.5"
    for change, message in (
        ({"mdm": {}}, "mdm is {}"),
        ({"other": 1}, "and no others"),
        ({"mld": {**content["mld"], "guidance.physical": 3.0}}, "mld.guidance.physical is 3.0; give a dict"),
        ({"ablations": {"nothing": {}}}, "ablations has 'nothing'"),
        ({"mld": {**content["mld"], "guidance.mu": "strong"}}, "mld.guidance.mu is 'strong'"),
    ):
        path.write_text(yaml.safe_dump({**content, **change}))
        with pytest.raises(ConfigError, match=re.escape(message)):
            plan(Path("raw"), DEFAULT_OUT, path)


def test_every_ablation_is_a_setting_that_the_product_knows(planned):
    for name, variant in variants(read_chosen(ROOT / CONFIGS / "chosen.yaml").generators["mld"]).items():
        module = module_of(planned[f"test_mld_{name}"])
        assert module.systems == variant.systems and module.measuring.replications == 5, name
    module = module_of(planned["test_mld_steer"])
    assert (module.search.particles.count, module.search.particles.temperature) == (3, 0.03)
    assert module.sampling.ddim_eta == 1.0 and not module.guidance.filled().active


@pytest.mark.parametrize("name", ["test_mld", "test_mld_nearest", "val_mld", "test_pairs", "mld"])
def test_commands_say_what_they_mean(name, planned, monkeypatch, capsys):
    """Of several configurations laid over each other, as the parser understands them."""
    pytest.importorskip("experiments.mocap.measure.probes")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])
    with pytest.raises(SystemExit) as ended:
        realign(*planned[name].arguments(Path("there"))[2:], "--print_config")
    assert ended.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    settings = config["model"]["init_args"]
    assert config["trainer"]["default_root_dir"] == "there"
    if name == "mld":
        (kept,) = (entry["init_args"] for entry in config["trainer"]["callbacks"])
        assert (kept["filename"], kept["dirpath"]) == ("epoch{epoch:03d}", "there")
        assert {config[f"{name}_checkpoint"]["dirpath"] for name in ("best", "last")} == {"there"}
        return
    judges = {judge: entry["path"] for judge, entry in settings["judges"].items()}
    names = {"test_pairs": {"guo": "pairs_guo"}, "val_mld": {"guo": "select_guo", "tmr": "select_tmr"}}
    expected = names.get(name, {"guo": "judge_guo", "tmr": "judge_tmr"})
    assert judges == {judge: f"runs/mocap/units/{unit}/last.ckpt" for judge, unit in expected.items()}
    assert settings["measuring"]["replications"] == (20 if name == "test_mld" else 5)
    assert len(settings["probes"] or ()) == (0 if name == "val_mld" else 2)


SWEEPS = sorted((ROOT / STUDY_SWEEPS).glob("*.yaml"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A data set whose validation split fills a pool of R-Precision."""
    root = tmp_path_factory.mktemp("wide") / "data"
    make_dataset(root, "humanml3d", train=16, val=32, test=2, seed=1, progress=False)
    return root


@pytest.mark.parametrize(
    "path", slow_if(lambda path: path.stem not in ("paper", "mdm_mu_eta"), SWEEPS), ids=lambda path: path.stem
)
def test_a_sweep_measures_its_metric_by_the_selectors(path, wide, cli_bench, checkout):
    spec = read_sweep(path)
    words = spec.arguments(next(search(spec)))
    asked = " ".join(words)
    assert "select_guo" in asked and "select_tmr" in asked and "judge_" not in asked
    # W&B itself is tested with the other sweeps.
    without = words.index("configs/wandb.yaml")
    words = words[words.index("train.py") + 1 : without - 1] + words[without + 1 :]
    judge = f"{{kind: tmr, path: {cli_bench.reward['humanml3d']}}}"
    run = realign(
        *words,
        *(option for option in TINY_RUN if "limit" not in option),
        f"--data.init_args.root={wide}",
        *cli_bench.networks(),
        "--model.init_args.sampling.steps=2",
        f"--model.init_args.judges={{guo: {judge}, tmr: {judge}}}",
        f"--trainer.default_root_dir={checkout / 'point'}",
    )
    assert 0 <= run.trainer.callback_metrics[spec.metric].item() <= 1
    assert f"{spec.metric.rpartition('/')[0]}/FID" in run.trainer.callback_metrics


def test_every_sweep_of_the_study_is_a_unit(planned):
    swept = {unit.files[0].name for unit in planned.values() if "sweep" in unit.command}
    assert swept == {path.name for path in SWEEPS}
