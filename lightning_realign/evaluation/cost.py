"""What it costs to make motions: evaluations of the network, time, memory."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_MEBIBYTE = 2**20
COSTS = ("denoiser_calls", "seconds", "peak_memory")
"""The names of the costs, see `Meter.costs`."""


def peak_memory(device: torch.device) -> int:
    """The most memory in bytes that this process has held since `forget_peak`: on the GPU, or for a CPU in all."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if _STATUS.is_file():
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, others kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak(device: torch.device) -> None:
    """Let the peak begin anew. On a system that cannot do that, the peak stays that since the process began."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)


class Meter:
    """Seconds and peak memory of a block of work on a device; the memory includes what was held before.

    Attributes:
        seconds: the time that the block took.
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

    def costs(self, evaluations: int | None, motions: int) -> dict[str, float]:
        """The costs of the block by the names of `COSTS`; none if the motions existed before.

        Args:
            evaluations: of the network, per motion; None for motions that existed before.
            motions: how many the block made.

        Returns:
            Evaluations per motion, seconds per motion, and the peak of memory in MiB.
        """
        if evaluations is None:
            return {}
        values = (float(evaluations), self.seconds / motions, self.peak_bytes / _MEBIBYTE)
        return dict(zip(COSTS, values, strict=True))

    def _wait(self) -> None:
        """Wait until the device is idle, so that the work of one block does not count as another's."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
