"""The study's tables: sweeps, retrieval, cells, and everything that is written of a small study."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.mocap.report.analysis import first_replications, pooled_distance
from experiments.mocap.report.finished import Unit, finished_units, latest
from experiments.mocap.report.retrieval_levels import Place, read_levels, retrieval_sheets
from experiments.mocap.report.sheets import Sheet
from experiments.mocap.report.slim_receipts import slim_receipt
from experiments.mocap.report.sweep_points import is_chosen, lines, points_of, slices
from experiments.mocap.report.tables import main, write_tables
from lightning_realign.errors import DataError
from lightning_realign.evaluation.judge_metrics import floor_distances
from lightning_realign.evaluation.paired import Difference
from lightning_realign.evaluation.scoring import score
from lightning_realign.report.intervals import Interval, interval
from lightning_realign.report.receipts import Receipt
from tests.helpers.small_runs import a_record, write_mark, write_run, write_unit


def receipt(value, systems=("guided",), **settings) -> Receipt:
    metrics = {"guo/R@1_caption": interval([value]), "reward": interval([value / 2])}
    own = {
        "guidance.scale": "score",
        "guidance.location": "x0",
        "sampling.steps": 20,
        "sampling.cfg_scale": 2.5,
        "measuring.replications": 1,
        "generator.path": "out/units/mld/best.ckpt",
        "reward.path": "out/units/reward/last.ckpt",
        **settings,
    }
    nested: dict[str, dict[str, object]] = {}
    for name, setting in own.items():
        section, _, key = name.partition(".")
        nested.setdefault(section, {})[key] = setting
    return Receipt(dict.fromkeys(systems, metrics), nested)


def at(mu, eta):
    return {"guidance.mu": mu, "guidance.eta": eta}


def test_sweep_points_fill_planes_and_lines():
    runs = [receipt(mu + eta, **at(mu, eta)) for mu in (1.0, 3.0, 10.0) for eta in (0.0, 2.0)]
    omega = "out/units/reward_omega_0.25/last.ckpt"
    runs += [receipt(7.0, **at(mu, 0.0), **{"reward.path": omega}) for mu in (1.0, 3.0)]
    runs += [
        receipt(9.0, **{**at(1.0, 0.0), "guidance.scale": "constant"}),
        receipt(0.1, systems=("unguided",), **at(0.0, 0.0)),
    ]
    points = [point for run in runs for point in points_of("mld", run)]
    (plane,) = slices(points, ("mu", "eta"))
    assert {(point.mu, point.eta) for point in plane.points} == {(m, e) for m in (1, 3, 10) for e in (0, 2)}
    assert plane.fixed == ("omega", 0.5) and "scale score" in plane.title and "reward" not in plane.title
    (across,) = slices(points, ("mu", "omega"))
    assert {(point.mu, point.omega) for point in across.points} == {(1, 0.5), (3, 0.5), (10, 0.5), (1, 0.25), (3, 0.25)}
    line = next(line for line in lines(points) if line.fixed == ("omega", 0.5))
    assert [(point.mu, point.metrics["guo/R@1_caption"]) for point in line.points] == [
        (0, 0.1),
        (1, 1),
        (3, 3),
        (10, 10),
    ]
    (chosen,) = points_of("mld", receipt(0.0, **{**at(3.0, 2.0), "sampling.seed": 5, "measuring.replications": 20}))
    assert [(point.mu, point.eta) for point in points if is_chosen(point, chosen)] == [(3.0, 2.0)]
    assert not any(is_chosen(point, None) for point in points)


def test_retrieval_is_averaged_over_seeds(tmp_path):
    for seed, value in ((1, 20.0), (2, 40.0)):
        metrics = {"test/t300/t2m_R@1": value, "test/t300/pool32/m2t_R@10": 3 * value, "test/loss": 1.0}
        write_unit(tmp_path, f"retrieval_step_s{seed}", {"metrics.json": {"stage": "test", "metrics": metrics}})
    write_unit(tmp_path, "retrieval_tmr_s1", {"metrics.json": {"stage": "fit", "metrics": {"test/t0/t2m_R@1": 1.0}}})
    levels = read_levels(finished_units(tmp_path))
    assert levels == {
        Place("step", "", "t2m", 300, 1): interval([20.0, 40.0]),
        Place("step", "pool32", "m2t", 300, 10): interval([60.0, 120.0]),
    }


def test_retrieval_of_the_other_rewards_has_a_table_of_its_own(tmp_path):
    measured = {"step_s1": 70.0, "step_s2": 72.0, "omega_0.25_s1": 60.0, "notoken_s1": 50.0}
    for name, value in measured.items():
        metrics = {"test/t300/pool32/t2m_R@1": value}
        write_unit(tmp_path, f"retrieval_{name}", {"metrics.json": {"stage": "test", "metrics": metrics}})
        sheets = retrieval_sheets(read_levels(finished_units(tmp_path)))
        assert len(sheets) == (2 if "step" not in name else 1)
    both, others = sheets
    assert both.rows[0][:3] == ("text to motion", "300", interval([70.0, 72.0]))
    assert others.headers == ("direction", "t", "omega 0.25", "omega 0.5", "no step token")
    assert others.rows[0] == ("text to motion", "300", interval([60.0]), interval([70.0, 72.0]), interval([50.0]))


def test_only_marked_units_count_and_the_newest_version_is_read(tmp_path):
    run = write_unit(tmp_path, "vae", {"metrics.json": {}})
    for number in (2, 10):
        other = run.parent / f"version_{number}"
        other.mkdir()
        (other / "metrics.json").write_text("{}")
    write_mark(tmp_path / "units" / ".mld.part")
    (tmp_path / "units" / "mdm").mkdir()
    units = finished_units(tmp_path)
    assert list(units) == ["vae"]
    assert latest(units["vae"].folder, "metrics.json") == run.parent / "version_10" / "metrics.json"
    (tmp_path / "units" / "vae" / "unit.json").write_text('{"seconds": "long"}')
    with pytest.raises(DataError, match="'seconds' and 'cpu_seconds'"):
        finished_units(tmp_path)


def test_cells_are_shown_to_readers_and_kept_whole_for_programs():
    cells = ("row", interval([0.5, 0.7]), Difference(0.2, 0.5, 0.1, 0.4), Difference(0.2, 0.1, -0.3, 0.1), None)
    sheet = Sheet("name", "Title", ("a", "b", "c", "d", "e"), (cells,), ("A note.",))
    shown = sheet.markdown()
    assert shown.startswith("## Title") and "0.600 ± 0.139" in shown and "A note." in shown
    assert "**+0.300 [+0.100, +0.400]**" in shown and "| -0.100 [-0.300, +0.100]" in shown
    (line,) = csv.DictReader(sheet.csv().splitlines())
    assert float(line["b"]) == pytest.approx(0.6) and float(line["c"]) == pytest.approx(0.3)
    assert float(line["d_low"]) == -0.3 and line["e"] == ""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A small study with a data set, a main run, an ablation, a weaker base, a sweep, retrieval, and a run at work."""
    out = tmp_path_factory.mktemp("study")
    main_run = a_record(guidance={"mu": 3.0, "eta": 0.0, "scale": "score"})
    write_run(out, "test_mld", main_run)
    write_run(out, "test_mld_text", first_replications(a_record(gain=0.2, rows=("real", "guided")), 2))
    write_run(out, "test_mld_cfg1", first_replications(a_record(gain=0.1, seed=9), 2))
    write_run(out, "test_mld_other", replace(a_record(rows=("real", "guided")), settings={"seed": 3}))
    write_run(out, "test_mld_nearest", a_record(gain=0.5, rows=("real", "guided")))
    table = json.loads((out / "units/test_mld/logs/version_0/table-test.json").read_text())
    for mu in (1.0, 3.0, 10.0):
        for eta in (0.0, 1.0):
            content = {"systems": table["systems"], "settings": {"guidance": {"mu": mu, "eta": eta, "scale": "score"}}}
            run = out / "units" / "val_mld_mu_eta" / f"mu={mu},eta={eta}"
            run.mkdir(parents=True)
            (run / "table-val.json").write_text(json.dumps(content))
            (run / "point.json").write_text("{}")
    levels = {f"test/t{t}/{way}_R@{k}": 50.0 + k - t / 20 for t in (0, 300) for way in ("t2m", "m2t") for k in (1, 10)}
    for kind in ("step", "tmr"):
        write_unit(out, f"retrieval_{kind}_s1", {"metrics.json": {"stage": "test", "metrics": levels}})
    return out


