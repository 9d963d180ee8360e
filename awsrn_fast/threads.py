"""How many threads a command computes with, and what they do while they wait. Before torch is loaded; without it."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from statistics import median

from .limits import cpus

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a user says how threads wait."""
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a user says how many there are."""
SPINS = 1000
"""Turns of libgomp's waiting loop, some ten microseconds: longer than our parallel loops are apart."""
LOOKS, BETWEEN = 5, 0.01
"""How many times, and seconds between them, it is looked at who is running."""


def prepare(yielding: bool = False) -> str:
    """Have threads wait briefly before they sleep; on a busy machine, with ``yielding``, start fewer of them.

    libgomp's threads spin for milliseconds while they wait, as if the machine were theirs alone. As soon as anything
    else runs, they so take the time from the thread that they wait for: two were slower than one. What the environment
    says, stands. It is read when torch is loaded, so this is for commands, before that.

    Returns:
        What the user has to know, or nothing.
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
    """How many threads of other programs are running or want to; 0 where the system does not tell.

    The load average says it over a minute, in which this user's own last command has its part; so where it is high,
    those that run now are counted too.
    """
    try:
        load = round(os.getloadavg()[0])
        if load < 1:
            return 0
        counts = []
        for look in range(LOOKS):
            if look:
                time.sleep(BETWEEN)
            counts.append(int(re.search(r"procs_running (\d+)", stat.read_text())[1]) - 1)  # without this one
    except (OSError, AttributeError, TypeError):  # no /proc, or no load average, as on Windows
        return 0
    return min(load, round(median(counts)))
