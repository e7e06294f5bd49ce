"""Semantic accuracy: a mean over the samples, against verdicts computed one by one."""

import math
from functools import cache

import numpy as np
import pytest
import torch

from lightning_realign.data.synthetic import is_right, to_attributes
from lightning_realign.data.synthetic.dataset import make_motion
from lightning_realign.errors import DataError
from lightning_realign.metrics import OracleAccuracy
from lightning_realign.motion import load_skeleton

HUMAN = load_skeleton("humanml3d")
COUNT = 12


@cache
def motions():
    """Motions, and what is asked of each: what it does, or for every third one what the next motion does."""
    made = [make_motion(HUMAN, 3, "test", index) for index in range(COUNT)]
    asked = [to_attributes(made[(i + (i % 3 == 0)) % COUNT].actions) for i in range(COUNT)]
    return [torch.from_numpy(motion.joints).float() for motion in made], asked


def feed(metric, order, size):
    """Batches of motions, padded with NaN to the longest of their batch."""
    joints, asked = motions()
    for first in range(0, len(order), size):
        part = order[first : first + size]
        batch = torch.nn.utils.rnn.pad_sequence([joints[i] for i in part], batch_first=True, padding_value=math.nan)
        metric.update(
            batch, torch.tensor([len(joints[i]) for i in part]), [f"m{i}" for i in part], [asked[i] for i in part]
        )
    return metric


def test_accuracy_is_the_fraction_that_the_oracle_finds_right():
    joints, asked = motions()
    verdicts = [is_right(motion, HUMAN, attributes) for motion, attributes in zip(joints, asked, strict=True)]
    assert 2 <= sum(verdicts) <= COUNT - 2
    expected = feed(OracleAccuracy(HUMAN), list(range(COUNT)), COUNT).compute()
    assert expected.dtype == torch.float64 and expected.item() == pytest.approx(np.mean(verdicts))
    order = [int(i) for i in np.random.default_rng(0).permutation(COUNT)]
    assert feed(OracleAccuracy(HUMAN), [*order, *order[:3]], 5).compute() == expected
    halves = feed(OracleAccuracy(HUMAN), order[:7], 2), feed(OracleAccuracy(HUMAN), order[6:], 7)
    halves[0].merge_state(halves[1])
    assert halves[0].compute() == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_motion_that_is_not_finite_is_wrong(bad):
    joints, _ = motions()
    broken = joints[1].clone()
    broken[-1, 3, 1] = bad
    asked = motions()[1][1]
    metric = OracleAccuracy(HUMAN)
    metric.update(torch.stack([joints[1], broken]), [len(broken)] * 2, ["whole", "broken"], [asked, asked])
    assert metric.compute().item() == 0.5


@pytest.mark.parametrize(
    ("attributes", "frames", "error", "message"),
    [
        ([None], 40, DataError, "sample 'a' has no attributes"),
        ([{"actions": [{"family": "squat", "count": 1}]}], 1, DataError, "sample 'a': joints have shape"),
        ([{}], 40, DataError, "sample 'a': "),
        ([], 40, ValueError, "0 attributes and 1 ids"),
    ],
)
def test_what_cannot_be_judged_is_named(attributes, frames, error, message):
    with pytest.raises(error, match=message):
        OracleAccuracy(HUMAN).update(torch.ones(1, frames, 22, 3), [frames], ["a"], attributes)


def test_wrong_batches_are_refused():
    with pytest.raises(ValueError, match="expected"):
        OracleAccuracy(HUMAN).update(torch.zeros(1, 5, 22, 3), [6], ["a"], [{}])


def test_it_says_that_more_is_better_and_can_be_plotted():
    import matplotlib

    matplotlib.use("Agg")
    metric = feed(OracleAccuracy(HUMAN), [0, 1], 2)
    assert metric.higher_is_better is True and metric.full_state_update is metric.is_differentiable is False
    figure, axes = metric.plot()
    assert axes.lines[0].get_ydata()[0] == pytest.approx(metric.compute().item())
    matplotlib.pyplot.close(figure)
