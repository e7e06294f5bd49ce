"""Records of test runs: kept exactly, scored again, and compared system by system."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lightning_realign.cli.tools.records import compare_systems, rescore
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation.paired import Side, differences
from lightning_realign.evaluation.record import Embeddings, Record, read_record, write_record
from lightning_realign.evaluation.scoring import left_out, score
from lightning_realign.metrics.functional.generation import frechet_distance, gaussian_of, multimodality
from lightning_realign.report.intervals import interval
from lightning_realign.report.receipts import Receipt

SAMPLES, REPLICATIONS, WIDTH = 96, 3, 6


def a_record(gain=0.0, seed=0, **settings) -> Record:
    """Captions and motions that resemble them; the guided ones by `gain` more, with the unguided ones' noise."""
    random = torch.Generator().manual_seed(seed)
    text = 2 * torch.randn(1, SAMPLES, WIDTH, generator=random)
    noise = torch.randn(REPLICATIONS, SAMPLES, WIDTH, generator=random)
    motion = {"real": text + 0.5 * noise[:1], "unguided": text + noise, "guided": text + (1 - gain) * noise}
    rewards = torch.rand(REPLICATIONS, SAMPLES, generator=random, dtype=torch.float64)
    metrics = {
        "real": {"seconds": torch.zeros(1, SAMPLES, dtype=torch.float64)},
        "unguided": {"reward": rewards, "seconds": torch.ones_like(rewards)},
        "guided": {"reward": rewards + gain, "seconds": 2 * torch.ones_like(rewards)},
    }
    repeats = {"guided": torch.randn(5, 12, WIDTH, generator=random)}
    judge = Embeddings(text, motion, repeats, torch.randn(2 * SAMPLES + 3, WIDTH, generator=random))
    ids = tuple(f"{number:03d}" for number in range(SAMPLES))
    captions = (tuple(f"caption {number % 60}" for number in range(SAMPLES)),)
    labels = tuple(f"label {number % 9}" if number else None for number in range(SAMPLES))
    return Record(
        ids,
        captions,
        torch.full((1, SAMPLES), 40),
        labels,
        REPLICATIONS,
        metrics,
        {"judge": judge},
        {"seed": 1, **settings},
    )


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = a_record()
    write_record(tmp_path / "run" / "samples-test.safetensors", record)
    read = read_record(tmp_path / "run")
    assert (read.ids, read.captions, read.labels, read.settings) == (
        record.ids,
        record.captions,
        record.labels,
        record.settings,
    )
    for system, metrics in record.metrics.items():
        assert all(torch.equal(values, read.metrics[system][name]) for name, values in metrics.items())
    assert torch.equal(read.judges["judge"].repeats["guided"], record.judges["judge"].repeats["guided"])
    assert score(read) == score(record)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["samples-test.safetensors"]


