"""What a test run draws and repeats: captions, crops, motions for MultiModality; and motions made elsewhere."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.data.tasks import repeated, write_tasks
from lightning_realign.errors import CheckpointError, ConfigError, DataError
from lightning_realign.evaluation import SampleScoring
from lightning_realign.evaluation.record import read_record
from lightning_realign.evaluation.scoring import score
from lightning_realign.motion import load_skeleton, recover_joints
from lightning_realign.settings.measuring import MeasuringConfig
from lightning_realign.settings.sources import JudgeSource, RewardSource
from tests.inference.test_generation import assert_same_systems, make_trainer, run_test


def data_of(bench, batch_size=3) -> HumanML3DDataModule:
    data = HumanML3DDataModule(bench.data, batch_size=batch_size)
    data.setup("test")
    return data


def score_samples(bench, folder, out, **settings) -> dict:
    judges = {"second": JudgeSource("tmr", bench.reward)}
    reward, measuring = RewardSource(bench.reward), MeasuringConfig(**{"multimodality_captions": 0, **settings})
    model = SampleScoring(str(folder), reward=reward, measuring=measuring, judges=judges)
    make_trainer(out).test(model, datamodule=HumanML3DDataModule(bench.data, batch_size=4), verbose=False)
    return json.loads((out / "table-test.json").read_text())


def test_draws_depend_on_the_seed_and_the_draw_alone(bench):
    data, ids = data_of(bench), [f"{number:06d}" for number in range(14, 21)]
    first, again = data.drawn("test", ids, 1), data.drawn("test", ids[::-1], 1)
    place = len(ids) - 1
    assert [*again.captions][::-1] == [*first.captions]
    length = int(first.lengths[0])
    assert torch.equal(first.motion[0, :length], again.motion[place, :length])
    draws = [data.drawn("test", ids, draw) for draw in range(6)]
    assert len({batch.captions for batch in draws}) > 1
    assert len({tuple(batch.lengths.tolist()) for batch in draws}) > 1


def test_the_published_protocol_measures_its_own_captions_and_crops(bench, tmp_path):
    judges = {"second": JudgeSource("tmr", bench.reward)}
    settings = {"protocol": "published", "judges": judges, "multimodality_repeats": 10, "multimodality_captions": 2}
    table = run_test(bench, tmp_path / "a", batch_size=7, **settings)
    assert_same_systems(table, run_test(bench, tmp_path / "b", batch_size=2, **settings))
    record, data = read_record(tmp_path / "a"), data_of(bench)
    assert len(record.captions) == 2 and record.captions[0] != record.captions[1]
    for draw, captions in enumerate(record.captions):
        assert captions == data.drawn("test", record.ids, draw).captions
    real = record.judges["second"].motion["real"]
    assert real.shape[0] == 2 and not torch.equal(real[0], real[1])
    assert len(table["systems"]["real"]["reward"]["values"]) == 2
    assert record.judges["second"].repeats["guided"].shape[:2] == (2, 10)


def test_repeats_are_the_replications_motions_and_more(bench, tmp_path):
    judges = {"second": JudgeSource("tmr", bench.reward)}
    sizes = {"multimodality_captions": 3, "multimodality_repeats": 10}
    table = run_test(bench, tmp_path, judges=judges, **sizes)
    record = read_record(tmp_path)
    embeddings = record.judges["second"]
    assert embeddings.repeats.keys() == {"unguided", "guided"}
    repeats = embeddings.repeats["guided"]
    assert repeats.shape[:2] == (3, 10)
    wanted = repeated(list(record.ids), 3, 1234)
    chosen = [place for place, sample in enumerate(record.ids) if sample in wanted]
    assert torch.equal(repeats[:, :2].transpose(0, 1), embeddings.motion["guided"][:, chosen])
    # All motions of a caption differ.
    assert all(len({tuple(row) for row in motions.tolist()}) == 10 for motions in repeats)
    again = score(record)["guided"]["second/MultiModality"]
    assert table["systems"]["guided"]["second/MultiModality"]["mean"] == again.mean > 0
    run_test(bench, tmp_path / "more", replications=10, judges=judges, systems=["real", "guided"], **sizes)
    more = read_record(tmp_path / "more").judges["second"].repeats["guided"]
    torch.testing.assert_close(more, repeats, atol=1e-4, rtol=1e-4)


def test_values_of_a_record_are_those_of_the_run(bench, tmp_path):
    table = run_test(bench, tmp_path, judges={"second": JudgeSource("tmr", bench.reward)})
    for system, metrics in score(read_record(tmp_path)).items():
        assert {name: value.mean for name, value in metrics.items()} == {
            name: value["mean"] for name, value in table["systems"][system].items()
        }


@pytest.mark.parametrize("protocol", ["fixed", "published"])
def test_real_motions_as_samples_score_as_real(bench, tmp_path, protocol):
    """Real motions, written for the tasks: once as features, once as joints."""
    tasks, folder, data = tmp_path / "tasks.csv", tmp_path / "made", data_of(bench)
    assert write_tasks(bench.data, tasks, "test", protocol, 2, 3, 10, data.seed) == 14 + 30
    folder.mkdir()
    lines = list(csv.DictReader(tasks.read_text().splitlines()))
    for line in lines:
        kind, number = line["file"].removesuffix(".npy").rpartition("_")[2][0], line["file"].rpartition("_")[2][1:-4]
        draw = int(number) if protocol == "published" and kind == "r" else None
        (sample,) = data.samples("test", [line["id"]], draw)
        assert (line["caption"], int(line["frames"])) == (sample.caption, len(sample.motion))
        np.save(folder / line["file"], sample.motion)
    sizes = {"replications": 2, "multimodality_captions": 3, "multimodality_repeats": 10}
    systems = score_samples(bench, folder, tmp_path / "out", **sizes, protocol=protocol)["systems"]
    # All repeats are the same real motion.
    assert systems["samples"]["second/MultiModality"]["mean"] == pytest.approx(0, abs=1e-6)
    assert not {"seconds", "denoiser_calls"} & systems["samples"].keys()
    assert systems["samples"]["second/FID"]["mean"] == pytest.approx(0, abs=1e-6)
    for metric in ("reward", "oracle_accuracy", "jerk", "second/MM-Dist"):
        assert systems["samples"][metric]["mean"] == pytest.approx(systems["real"][metric]["mean"], rel=1e-6), metric


def test_joints_are_turned_into_features(bench, tmp_path):
    data, skeleton = data_of(bench), load_skeleton("humanml3d")
    for sample in data.samples("test", data.ids("test")):
        joints = recover_joints(torch.from_numpy(sample.motion.copy()), skeleton).numpy()
        # Features of T frames need T + 1 positions; the last one is put where the motion stood.
        np.save(tmp_path / f"{sample.id}.npy", np.concatenate((joints, joints[-1:])))
    systems = score_samples(bench, tmp_path, tmp_path / "out", replications=1)["systems"]
    assert systems["samples"]["foot_height"]["mean"] == pytest.approx(systems["real"]["foot_height"]["mean"], abs=0.02)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((200, 7)), r"give floats \[T, 263\]"),
        (np.zeros((200, 21, 3)), r"\[T, 22, 3\]"),
        (np.zeros((3, 263)), "3 frames, the task has"),
        (np.full((200, 263), np.nan), "NaN or infinity"),
        (np.zeros((200, 263), dtype=np.int64), "int64"),
    ],
)
def test_a_motion_that_cannot_be_measured_is_named(bench, tmp_path, array, message):
    for number in range(14, 21):
        np.save(tmp_path / f"{number:06d}.npy", np.zeros((200, 263)) if number != 17 else array)
    with pytest.raises(DataError, match=rf"000017\.npy: .*{message}"):
        score_samples(bench, tmp_path, tmp_path / "out", replications=1)
    assert not (tmp_path / "out" / "table-test.json").exists()


def test_missing_motions_are_counted(bench, tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        score_samples(bench, tmp_path / "none", tmp_path / "out")
    np.save(tmp_path / "000014.npy", np.zeros((200, 263)))
    with pytest.raises(DataError, match=r"13 of 14 motions are missing, .*000015\.npy among them"):
        score_samples(bench, tmp_path, tmp_path / "out", replications=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "other"}, "use one of fixed, published"),
        ({"multimodality_captions": -1}, "multimodality_captions is -1"),
        ({"replications": 0}, "replications is 0"),
        ({"multimodality_captions": 5, "multimodality_repeats": 9}, "multimodality_repeats is 9; set it to 10"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        SampleScoring("folder", measuring=MeasuringConfig(**settings))


def test_samples_are_neither_predicted_nor_loaded(bench, tmp_path):
    model, data = SampleScoring(str(tmp_path)), HumanML3DDataModule(bench.data)
    with pytest.raises(ConfigError, match="nothing to predict"):
        make_trainer(tmp_path).predict(model, datamodule=data)
    with pytest.raises(CheckpointError, match="SampleScoring has no checkpoint of its own"):
        model.on_load_checkpoint({})


def test_labels_of_other_motions_are_refused(bench, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(bench.data, root)
    (root / "labels.csv").write_text("name,content\nx000014,walk\n")
    with pytest.raises(DataError, match=r"labels\.csv: labels none of the motions"):
        HumanML3DDataModule(root).setup("test")
    (root / "labels.csv").write_text("name,content,style\n000014,walk,old\n")
    data = HumanML3DDataModule(root)
    data.setup("test")
    assert data.labels == {"000014": "walk / old"}


def test_the_content_of_a_split_is_told_by_its_hash(bench, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(bench.data, root, copy_function=shutil.copyfile)  # without the files' times
    assert data_of(bench).content("test") == copied(root).content("test")
    text = root / "texts" / "000015.txt"
    text.write_text(text.read_text().replace("a ", "the ", 1) + "more#more/ADV#0.0#0.0\n")
    assert data_of(bench).content("test") != copied(root).content("test")


def copied(root) -> HumanML3DDataModule:
    data = HumanML3DDataModule(root)
    data.setup("test")
    return data
