"""What the package has to say of a run appears on standard error, once, however many processes there are."""

from __future__ import annotations

import logging
import os
import sys


def show_notes() -> None:
    """Show the package's notes, plain, on the first process, and warnings alone on all others; once a process."""
    logger = logging.getLogger("lightning_realign")
    first = all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "RANK", "NODE_RANK", "SLURM_PROCID"))
    logger.setLevel(logging.INFO if first else logging.WARNING)
    if not any(isinstance(handler, _Notes) for handler in logger.handlers):
        logger.addHandler(_Notes())


class _Notes(logging.Handler):
    """Writes messages to whatever standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        print(self.format(record), file=sys.stderr)