def test_a_record_of_the_first_format_is_read(tmp_path):
    record = a_record()
    write_record(tmp_path / "samples-test.safetensors", record)
    with safe_open(tmp_path / "samples-test.safetensors", "pt") as file:
        described = json.loads(file.metadata()["record"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    assert described["format"] == 2
    first = described | {"format": 1, "rows": described.pop("systems")}
    older = {name.replace("metric/", "figure/"): values for name, values in tensors.items()}
    save_file(older, tmp_path / "samples-test.safetensors", {"record": json.dumps(first)})
    read = read_record(tmp_path)
    assert score(read) == score(record)
    assert torch.equal(read.metrics["guided"]["reward"], record.metrics["guided"]["reward"])


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_what_is_no_record_is_refused(content, tmp_path):
    path = tmp_path / "samples-test.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="record"):
        read_record(path)


def test_missing_and_several_records_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_record(tmp_path / "samples-test.safetensors")
    with pytest.raises(DataError, match="has none of samples"):
        read_record(tmp_path)
    for split in ("val", "test"):
        write_record(tmp_path / f"samples-{split}.safetensors", a_record())
    with pytest.raises(DataError, match=r"samples-test\.safetensors, samples-val\.safetensors"):
        read_record(tmp_path)


def test_multimodality_and_the_floor_come_from_the_record():
    record = a_record()
    judge, table = record.judges["judge"], score(record)
    expected = np.mean([multimodality(judge.repeats["guided"], 10, seed).item() for seed in range(REPLICATIONS)])
    assert table["guided"]["judge/MultiModality"].mean == pytest.approx(expected)
    assert table["guided"]["judge/MultiModality"].half_width is None
    assert left_out(record).keys() == {"Diversity"} and "judge/Diversity" not in table["guided"]
    assert "judge/MultiModality" not in table["unguided"]
    real = gaussian_of(judge.motion["real"][0])
    parts = [frechet_distance(gaussian_of(judge.train[first:][:SAMPLES]), real).item() for first in (0, SAMPLES)]
    assert table["real"]["judge/FID"].values == pytest.approx(parts)
    assert len(table["guided"]["judge/R@1_label"].values) == REPLICATIONS
    # Pools are drawn anew in each replication, so that motions that stay the same have an interval too.
    assert table["real"]["judge/R@1"].half_width > 0
    assert table["real"]["judge/MM-Dist"].half_width is None


def test_precision_with_groups_is_never_below_the_classic_one():
    for metrics in score(a_record()).values():
        for k in (1, 2, 3):
            assert metrics[f"judge/R@{k}"].mean <= metrics[f"judge/R@{k}_caption"].mean
            assert metrics[f"judge/R@{k}"].mean <= metrics[f"judge/R@{k}_label"].mean


def test_rescoring_gives_the_receipt_again(tmp_path):
    record = a_record()
    write_record(tmp_path / "samples-test.safetensors", record)
    text = rescore(tmp_path, tmp_path / "table-test.json", 32)
    assert f"{score(record)['guided']['judge/FID'].mean:.4f}" in text
    assert (tmp_path / "table-test.json").is_file()
    assert "judge/R@1" not in rescore(tmp_path, tmp_path / "large.json", SAMPLES + 1)
    with pytest.raises(ConfigError, match="pool is 1"):
        rescore(tmp_path, tmp_path / "none.json", 1)


def test_equal_systems_do_not_differ():
    record = a_record()
    for name, found in differences(Side(record, "unguided"), Side(record, "guided"), 200).items():
        assert found.change == pytest.approx(0, abs=1e-12), name
        assert found.low == pytest.approx(0, abs=1e-9) == pytest.approx(found.high, abs=1e-9)
        assert not found.clear


def test_a_gain_shows_in_every_metric_with_its_sign():
    record = a_record(gain=0.4)
    found = differences(Side(record, "unguided"), Side(record, "guided"), 400)
    table = score(record)
    for metric in ("reward", "judge/R@1", "judge/R@1_label", "judge/MM-Dist", "judge/FID"):
        change = table["guided"][metric].mean - table["unguided"][metric].mean
        assert found[metric].change == pytest.approx(change, abs=1e-9), metric
        assert found[metric].low <= change <= found[metric].high or metric == "reward"
        assert found[metric].clear
    assert found["reward"].change == pytest.approx(0.4)
    assert found["judge/MM-Dist"].change < 0 and found["judge/FID"].change < 0
    assert "seconds" not in found


def test_a_metric_that_no_sample_has_on_both_sides_is_left_out():
    record = a_record()
    half = torch.arange(SAMPLES) < SAMPLES // 2
    for system, known in (("unguided", half), ("guided", ~half)):
        record.metrics[system]["one_sided"] = torch.where(known, 1.0, torch.nan).expand(REPLICATIONS, -1)
    found = differences(Side(record, "unguided"), Side(record, "guided"), fid=False)
    assert "one_sided" not in found and "reward" in found


def test_intervals_are_those_of_the_normal_law():
    """Per-sample changes of deviation 1: the mean of 96 has an interval of half width 1.96 / sqrt(96)."""
    record = a_record()
    changes = torch.randn(SAMPLES, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    changes = (changes - changes.mean()) / changes.std(unbiased=False)
    moved = {**record.metrics, "guided": {"reward": record.metrics["unguided"]["reward"] + changes}}
    found = differences(
        Side(record, "unguided"), Side(replace(record, metrics=moved, judges={}), "guided"), 4000, fid=False
    )
    assert found["reward"].high == pytest.approx(1.96 / SAMPLES**0.5, rel=0.08)
    assert found["reward"].low == pytest.approx(-1.96 / SAMPLES**0.5, rel=0.08)


def of_captions(record, count):
    captions = tuple(f"caption {place % count}" for place in range(SAMPLES))
    return replace(record, captions=(captions,))


def test_captions_are_drawn_with_all_their_samples():
    """Samples of one of 24 captions that change alike: the mean has the interval of 24 independent changes."""
    count = 24
    record = of_captions(a_record(), count)
    changes = torch.randn(count, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    changes = ((changes - changes.mean()) / changes.std(unbiased=False)).repeat(SAMPLES // count)
    moved = {**record.metrics, "guided": {"reward": record.metrics["unguided"]["reward"] + changes}}
    sides = Side(record, "unguided"), Side(replace(record, metrics=moved, judges={}), "guided")
    for unit, independent in (("sample", SAMPLES), ("caption", count)):
        found = differences(*sides, 4000, fid=False, unit=unit)["reward"]
        assert found.high == pytest.approx(1.96 / independent**0.5, rel=0.08)
        assert found.low == pytest.approx(-1.96 / independent**0.5, rel=0.08)


def test_the_two_units_agree_where_every_sample_has_its_own_caption():
    record = of_captions(a_record(gain=0.3), SAMPLES)
    sides = Side(record, "unguided"), Side(record, "guided")
    assert differences(*sides, 200) == differences(*sides, 200, unit="caption")


def test_a_unit_that_cannot_be_drawn_is_refused():
    record = a_record()
    with pytest.raises(ConfigError, match="unit is 'label'; choose sample or caption"):
        differences(Side(record, "unguided"), Side(record, "guided"), unit="label")
    varying = replace(record, captions=record.captions * REPLICATIONS)
    with pytest.raises(DataError, match="captions vary by replication"):
        differences(Side(varying, "unguided"), Side(varying, "guided"), unit="caption")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (a_record(seed=0, protocol="published"), "protocol"),
        (replace(a_record(), ids=tuple("x" * (n + 1) for n in range(SAMPLES))), "samples"),
        (a_record(judge_fingerprints={"judge": "0"}), "judges"),
    ],
)
def test_runs_that_cannot_be_paired_are_refused(other, message):
    with pytest.raises(DataError, match=f"differ in {message}"):
        differences(Side(a_record(), "unguided"), Side(other, "guided"))


def test_systems_of_two_runs_are_compared_in_words(tmp_path):
    for name, gain in (("a", 0.0), ("b", 0.4)):
        write_record(tmp_path / name / "samples-test.safetensors", a_record(gain))
    text = compare_systems(tmp_path / "a", tmp_path / "b", "guided", "guided", 100)
    (line,) = [line for line in text.splitlines() if line.startswith("reward")]
    assert line.split()[3] == "+0.4000" and line.endswith("yes")
    with pytest.raises(DataError, match="no system 'samples'"):
        compare_systems(tmp_path / "a", None, "samples", "unguided", 100)
    with pytest.raises(ConfigError, match="resamples is 5"):
        compare_systems(tmp_path / "a", None, "guided", "unguided", 5)


def test_fids_interval_holds_the_change_where_embeddings_are_many_as_samples():
    """Systems of different spread: resampling with repeats would push the interval away from the measured change."""
    random = torch.Generator().manual_seed(2)
    wide = {name: torch.randn(1, SAMPLES, 64, generator=random) for name in ("real", "unguided", "guided")}
    judge = Embeddings(wide["real"], {**wide, "guided": 1.5 * wide["guided"]}, {}, None)
    record = replace(a_record(), judges={"judge": judge}, replications=1)
    found = differences(Side(record, "unguided"), Side(record, "guided"), 100)["judge/FID"]
    assert found.low < found.change < found.high
    # The interval of the law: half width 1.96 deviations of the change over independent samples.
    changes = []
    for _ in range(30):
        real, plain, other = (torch.randn(SAMPLES, 64, generator=random) for _ in range(3))
        target = gaussian_of(real)
        after, before = (frechet_distance(gaussian_of(x), target).item() for x in (1.5 * other, plain))
        changes.append(after - before)
    assert found.high - found.change == pytest.approx(1.96 * np.std(changes), rel=0.6)


def test_a_metric_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(DataError, match="reward of system 'guided' is nan"):
        Receipt({"guided": {"reward": interval([float("nan")])}}, {}).write(tmp_path / "table.json")
    assert not list(tmp_path.iterdir())
