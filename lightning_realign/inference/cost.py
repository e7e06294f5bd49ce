"""What making motions cost: time, evaluations of the network, memory."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def peak_memory() -> int:
    """The most memory, in bytes, that this process has held since `forget_peak`: on the accelerator, else resident."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if _STATUS.is_file():
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, others kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Let the peak begin anew; where the system cannot do that, it stays the process's."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)


class Meter:
    """Seconds and peak memory of a block of work.

    Attributes:
        seconds: the time it took, of the clock.
        peak_bytes: see `peak_memory`.
    """

    seconds = 0.0
    peak_bytes = 0

    def __enter__(self) -> Meter:
        forget_peak()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self._started
        self.peak_bytes = peak_memory()
