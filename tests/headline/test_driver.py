"""The driver of the headline study: its plan, its units, its splits."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks.headline.__main__ import main, told
from benchmarks.headline.chosen import read_chosen
from benchmarks.headline.measurements import plan, variants
from benchmarks.headline.nearest import stretched, write_nearest
from benchmarks.headline.plan import CONFIGS, DEFAULT_OUT, Study
from benchmarks.headline.runner import run_units
from benchmarks.headline.splits import build, build_pairs, held_out_pairs, pair_splits, read_pairs, unseen_ids
from benchmarks.headline.units import FOLDER, PlannedUnit, in_order, missing
from lightning_realign.data import OwnDataModule
from lightning_realign.data.formats import read_split
from lightning_realign.data.synthetic import make_dataset
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.inference import SampleScoring
from lightning_realign.motion import feature_statistics, load_skeleton
from lightning_realign.sweep import read_sweep
from lightning_realign.sweep.search import search
from tests.cli_bench import ROOT, TINY_RUN, realign
from tests.support import random_joints
from tests.tiny_models import dataset_normaliser, write_reward

COUNTING = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True)
counter = pathlib.Path(sys.argv[2]); counter.open("a").write("ran\\n")
(folder / "result.txt").write_text(" ".join(sys.argv[3:]))
"""


@pytest.fixture
def units(tmp_path):
    """Makes units that count how often they ran; and what they left."""

    def make(name: str, *words: str, needs: tuple[str, ...] = (), code: str = COUNTING, **settings) -> PlannedUnit:
        counter = str(tmp_path / f"{name}.count")
        return PlannedUnit(name, ("python", "-c", code, FOLDER, counter, *words), needs, **settings)

    def ran(name: str) -> int:
        path = tmp_path / f"{name}.count"
        return len(path.read_text().splitlines()) if path.is_file() else 0

    return make, ran


def run(units, out, **settings):
    lines: list[str] = []
    failures = run_units(in_order(units), out, report=lines.append, **settings)
    return failures, lines


def test_units_run_once_in_the_order_of_their_needs(units, tmp_path):
    make, ran = units
    out = tmp_path / "out"
    reads = COUNTING + "(folder / 'seen.txt').write_text((folder.parent / 'first' / 'result.txt').read_text())"
    planned = [make("second", needs=("first",), code=reads), make("first", "a word")]
    failures, lines = run(planned, out)
    assert failures == [] and [ran(name) for name in ("first", "second")] == [1, 1]
    assert (out / "units/second/seen.txt").read_text() == "a word"
    mark = json.loads((out / "units/first/unit.json").read_text())
    assert mark["command"] == planned[1].line(out) and str(out / "units/first") in mark["command"]
    assert mark["seconds"] > 0 and mark["cpu_seconds"] > 0 and mark["versions"]["torch"] and mark["hardware"]
    assert "first: done in" in lines[1] and lines[1].endswith("1 left") and lines[-1].endswith("0 left")
    assert not [path for path in (out / "units").iterdir() if path.is_dir() and path.name.startswith(".")]
    assert run(planned, out) == ([], ["first: done earlier", "second: done earlier"])
    assert [ran(name) for name in ("first", "second")] == [1, 1]


def test_a_changed_command_runs_again_with_what_follows_from_it(units, tmp_path):
    make, ran = units
    out = tmp_path / "out"
    others = [make("second", needs=("first",)), make("third")]
    run([make("first", "old"), *others], out)
    time.sleep(1.1)  # marks know seconds
    changed = [make("first", "new"), *others]
    assert missing(in_order(changed), out) == {"first": "its command has changed", "second": "first runs before"}
    run(changed, out)
    assert [ran(name) for name in ("first", "second", "third")] == [2, 2, 1]
    assert (out / "units/first/result.txt").read_text() == "new"


def test_a_changed_file_runs_again_and_brought_results_do_not(units, tmp_path):
    make, ran = units
    out, file = tmp_path / "out", tmp_path / "settings.yaml"
    file.write_text("a: 1")
    planned = [make("only", files=(file,))]
    run(planned, out)
    file.write_text("a: 2")
    assert missing(planned, out) == {"only": f"{file} has changed"}
    run(planned, out)
    assert ran("only") == 2
    path = out / "units/only/unit.json"
    mark = json.loads(path.read_text())
    del mark["inputs"]
    path.write_text(json.dumps(mark))
    file.write_text("a: 3")
    assert missing(planned, out) == {}


