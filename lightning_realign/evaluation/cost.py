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


def peak_memory(device: torch.device) -> int:
    """The most memory, in bytes, that this process has held since `forget_peak`: on the GPU, or for a CPU resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if _STATUS.is_file():
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, others kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak(device: torch.device) -> None:
    """Let the peak begin anew; where the system cannot do that, it stays the process's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)


class Meter:
    """Seconds and peak memory of a block of work on a device; the memory includes what was held before.

    Attributes:
        seconds: the time it took, of the clock.
        peak_bytes: see `peak_memory`.
    """

    seconds = 0.0
    peak_bytes = 0

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __enter__(self) -> Meter:
        self._wait()
        forget_peak(self._device)
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        self.seconds = time.perf_counter() - self._started
        self.peak_bytes = peak_memory(self._device)

    def _wait(self) -> None:
        """Let the device finish what it was given, so that one block's work does not count as another's."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
