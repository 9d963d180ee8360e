"""A command's number of threads and their wait policy, set before torch is loaded."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from statistics import median

from .limits import cpus

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables for the threads' wait policy."""
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables for the number of threads."""
SPINS = 1000
"""Iterations of libgomp's spin loop, some ten microseconds: longer than the gaps between our parallel loops."""
LOOKS, BETWEEN = 5, 0.01
"""Number of samples of the running threads, and seconds between them."""


def prepare(yielding: bool = False) -> str:
    """Let threads spin only briefly before they sleep; on a busy machine, with ``yielding``, start fewer of them.

    By default libgomp's threads spin for milliseconds while they wait. On a busy machine they thereby take time from
    the thread that they wait for: two were slower than one. Variables set by the user take precedence. They are read
    when torch is loaded, so commands call this before that.

    Returns:
        A remark for the user, or an empty string.
    """
    if "torch" in sys.modules:
        return ""
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    if not yielding or any(name in os.environ for name in COUNTS):
        return ""
    cores = cpus()
    busy = min(cores, others_running())
    threads = max(1, cores - busy)
    if threads >= cores:
        return ""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return (
        f"{busy} of {cores} cores are busy with other work: computing with {threads} "
        f"thread{'s' if threads > 1 else ''} (OMP_NUM_THREADS sets another number)"
    )


def others_running(stat: Path = Path("/proc/stat")) -> int:
    """Number of runnable threads of other programs; 0 if the system does not report it.

    The load average covers a minute, which includes the user's own last command; so if it is high, currently runnable
    threads are also counted.
    """
    try:
        load = round(os.getloadavg()[0])
        if load < 1:
            return 0
        counts = []
        for look in range(LOOKS):
            if look:
                time.sleep(BETWEEN)
            running = re.search(r"procs_running (\d+)", stat.read_text())
            if running is None:
                return 0
            counts.append(int(running[1]) - 1)  # without this one
    except (OSError, AttributeError):  # no /proc, or no load average, as on Windows
        return 0
    return min(load, round(median(counts)))