def test_a_failure_is_one_line_and_spares_the_others(units, tmp_path):
    make, ran = units
    out = tmp_path / "out"
    fails = COUNTING + "print('told'); sys.exit('cannot be done')"
    planned = [
        make("bad", code=fails),
        make("after", needs=("bad",)),
        make("last", needs=("after",)),
        make("good"),
    ]
    failures, lines = run(planned, out)
    assert [failure.unit for failure in failures] == ["bad", "after", "last"]
    (told_line,) = [line for line in lines if "FAILED" in line]
    log = Path(re.search(r"\(log: (.*)\)", told_line)[1])
    assert "exit code 1" in told_line and "cannot be done" in told_line and "told" in log.read_text()
    assert "needs bad" in failures[1].reason and "needs after" in failures[2].reason
    assert (ran("good"), ran("after")) == (1, 0) and not (out / "units/bad").exists()
    failures, _ = run([make("bad"), *planned[1:]], out)
    assert failures == [] and [ran(name) for name in ("bad", "after", "last", "good")] == [2, 1, 1, 1]


TRAINING = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
given = [word for word in sys.argv[2:] if word.startswith("--ckpt_path=")]
if not given:
    (folder / "last.ckpt").write_text("half"); time.sleep(60)
(folder / "result.txt").write_text(pathlib.Path(given[0].partition("=")[2]).read_text())
"""
DRIVER = """
import sys
from pathlib import Path
from benchmarks.headline.runner import run_units
from benchmarks.headline.units import PlannedUnit
run_units([PlannedUnit("long", ("python", "-c", sys.argv[2], "{folder}"), resume="checkpoint")], Path(sys.argv[1]))
"""


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint(tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), TRAINING], cwd=ROOT)
    part = tmp_path / "units/.long.part"
    unit = PlannedUnit("long", ("python", "-c", TRAINING, FOLDER), resume="checkpoint")
    deadline = time.monotonic() + 60
    while not (part / "last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "another process" in run([unit], tmp_path)[0][0].reason
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(30) != 0
    spent = json.loads((part / "spent.json").read_text())["seconds"]
    assert not (tmp_path / "units/long").exists() and spent > 0
    failures, lines = run([unit], tmp_path)
    assert failures == [] and "where it was stopped" in lines[0]
    assert (tmp_path / "units/long/result.txt").read_text() == "half"
    assert json.loads((tmp_path / "units/long/unit.json").read_text())["seconds"] > spent


def test_a_stopped_unit_of_another_command_begins_anew(units, tmp_path):
    make, _ = units
    left = COUNTING + "(folder / 'left.txt').write_text('x'); sys.exit(1)"
    kept = COUNTING + "(folder / 'found.txt').write_text(str((folder / 'left.txt').exists()))"
    out = tmp_path / "out"
    run([make("a", code=left, resume="folder")], out)
    run([make("a", code=kept, resume="folder")], out)
    assert (out / "units/a/found.txt").read_text() == "False"


def test_units_run_side_by_side(tmp_path):
    meet = (
        "import pathlib, sys, time\nown, other = (pathlib.Path(sys.argv[1]) / name for name in sys.argv[2:])\n"
        "own.touch()\nfor _ in range(300):\n    time.sleep(0.1)\n    if other.exists(): sys.exit(0)\nsys.exit(1)"
    )
    planned = [PlannedUnit(f"u{own}", ("python", "-c", meet, str(tmp_path), own, other)) for own, other in ("ab", "ba")]
    assert run(planned, tmp_path / "out", jobs=2)[0] == []
    with pytest.raises(ConfigError, match="--jobs is 0"):
        run(planned, tmp_path / "out", jobs=0)


def test_wrong_plans_are_refused(units):
    make, _ = units
    with pytest.raises(ConfigError, match="no unit is called 'b'"):
        in_order([make("a", needs=("b",))])
    with pytest.raises(ConfigError, match="need each other"):
        in_order([make("a", needs=("b",)), make("b", needs=("a",))])
    with pytest.raises(ConfigError, match="two units are called 'a'"):
        in_order([make("a"), make("a")])
    names = [unit.name for unit in in_order([make("a"), make("b", needs=("a",)), make("c")], ["b"])]
    assert names == ["a", "b"]


# The plan


@pytest.fixture(scope="module")
def planned():
    return {unit.name: unit for unit in plan(Path("raw"), DEFAULT_OUT, ROOT / CONFIGS / "chosen.yaml")}


def test_every_file_that_a_command_reads_is_made_by_a_unit_that_it_needs(planned):
    for unit in in_order(list(planned.values())):
        text = " ".join(unit.command)
        for word in unit.command[1:]:
            if word.startswith((f"{CONFIGS}/", "sweeps/")):
                text += (ROOT / word).read_text()
        read = set(re.findall(rf"{DEFAULT_OUT}/units/([\w.]+)/", text))
        read |= set(re.findall(rf"{DEFAULT_OUT}/(data|pairs_data)\b", text)) - {unit.name}
        if "headline.nearest" not in text:
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
            if word.startswith(str(out / "configs")):
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


def test_a_dry_run_shows_what_would_run(units, tmp_path):
    make, _ = units
    first, second = make("first"), make("second", needs=("first",))
    run([first], tmp_path)
    assert told([first, second], tmp_path, commands=True, finished=False) == [
        "second: not done",
        f"    {second.line(tmp_path)}",
        "1 of 2 units to run",
    ]
    assert told([first], tmp_path, commands=False, finished=True)[0] == "first: done"


def test_choices_reach_the_test_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load((CONFIGS / "chosen.yaml").read_text())
    content["mld"].update(mu=7.5, eta=2.5, cfg_scale=3.0, checkpoint="epoch149.ckpt")
    content["rows"]["latent"] = {"mu": 12.5}
    path = tmp_path / "chosen.yaml"
    path.write_text(yaml.safe_dump(content))
    found = {unit.name: unit.command for unit in plan(Path("raw"), DEFAULT_OUT, path)}
    expected = {"mu": 7.5, "eta": 2.5, "cfg_scale": 3.0, "replications": 20}
    assert {f"--model.init_args.{name}={value}" for name, value in expected.items()} <= set(found["test_mld"])
    assert "--model.init_args.generator=runs/headline/units/mld/epoch149.ckpt" in found["test_mld"]
    assert {"--model.init_args.mu=0.0", "--model.init_args.eta=2.5"} <= set(found["test_mld_motion"])
    assert {"--model.init_args.mu=7.5", "--model.init_args.eta=0.0"} <= set(found["test_mld_text"])
    assert "--model.init_args.mu=12.5" in found["test_mld_latent"]
    for change, message in (
        ({"mdm": {}}, "mdm is {}"),
        ({"other": 1}, "and no others"),
        ({"rows": {"nothing": {}}}, "rows has 'nothing'"),
        ({"mld": {**content["mld"], "mu": "strong"}}, "mld.mu is 'strong'"),
    ):
        path.write_text(yaml.safe_dump({**content, **change}))
        with pytest.raises(ConfigError, match=re.escape(message)):
            plan(Path("raw"), DEFAULT_OUT, path)


def test_every_row_is_a_setting_that_the_product_knows(cli_bench, tmp_path, monkeypatch):
    """The parser takes every command, and the module every combination of settings."""
    from lightning_realign.inference import GuidedGeneration

    mld = read_chosen(ROOT / CONFIGS / "chosen.yaml").generators["mld"]
    for row, variant in variants(mld).items():
        settings = {**mld, **variant.settings}
        settings.pop("checkpoint")
        module = GuidedGeneration("generator.ckpt", rows=list(variant.rows), **settings)
        assert module.rows == variant.rows, row


@pytest.mark.parametrize("name", ["test_mld", "test_mld_nearest", "val_mld", "test_pairs", "mld"])
def test_commands_say_what_they_mean(name, planned, monkeypatch, capsys):
    """Of several configurations laid over each other, as the parser understands them."""
    pytest.importorskip("benchmarks.headline.probes")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])
    with pytest.raises(SystemExit) as ended:
        realign(*planned[name].arguments(Path("there"))[2:], "--print_config")
    assert ended.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    settings = config["model"]["init_args"]
    assert config["trainer"]["default_root_dir"] == "there"
    if name == "mld":
        kept = [entry["init_args"]["filename"] for entry in config["trainer"]["callbacks"]]
        assert kept == ["best", "last", "epoch{epoch:03d}"]
        assert {entry["init_args"]["dirpath"] for entry in config["trainer"]["callbacks"]} == {"there"}
        return
    judges = {judge: entry["path"] for judge, entry in settings["judges"].items()}
    names = {"test_pairs": {"guo": "pairs_guo"}, "val_mld": {"guo": "select_guo", "tmr": "select_tmr"}}
    expected = names.get(name, {"guo": "judge_guo", "tmr": "judge_tmr"})
    assert judges == {judge: f"runs/headline/units/{unit}/last.ckpt" for judge, unit in expected.items()}
    assert settings["replications"] == {"test_mld": 20, "val_mld": 1}.get(name, 5)
    assert len(settings["probes"] or ()) == (0 if name == "val_mld" else 2)


# The sweeps

SWEEPS = sorted((ROOT / "sweeps").glob("mocap_*.yaml"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A data set whose validation split fills a pool of R-Precision."""
    root = tmp_path_factory.mktemp("wide") / "data"
    make_dataset(root, "humanml3d", train=16, val=32, test=2, seed=1, progress=False)
    return root


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
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
        "--model.init_args.steps=2",
        f"--model.init_args.judges={{guo: {judge}, tmr: {judge}}}",
        f"--trainer.default_root_dir={checkout / 'point'}",
    )
    assert 0 <= run.trainer.callback_metrics[spec.metric].item() <= 1
    assert f"{spec.metric.rpartition('/')[0]}/FID" in run.trainer.callback_metrics


