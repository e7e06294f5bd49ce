"""W&B sweep files, run without a server."""

from lightning_realign.sweep.runner import Outcome, SweepResult, run_sweep
from lightning_realign.sweep.spec import SweepSpec, read_sweep

__all__ = ["Outcome", "SweepResult", "SweepSpec", "read_sweep", "run_sweep"]
