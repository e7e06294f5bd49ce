"""What judges measure of a run's systems."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from lightning_realign.errors import ConfigError, FeatureSpecError
from lightning_realign.evaluation.judges.panel import JudgePanel, load_judge
from lightning_realign.evaluation.record import Record
from lightning_realign.evaluation.scoring import score
from lightning_realign.metrics import Diversity, FrechetDistance, MatchingDistance, RPrecision
from lightning_realign.metrics.keyed import id_keys
from lightning_realign.motion import load_skeleton
from lightning_realign.settings.sources import JudgeSource
from lightning_realign.types import MotionTextBatch
from tests.helpers.tiny_models import dataset_normaliser, write_reward
from tests.inference.test_generation import assert_same_systems, run_test

SAMPLES, FRAMES, FEATURES = 310, 6, 5
REPLICATIONS = 2


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


def made(batch, system, replication):
    """Motions of a system: the real ones, disturbed by noise of the replication."""
    if system == "real":
        return batch.motion
    seeds = [torch.Generator().manual_seed(1000 * replication + int(sample)) for sample in batch.ids]
    noise = torch.stack([torch.randn(FRAMES, FEATURES, generator=seed) for seed in seeds])
    return batch.motion + 0.5 * noise


def judged(batches, replications=REPLICATIONS, system="guided", disturb=made, train=None, labels=None):
    """The table of two systems, as a test run with one judge comes to it."""
    panel = JudgePanel({"judge": JudgeSource("tmr", "x.ckpt")}, ("real", system))
    panel._evaluators = {"judge": MeanEvaluator()}
    panel.reset()
    for batch in batches:
        panel.embed_captions(batch, 0)
        panel.embed_motions("real", batch, 0, batch.motion)
        for replication in range(replications):
            panel.embed_motions(system, batch, replication, disturb(batch, system, replication))
    ids = samples().ids
    embeddings = panel.compute(ids, [], 0)
    if train is not None:
        embeddings = {"judge": replace(embeddings["judge"], train=train)}
    metrics = {name: {} for name in ("real", system)}
    record = Record(
        ids,
        (samples().captions,),
        samples().lengths[None],
        labels or (None,) * SAMPLES,
        replications,
        metrics,
        embeddings,
        {},
    )
    return {
        name: {metric.removeprefix("judge/"): value for metric, value in found.items()}
        for name, found in score(record).items()
    }


def test_values_are_those_of_the_metrics():
    batch, evaluator = samples(), MeanEvaluator()
    labels = tuple(caption[0] for caption in batch.captions)
    table = judged([batch], labels=labels)
    text, real = evaluator.embed_text(batch.captions), evaluator.embed_motion(batch.motion, batch.lengths)
    order = torch.argsort(id_keys(batch.ids)).tolist()
    for replication in range(REPLICATIONS):
        motion = evaluator.embed_motion(made(batch, "guided", replication), batch.lengths)
        precision, distance = RPrecision(seed=replication, labelled=True, ids=batch.ids), MatchingDistance()
        spread, frechet = Diversity(seed=replication, ids=batch.ids), FrechetDistance()
        precision.update(text, motion, batch.ids, batch.captions, labels)
        distance.update(text, motion, batch.ids)
        spread.update(motion, batch.ids)
        frechet.update(motion[order], [batch.ids[place] for place in order], real=False)
        frechet.update(real, batch.ids, real=True)
        expected = {**precision.compute(), "MM-Dist": distance.compute(), "Diversity": spread.compute()}
        expected["FID"] = frechet.compute()
        assert table["guided"].keys() == expected.keys()
        for name, value in expected.items():
            assert table["guided"][name].values[replication] == pytest.approx(value.item(), rel=1e-6), name
    assert "FID" not in table["real"]
    assert table["real"]["MM-Dist"].half_width is None


def test_values_do_not_depend_on_batches_or_order():
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
    def table(value):
        def broken(batch, system, replication):
            motion = batch.motion.clone()
            motion[3] = value
            return motion

        return judged([samples()], 1, disturb=broken)

    assert table(float("inf")) == table(1e30) == table(0.0)


def test_a_test_run_asks_its_judges(bench, tmp_path):
    judges = {"second": JudgeSource("tmr", bench.reward)}
    first = run_test(bench, tmp_path / "a", batch_size=7, judges=judges)
    assert_same_systems(first, run_test(bench, tmp_path / "b", batch_size=2, judges=judges))
    systems, settings = first["systems"], first["settings"]
    for metrics in systems.values():
        assert metrics["second/FID"]["mean"] >= 0
    assert {"foot_skating", "jerk"} <= systems["real"].keys()
    assert settings["shared_with_reward"] == {"second": ["weights", "architecture", "training data"]}
    assert settings["guided"] and settings["samples"] == settings["split_size"] == 7
    assert settings["left_out"].keys() == {"R-Precision", "Diversity"}
    digest = hashlib.sha256(Path(bench.generator).read_bytes()).hexdigest()
    assert settings["provenance"]["files"]["generator"] == {"path": bench.generator, "sha256": digest}
    assert settings["provenance"]["versions"]["torch"] == version("torch")
    assert systems["guided"]["peak_memory"]["mean"] > 1


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
    with pytest.raises(FeatureSpecError, match="judge is for skeleton 'kit', the data set has 'humanml3d'"):
        load_judge(JudgeSource("tmr", str(other)), load_skeleton("humanml3d"), None, "cpu")
