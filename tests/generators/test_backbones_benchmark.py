"""The benchmark of published generators runs, and notices what it is there to notice."""

import pytest
import torch

from benchmarks import backbones
from lightning_realign.rewards.reward import DualAlignmentReward

SMALL = ["--only", "motionlcm_v2", "--batch", "2", "--frames", "24"]


def test_a_row_says_what_was_measured(capsys):
    (row,) = backbones.main(SMALL)
    assert row["generator"] == "motionlcm_v2"
    assert row["gradient"] == "finite"
    assert row["guided"] > row["unguided"]
    assert row["guided_ms"] > row["ms"] > 0
    assert row["ratio"] == pytest.approx(row["guided_ms"] / row["ms"])
    assert "motionlcm_v2" in capsys.readouterr().out


@pytest.mark.parametrize("broken", [0.0, float("nan")])
def test_a_gradient_that_is_lost_or_broken_is_told(broken, monkeypatch):
    prepare = DualAlignmentReward.prepare

    def spoilt(self, captions, references=None, *, mu, eta):
        reward = prepare(self, captions, references, mu=mu, eta=eta)
        return lambda seen, lengths, alpha_bar: reward(seen, lengths, alpha_bar) * torch.tensor(broken)

    monkeypatch.setattr(DualAlignmentReward, "prepare", spoilt)
    (row,) = backbones.main(SMALL)
    assert row["gradient"] == "NOT SOUND"
