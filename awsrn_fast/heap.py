"""Memory that a process has freed and will want again."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from glibc's malloc.h."""
LARGEST = 32 << 20
"""Bytes: from here on glibc maps every allocation anew, whatever it is told."""


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory instead of giving it back to the kernel and asking for it again.

    A network's maps of some MB are freed and taken again many times a second, and the kernel hands out every page anew
    and zeroed: at 128x128 that was a tenth of the time. The peak stays what it was; between pictures the process keeps
    what it has. It is for whole processes, so commands call it and the library does not.

    Returns:
        Whether it was done: not without glibc, and not where ``MALLOC_...`` in the environment says otherwise.
    """
    if any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # Windows has no handle of the process itself
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def give_back() -> bool:
    """Give freed memory back to the kernel, which counts what is kept as taken.

    Blocks of changing sizes leave gaps: without this, an image in tiles took a sixth more than its tiles need.

    Returns:
        Whether it was done: not without glibc.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return False
    trim(0)
    return True