def test_every_sweep_of_the_study_is_a_unit(planned):
    swept = {unit.files[0].name for unit in planned.values() if "sweep" in unit.command}
    assert swept == {path.name for path in SWEEPS}


# The splits


CONTENTS = ("walk", "run", "wave", "bow", "turn", "kick", "few")
STYLES = ("calm", "angry", "old", "young", "proud", "sad")


def label(number: int) -> tuple[str, str]:
    content = CONTENTS[number % len(CONTENTS)]
    return content, STYLES[number // len(CONTENTS) % (2 if content == "few" else len(STYLES))]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A source folder of 84 small motions, each with a caption of its content and style."""
    root = tmp_path_factory.mktemp("source")
    spec, random = load_skeleton("humanml3d"), np.random.default_rng(0)
    (root / "joints").mkdir()
    (root / "texts").mkdir()
    lines = ["name,content,style"]
    for number in range(84):
        content, style = label(number)
        frames = 30 + number % 3
        np.save(root / f"joints/m{number:02d}.npy", random_joints(spec, frames, random).float().numpy())
        (root / f"texts/m{number:02d}.txt").write_text(f"a {style} person does {content}\nsomeone moves\n")
        lines.append(f"m{number:02d},{content},{style}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    about = {"name": "small", "fps": 20, "unit": "metre", "up": "y", "skeleton": "humanml3d", "min_length": 24}
    (root / "metadata.json").write_text(json.dumps(about))
    for split, numbers in (("train", range(60)), ("val", range(60, 66)), ("test", range(66, 84))):
        (root / f"{split}.txt").write_text("".join(f"m{number:02d}\n" for number in numbers))
    return root


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """Both data sets of the source."""
    out = tmp_path_factory.mktemp("built")
    build(source, out / "data")
    build_pairs(source, out / "pairs_data")
    return out


def test_held_out_pairs_are_whole_and_their_parts_are_known(source):
    pairs = read_pairs(source / "labels.csv")
    lists = pair_splits(pairs)
    assert sorted(name for names in lists.values() for name in names) == sorted(pairs)
    in_split = {split: {pairs[name] for name in names} for split, names in lists.items()}
    assert not in_split["test"] & (in_split["train"] | in_split["val"])
    for place in (0, 1):
        assert {pair[place] for pair in in_split["test"]} <= {pair[place] for pair in in_split["train"]}
    assert "few" not in {content for content, _ in in_split["test"]}
    assert 0.12 <= len(lists["test"]) / len(pairs) <= 0.15
    assert held_out_pairs(dict(reversed(pairs.items()))) == in_split["test"] == held_out_pairs(pairs)
    assert held_out_pairs(pairs, seed=2) != in_split["test"]
    with pytest.raises(DataError, match="too few to hold out"):
        held_out_pairs({f"m{number}": ("walk", "calm") for number in range(20)})


def test_statistics_are_those_of_each_splits_own_training_motions(built):
    found = {}
    for name in ("data", "pairs_data"):
        root = built / name
        motions = [np.load(root / f"new_joint_vecs/{motion}.npy") for motion in read_split(root / "train.txt")]
        mean, std = feature_statistics(motions, load_skeleton("humanml3d"))
        np.testing.assert_allclose(np.load(root / "Mean.npy"), mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.load(root / "Std.npy"), std, rtol=1e-5, atol=1e-6)
        found[name] = np.load(root / "Mean.npy")
    assert np.abs(found["data"] - found["pairs_data"]).max() > 1e-4
    assert OwnDataModule(built / "pairs_data").metadata.name == "small_pairs"


def test_the_source_is_left_alone_and_a_finished_data_set_too(source, built, tmp_path):
    before = sorted(path for path in source.rglob("*"))
    assert build(source, built / "data").endswith("built earlier")
    assert build_pairs(source, built / "pairs_data").endswith("built earlier")
    with pytest.raises(DataError, match=r"was built of another train\.txt"):
        build_pairs(source, built / "data")
    assert sorted(path for path in source.rglob("*")) == before
    assert not [path for path in built.iterdir() if path.name.startswith(".pairs_source")]


def test_wrong_labels_are_refused(source, tmp_path):
    for text, message in (
        ("name,kind\nm00,walk\n", "write name,content,style"),
        ("name,content,style\nm00,walk,\n", "line 2 lacks"),
    ):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            read_pairs(tmp_path / "labels.csv")


def test_unseen_captions_are_those_of_no_training_motion(tmp_path):
    (tmp_path / "texts").mkdir()
    captions = {"a": ["walks", "goes"], "b": ["runs"], "c": ["goes", "new"], "d": ["hops", "walks"]}
    for name, lines in captions.items():
        tokens = [f"{line}#{line}/VERB#0.0#0.0" for line in lines]
        (tmp_path / f"texts/{name}.txt").write_text("\n".join(tokens) + "\n")
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "test.txt").write_text("c\nd\n")
    assert unseen_ids(tmp_path) == ["d"]


# x^c as the output


def test_stretching_is_linear_in_time():
    times = torch.linspace(0, 1, 7, dtype=torch.float64)
    moving = torch.stack([3 * times, 1 - times, torch.full_like(times, 2.0)], dim=1)[:, None].expand(7, 22, 3)
    for frames in (4, 7, 20):
        new = torch.linspace(0, 1, frames, dtype=torch.float64)
        expected = torch.stack([3 * new, 1 - new, torch.full_like(new, 2.0)], dim=1)[:, None].expand(frames, 22, 3)
        torch.testing.assert_close(stretched(moving, frames), expected)


def test_the_nearest_motions_are_what_sample_scoring_asks_for(built, tmp_path, checkout, hashed_cache):
    data, out = built / "data", tmp_path / "made"
    reward = write_reward(tmp_path / "reward.ckpt", dataset_normaliser(data, "humanml3d"), "humanml3d")
    matches = write_nearest(data, reward, out, replications=2, index_cache=tmp_path / "index")
    assert set(matches) == set(read_split(data / "test.txt"))
    assert set(matches.values()) <= set(read_split(data / "train.txt"))
    run = realign(
        *("test", "--config", "configs/guided/samples.yaml", *(word for word in TINY_RUN if "limit" not in word)),
        *(f"--data.init_args.root={data}", f"--model.init_args.folder={out}", "--model.init_args.replications=2"),
        *("--model.init_args.judges={}", f"--model.init_args.reward={reward}"),
    )
    assert isinstance(run.model, SampleScoring)
    assert run.trainer.callback_metrics["test/samples/reward"] > run.trainer.callback_metrics["test/real/reward"] - 0.2
    with pytest.raises(ConfigError, match="--replications is 0"):
        write_nearest(data, reward, out, replications=0)
