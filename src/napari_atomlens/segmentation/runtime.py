"""Process-wide settings that make PyTorch fast on a CPU; applied once, before the first use."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from functools import lru_cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@lru_cache(maxsize=1)
def prepare() -> int:
    """Set the allocator and the number of threads once; return that number.

    On Linux glibc maps each large tensor anew and every page of it faults; keeping the
    memory made inference on a 2048 px image 3-5 times faster on our machines. One core
    is left to the user interface. ``OMP_NUM_THREADS`` wins where it is set.
    """
    import torch

    if sys.platform.startswith("linux"):
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        except (OSError, AttributeError):  # another C library: slower, not wrong
            pass
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() - 1))
    return int(torch.get_num_threads())


def pin(threads: int = 1) -> None:
    """Let PyTorch use so many threads in this thread: those beside it have theirs."""
    import torch

    prepare()
    torch.set_num_threads(threads)


def release() -> None:
    """Give memory that is kept for the next tensor back to the system, where that can be done."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@lru_cache(maxsize=1)
def half_precision() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (emulated it would be slower).

    ``ATOMLENS_PRECISION=float32`` switches it off.
    """
    if os.environ.get("ATOMLENS_PRECISION", "") == "float32":
        return False
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:  # not Linux: no cheap way to ask
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
