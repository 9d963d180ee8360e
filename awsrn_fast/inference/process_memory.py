"""Memory of the process, current, peak and available, and the largest tile that fits."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from awsrn_fast import limits
from awsrn_fast.errors import RunError
from awsrn_fast.heap import give_back

from .wrappers import Placed, exact_context

FILL_GRID = 128
"""Rows on whose multiples strips begin and end when hidden pixels are filled, so that all find the same colours. Only
pixels of squares of this side without any visible pixel may differ from those of the whole image."""
OVERHEAD = 96 * 2**20
"""Bytes not modelled here: buffers of kernels, readers and writers, memory that malloc retains."""
_SHARE = 0.75
"""Share of the free memory that is used where no limit is given."""


def resident() -> int:
    """Resident bytes of this process; 300 MiB, about the size after start-up, if the system does not report them."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 300 * 2**20


def peak() -> int | None:
    """Peak resident bytes of this process; None on Windows."""
    if sys.platform == "win32":
        return None
    if sys.platform.startswith("linux"):
        # getrusage's peak includes the parent's memory at the fork.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return 1024 * int(found[1])
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def most_taken(run: Callable[[], object]) -> int | None:
    """Peak bytes of ``run`` above those allocated before; None: not available on this system.

    On CUDA devices only torch's tensors count. ``run`` is called twice, so that one-time allocations are excluded; the
    process's :func:`peak` is reset.
    """
    run()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    give_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    before = resident()
    run()
    most = peak()
    return None if most is None else max(most - before, 0)


def free(limit: int | None) -> int | None:
    """Bytes that may still be taken: up to the limit, or a share of the free memory; None: unknown."""
    if limit is not None:
        return limit - resident()
    have = limits.memory()
    return None if have is None else round(_SHARE * have)


def ceiling(limit: int | None) -> int | None:
    """Bytes that the process may hold in all, of which :func:`free` are left; None: not known."""
    left = free(limit)
    return limit if limit is not None or left is None else resident() + left


def free_on(placed: Placed) -> int | None:
    """Bytes that a run may still take where the network runs, if that has memory of its own; None: it has none.

    The memory of CUDA graphs is their own: what comes first or once is run beside them, in as much again.
    """
    if placed.device.type != "cuda":
        return None
    room = torch.cuda.mem_get_info(placed.device)[0]
    return round(_SHARE * (room if placed.graphs is None else room // 2))


def fitting_tile(
    facts: Any, size: tuple[int, int], planes: int, host: int | None, device: int | None = None
) -> tuple[int, int] | None:
    """Height and width of the largest tile that fits; None: the image fits whole.

    Args:
        facts: the network's facts.
        size: height and width of the image.
        planes: the image's planes, 1 to 4.
        host: bytes that may be taken; None: not known.
        device: bytes that may be taken where the network runs, if that is elsewhere.

    Raises:
        RunError: not even the smallest tile fits.
    """
    if host is None:
        return None
    height, width = size
    scale, align, context = facts.scale, facts.block or 1, exact_context(facts)
    alpha = planes in (2, 4)
    # An input row as in the file, as numbers (with alpha: filled, on a pyramid) and as given to the network.
    each = (planes * (2 + 4 * (4 if alpha else 1)) + 4 * 3) * width
    more = 2 * context + (2 * FILL_GRID if alpha else 0)
    output = 4 * (3 + planes) * (1 + alpha) * scale**2 * width  # the output rows of one

    def window(rows: int) -> int:
        """Number of pixels that the network may process at once, beside strips of ``rows``."""
        room = host - OVERHEAD - (min(height, rows + more) * each + rows * output)
        return (room if device is None else min(device, room * 2**20)) // facts.activations if room > 0 else 0

    if window(height) >= height * width:
        return None
    best, most = None, 0.0
    step = max(align, 8)
    for rows in range(step, min(height, 2048) + step, step):
        seen = min(height, rows + 2 * context)
        columns = min(window(rows) // seen, width)
        own = width if columns == width else (columns - 2 * context) // align * align
        # The share of the computation that is not repeated in the next tile.
        useful = min(rows, height) * own / (seen * max(columns, 1))
        if own >= min(step, width) and useful > most:
            best, most = (rows, own), useful
    if best is None:
        smallest = min(height, step + 2 * context)
        needed = (
            OVERHEAD
            + min(height, step + more) * each
            + step * output
            + facts.activations * smallest * min(width, smallest)
        )
        raise RunError(
            f"{width}x{height} pixels in the smallest tiles need {needed / 1e6:.0f} MB beside what is in use, "
            f"{max(host, 0) / 1e6:.0f} MB are allowed; raise --memory-limit"
        )
    return best
