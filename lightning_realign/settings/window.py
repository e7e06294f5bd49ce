"""Windows of the sampling trajectory: which steps are guided, weighed or done again."""

from __future__ import annotations

from lightning_realign.errors import ConfigError


def check_window(what: str, start: float, stop: float, every: int = 1) -> None:
    """Refuse a window of the trajectory that is none.

    Raises:
        ConfigError: start or stop is out of order or range, or every below 1.
    """
    if not 0.0 <= stop < start <= 1.0:
        raise ConfigError(f"{what} window start={start}, stop={stop}: need 0 <= stop < start <= 1")
    if every < 1:
        raise ConfigError(f"{what} every={every}: need an integer of at least 1")


def steps_inside(steps: int, start: float, stop: float, every: int = 1) -> tuple[bool, ...]:
    """For each of `steps` steps, first (noisiest) to last, whether it is an every-th one of a window.

    >>> steps_inside(8, 0.5, 0.0, 2)
    (False, False, False, False, True, False, True, False)
    """
    inside = [i for i in range(steps) if stop < (steps - i) / steps <= start]
    chosen = set(inside[::every])
    return tuple(i in chosen for i in range(steps))
