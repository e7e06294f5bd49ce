"""What is said of motions that guidance has blown up."""

from __future__ import annotations

import warnings


def warn_of_blown_up(count: int, total: int) -> None:
    """Say once that `count` of `total` motions cannot be used; nothing where there is none."""
    if count:
        warnings.warn(
            f"{count} of {total} motions have joints that are NaN or infinite: the guidance is too strong; lower mu or "
            "eta, or set max_norm",
            category=RuntimeWarning,
            stacklevel=2,
        )