@pytest.fixture(scope="module")
def written(study, tmp_path_factory) -> Path:
    """Tables, pictures and receipts of the study."""
    into = tmp_path_factory.mktemp("written")
    unseen, planned = ["001", "010", "011"], ["test_mld", "test_mdm"]
    write_tables(study, into, unseen=unseen, planned=planned, receipts=into / "receipts")
    return into


def test_all_tables_and_pictures_of_a_study(written):
    text = (written / "tables.md").read_text()
    assert "Not measured, and so left out: test_mdm." in text
    assert "matched floor of mld: its data set" in text
    assert "mld_other against guided: the two runs differ in seed" in text
    assert "3 of 80 test motions" in text
    with (written / "mld_guo.csv").open() as file:
        rows = {line["system"]: line for line in csv.DictReader(file)}
    expected = score(a_record())
    judge = a_record().judges["guo"]
    floor = np.mean(floor_distances(judge.train, judge.motion["real"][0]))
    assert list(rows) == [
        "Real",
        "nearest training motion",
        "unguided",
        "guided",
        "parts of the training split (the floor)",
    ]
    assert float(rows["guided"]["R@1"]) == expected["guided"]["guo/R@1"].mean
    assert float(rows["guided"]["FID - floor"]) == pytest.approx(expected["guided"]["guo/FID"].mean - floor)
    assert float(rows["guided"]["pooled FID"]) == pytest.approx(pooled_distance(judge, "guided"))
    with (written / "mld_motion.csv").open() as file:
        motion = {line["system"]: line for line in csv.DictReader(file)}
    errors = {row: 1 - expected[row]["semantic_accuracy"].mean for row in ("unguided", "guided")}
    assert float(motion["guided"]["error / unguided's"]) == pytest.approx(errors["guided"] / errors["unguided"])
    assert [motion[row]["replications"] for row in ("Real", "guided")] == ["1", "4"]
    with (written / "mld_sweeps.csv").open() as file:
        assert sorted(line["mu"] for line in csv.DictReader(file)) == ["0", "1", "1", "10", "10", "3", "3"]
    pictures = {path.name for path in written.glob("*.png")}
    assert pictures == {
        "main.png", "mld_ablations_unguided.png", "mld_ablations_guided.png", "mld_mu_eta_1.png", "mld_hacking.png",
        "retrieval.png",
    }  # fmt: skip
    for name in pictures:
        with Image.open(written / name) as image:
            assert min(image.size) > 200 and len(image.convert("RGB").getcolors(1 << 20) or range(100)) > 20


