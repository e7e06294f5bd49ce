"""Reward guidance in two dimensions, where generator, reward and guided law are known in closed form."""

from __future__ import annotations

from pathlib import Path


def run(out: Path = Path("runs/plane"), points: int = 6000, steps: int = 200, seed: int = 1234) -> str:
    """Measure every way of guiding in the plane, where the exact answer is known.

    Args:
        out: Folder of toy.png, flow.png, table.md and table.csv.
        points: Points of every cloud.
        steps: Sampling steps of the table.
        seed: The same seed gives the same values.

    Returns:
        The table.

    Raises:
        ConfigError: a setting out of range.
    """
    from experiments.plane.example import run_toy

    return run_toy(out, points, steps, seed).table
