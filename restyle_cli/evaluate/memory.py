"""Peak memory of a method."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(device: torch.device) -> None:
    """Reset what `peak_mb` returns. On the CPU only Linux can; elsewhere the peak is that of the process so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu":
        with suppress(OSError):
            _RESET.write_text("5", encoding="ascii")


def peak_mb(device: torch.device) -> float | None:
    """Peak memory in MB (10^6 bytes) since `reset_peak`: PyTorch's tensors on a CUDA device, else the whole process.

    None if the system does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s*(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE):
            return int(found[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def peak_protocol(device: torch.device) -> str:
    """Description of what `peak_mb` measures, for the report."""
    if device.type == "cuda":
        return "tensors on the GPU at most, those of the metrics' networks included"
    return "the whole process at most while the method ran, Python, PyTorch and the metrics' networks included"
