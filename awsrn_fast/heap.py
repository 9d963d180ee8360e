"""Control of glibc's heap: keeping freed memory, or returning it to the kernel."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from glibc's malloc.h."""
LARGEST = 32 << 20
"""Bytes from which glibc always uses mmap, regardless of settings."""


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory instead of returning it to the kernel and requesting it again.

    A network's feature maps of some MB are freed and allocated many times a second, and the kernel zeroes every page
    each time: at 128x128 that was a tenth of the time. The peak stays what it was; between pictures the process keeps
    what it has. It is for whole processes, so commands call it and the library does not.

    Returns:
        Whether it was done: not without glibc, and not where ``MALLOC_...`` in the environment says otherwise.
    """
    if any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # Windows has no handle for the main program
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def give_back() -> bool:
    """Return freed memory to the kernel, which counts retained memory as used.

    Blocks of varying sizes fragment the heap: without this, an image in tiles took a sixth more than its tiles need.

    Returns:
        Whether it was done: not without glibc.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return False
    trim(0)
    return True