def test_study_receipts_are_slim_and_tell_no_place(study, written):
    path = written / "receipts" / "test_mld.json"
    content = json.loads(path.read_text())
    assert content["unit"]["command"].endswith("OUT/units/test_mld") and str(study) not in path.read_text()
    assert set(content["sha256"]) == {"logs/version_0/table-test.json", "logs/version_0/samples-test.safetensors"}
    values = content["systems"]["guided"]["guo/R@1"]["values"]
    assert values == pytest.approx(score(a_record())["guided"]["guo/R@1"].values)
    pooled = pooled_distance(a_record().judges["guo"], "guided")
    assert content["systems"]["guided"]["guo/FID_pooled"]["mean"] == pytest.approx(pooled, rel=1e-5)
    assert path.stat().st_size < 30_000


def test_no_folder_of_the_machine_stands_in_a_receipt(tmp_path):
    details = {
        "command": f"python -m tool --source /home/me/motions --out {tmp_path}/data --x=/a/b.yaml --url=https://c.d/e",
        "inputs": {f"{tmp_path}/configs/f.yaml": "x", "sweeps/g.yaml": "walk / old"},
    }
    found = slim_receipt(Unit("data", tmp_path / "units/data", 1.0, 1.0, "", details), tmp_path)["unit"]
    assert found == {
        "command": "python -m tool --source motions --out OUT/data --x=b.yaml --url=https://c.d/e",
        "inputs": {"OUT/configs/f.yaml": "x", "sweeps/g.yaml": "walk / old"},
    }


def test_the_criteria_are_judged(written):
    with (written / "mld_criteria.csv").open() as file:
        found = {line["criterion"]: line for line in csv.DictReader(file)}
    assert found["guo/MM-Dist: below unguided"]["reached"] == "yes"
    skating = found["foot skating: at most 1.05 times"]
    assert float(skating["guided / unguided"]) == pytest.approx(0.5) and skating["reached"] == "yes"
    ratio = float(found["guo/FID minus floor: at most 0.412 times"]["guided / unguided"])
    table, judge = score(a_record()), a_record().judges["guo"]
    floor = np.mean(floor_distances(judge.train, judge.motion["real"][0]))
    above = [table[row]["guo/FID"].mean - floor for row in ("unguided", "guided")]
    assert ratio == pytest.approx(above[1] / above[0])
    assert found["guo/FID minus floor: at most 0.412 times"]["reached"] == ("yes" if ratio <= 0.412 else "no")


def test_a_folder_without_units_is_one_line(tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "is not a folder" in error


def test_intervals_of_one_replication_have_no_width():
    assert "±" not in Sheet("n", "t", ("a",), ((Interval(0.25, None, (0.25,)),),)).markdown()


def test_a_bound_that_is_zero_but_for_rounding_excludes_nothing():
    assert not Difference(0.2, 0.3, 7e-19, 0.2).clear and not Difference(0.3, 0.2, -0.2, -7e-19).clear
    assert Difference(0.2, 0.3, 1e-4, 0.2).clear and Difference(0.3, 0.2, -0.2, -1e-4).clear
