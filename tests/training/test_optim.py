"""The learning-rate schedule."""

import math
from itertools import pairwise

import pytest
import torch

from lightning_realign.errors import ConfigError
from lightning_realign.settings.training import OptimiserConfig
from lightning_realign.training.optim import adamw_with_schedule, warmup_cosine


def test_warmup_is_linear_and_the_cosine_ends_at_zero():
    factors = [warmup_cosine(step, 10, 110) for step in range(111)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[60] == pytest.approx(0.5)
    assert factors[110] == pytest.approx(0.0)
    assert all(later <= earlier for earlier, later in pairwise(factors[10:]))


def test_warmup_takes_at_most_a_tenth_of_the_run():
    parameter = torch.nn.Parameter(torch.zeros(1))
    configured = adamw_with_schedule([parameter], OptimiserConfig(1e-3, 1000, 0.0), 50)
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(2e-4)
    assert max(rates) == pytest.approx(1e-3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0)


def test_a_run_without_end_is_refused():
    with pytest.raises(ConfigError, match="max_steps"):
        adamw_with_schedule([torch.nn.Parameter(torch.zeros(1))], OptimiserConfig(1e-3, 10), math.inf)
