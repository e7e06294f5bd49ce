"""What evaluators say of a table's rows."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.evaluation.judging import JudgePanel, load_judge
from lightning_realign.evaluation.record import Record
from lightning_realign.evaluation.scoring import score
from lightning_realign.metrics import Diversity, FrechetDistance, MatchingDistance, RPrecision
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.motion import load_skeleton
from lightning_realign.settings.sources import JudgeSource
from lightning_realign.types import MotionTextBatch
from tests.helpers.tiny_models import dataset_normaliser, write_reward
from tests.inference.test_generation import assert_same_rows, run_test

SAMPLES, FRAMES, FEATURES = 310, 6, 5
DRAWS = 2


class MeanEvaluator:
    """Embeds a motion by the mean of its frames, and a caption by its letters."""

    def embed_motion(self, features, lengths):
        features = features.square().sqrt() * features.sign()  # beyond 1e19 its squares are infinite
        mask = (torch.arange(features.shape[1])[None] < lengths[:, None])[..., None]
        return (features * mask).sum(dim=1) / lengths[:, None]

    def embed_text(self, captions):
        return torch.tensor([[float(caption.count(letter)) for letter in "abcde"] for caption in captions])


def samples():
    random = torch.Generator().manual_seed(0)
    motion = torch.randn(SAMPLES, FRAMES, FEATURES, generator=random)
    lengths = torch.randint(2, FRAMES + 1, (SAMPLES,), generator=random)
    captions = tuple("abcde"[row % 5] * (1 + row % 4) for row in range(SAMPLES))
    ids = tuple(f"{row:03d}" for row in range(SAMPLES))
    return MotionTextBatch(motion=motion, lengths=lengths, captions=captions, ids=ids, attributes=(None,) * SAMPLES)


def made(batch, row, draw):
    """Motions of a row: the real ones, disturbed by as much as the draw says."""
    if row == "real":
        return batch.motion
    seeds = [torch.Generator().manual_seed(1000 * draw + int(sample)) for sample in batch.ids]
    noise = torch.stack([torch.randn(FRAMES, FEATURES, generator=seed) for seed in seeds])
    return batch.motion + 0.5 * noise


def judged(batches, draws=DRAWS, row="guided", disturb=made, train=None, labels=None):
    """The table of two rows, as a test run with one judge comes to it."""
    panel = JudgePanel({"judge": JudgeSource("tmr", "x.ckpt")}, ("real", row))
    panel._evaluators = {"judge": MeanEvaluator()}
    panel.reset()
    for batch in batches:
        panel.read(0, batch)
        panel.show("real", 0, batch.motion, batch)
        for draw in range(draws):
            panel.show(row, draw, disturb(batch, row, draw), batch)
    ids = samples().ids
    embeddings = panel.compute(ids, [], 0)
    if train is not None:
        embeddings = {"judge": replace(embeddings["judge"], train=train)}
    figures = {name: {} for name in ("real", row)}
    record = Record(
        ids, (samples().captions,), samples().lengths[None], labels or (None,) * SAMPLES, draws, figures, embeddings, {}
    )
    return {
        name: {figure.removeprefix("judge/"): value for figure, value in found.items()}
        for name, found in score(record).items()
    }


def test_figures_are_those_of_the_metrics():
    batch, evaluator = samples(), MeanEvaluator()
    labels = tuple(caption[0] for caption in batch.captions)
    table = judged([batch], labels=labels)
    text, real = evaluator.embed_text(batch.captions), evaluator.embed_motion(batch.motion, batch.lengths)
    order = torch.argsort(id_keys(batch.ids)).tolist()
    for draw in range(DRAWS):
        motion = evaluator.embed_motion(made(batch, "guided", draw), batch.lengths)
        precision, distance = RPrecision(seed=draw, labelled=True, ids=batch.ids), MatchingDistance()
        spread, frechet = Diversity(seed=draw, ids=batch.ids), FrechetDistance()
        precision.update(text, motion, batch.ids, batch.captions, labels)
        distance.update(text, motion, batch.ids)
        spread.update(motion, batch.ids)
        frechet.update(motion[order], [batch.ids[place] for place in order], real=False)
        frechet.update(real, batch.ids, real=True)
        expected = {**precision.compute(), "MM-Dist": distance.compute(), "Diversity": spread.compute()}
        expected["FID"] = frechet.compute()
        assert table["guided"].keys() == expected.keys()
        for name, value in expected.items():
            assert table["guided"][name].values[draw] == pytest.approx(value.item(), rel=1e-6), name
    assert "FID" not in table["real"]
    assert table["real"]["MM-Dist"].half_width is None


def test_figures_do_not_depend_on_batches_or_order():
    batch = samples()
    shuffled = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(1)).tolist()
    split = [batch.part(shuffled[first : first + 16]) for first in range(0, SAMPLES, 16)]
    assert judged([batch]) == judged(split)


def test_the_floor_of_fid_is_that_of_disjoint_training_subsets():
    train = torch.randn(2 * SAMPLES + 30, FEATURES, generator=torch.Generator().manual_seed(4))
    batch = samples()
    found = judged([batch], train=train)["real"]["FID"].values
    real = MeanEvaluator().embed_motion(batch.motion, batch.lengths)
    for value, first in zip(found, (0, SAMPLES), strict=True):
        metric = FrechetDistance()
        metric.update(train[first : first + SAMPLES], batch.ids, real=False)
        metric.update(real, batch.ids, real=True)
        assert value == pytest.approx(metric.compute().item(), rel=1e-6)
    assert "FID" not in judged([batch], train=train[: SAMPLES - 1])["real"]


def test_a_blown_up_motion_is_judged_as_zeros():
    def figures(value):
        def broken(batch, row, draw):
            motion = batch.motion.clone()
            motion[3] = value
            return motion

        return judged([samples()], 1, disturb=broken)

    assert figures(float("inf")) == figures(1e30) == figures(0.0)


def test_a_test_run_asks_its_judges(bench, tmp_path):
    judges = {"second": JudgeSource("tmr", bench.reward)}
    first = run_test(bench, tmp_path / "a", batch_size=7, judges=judges)
    assert_same_rows(first, run_test(bench, tmp_path / "b", batch_size=2, judges=judges))
    rows, settings = first["rows"], first["settings"]
    for figures in rows.values():
        assert figures["second/FID"]["mean"] >= 0
    assert {"foot_skating", "jerk"} <= rows["real"].keys()
    assert settings["shared_with_reward"] == {"second": ["weights", "architecture", "training data"]}
    assert settings["guided"] and settings["samples"] == settings["split_size"] == 7
    assert settings["left_out"].keys() == {"R-Precision", "Diversity"}
    digest = hashlib.sha256(Path(bench.generator).read_bytes()).hexdigest()
    assert settings["provenance"]["files"]["generator"] == {"path": bench.generator, "sha256": digest}
    assert settings["provenance"]["versions"]["torch"] == version("torch")
    assert rows["guided"]["peak_memory"]["mean"] > 1


@pytest.mark.parametrize("name", ["tmr.v1", "", "a/b", "reward", "generator"])
def test_names_that_no_receipt_can_hold_are_refused(name):
    with pytest.raises(ConfigError, match="use letters, digits"):
        JudgePanel({name: JudgeSource("tmr", "x.ckpt")}, ("real",))


def test_names_of_python_are_names(name="keys"):
    assert JudgePanel({name: JudgeSource("tmr", "x.ckpt")}, ("real",)).judges.keys() == {name}


def test_a_judge_of_another_skeleton_is_refused(bench, tmp_path):
    from lightning_realign.data.synthetic import make_dataset

    make_dataset(tmp_path / "kit", "kit", train=4, val=2, test=2, seed=1, progress=False)
    other = write_reward(tmp_path / "kit.ckpt", dataset_normaliser(tmp_path / "kit", "kit"), "kit")
    with pytest.raises(FeatureSpecError, match="judge of skeleton 'kit', but the motions are of 'humanml3d'"):
        load_judge(JudgeSource("tmr", str(other)), load_skeleton("humanml3d"), None, "cpu")
