"""What the framework says on every run and no user of this project needs: left out on the command line."""

from __future__ import annotations

import logging
import re
import warnings

# Beginnings of messages, as patterns.
_TOLD = (
    r".*Tip: ",
    r"(GPU|TPU|HPU) available: ",
    r"Seed set to ",
    r"`Trainer\.fit` stopped: ",
    r"`Trainer\(limit_\w+=",
)
_WARNED = (
    r".*does not have many workers",
    r".*isinstance\(treespec, LeafSpec\)` is deprecated",
    r"The number of training batches .* is smaller than the logging interval",
    r"Found \d+ module\(s\) in eval mode",
    r"Checkpoint directory .* exists and is not empty",
)
_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)


def quieten() -> None:
    """Leave those messages out in this process; everything else is said."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Told) for known in logger.filters):
            logger.addFilter(_Told())
    for pattern in _WARNED:
        warnings.filterwarnings("ignore", message=pattern)


class _Told(logging.Filter):
    """Drops records that begin with one of the patterns."""

    pattern = re.compile("|".join(_TOLD))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is kept."""
        return self.pattern.match(record.getMessage()) is None
