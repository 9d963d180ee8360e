"""CPU and memory limits of this process: those of its container and rlimits, not of the host.

Linux's control groups, version 2 and version 1, are read where every container shows them, from the process's own group
up to the root, since each of them limits; of a group whose path belongs to the host's tree the parts that exist.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def cpus() -> int:
    """Number of threads that can run at once: by CPU affinity and the control group's CPU quota."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Rounded down: a fraction of a CPU would make every thread wait for it.
    return max(1, min([here, *map(math.floor, _cpu_quotas())]))


def memory() -> int | None:
    """Bytes that this process can still take without swapping or being killed; None: not available on this system."""
    found = [room for room in (_of_machine(), *_of_groups(), *_of_process()) if room is not None]
    return max(0, min(found)) if found else None


def limit_threads() -> None:
    """Limit torch's threads to :func:`cpus`, unless the environment says how many.

    torch counts the CPUs of the machine, and threads that share one wait for each other. For whole processes: commands
    call this, the library leaves the number of threads to the program that imports it.
    """
    if any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        return
    torch = sys.modules.get("torch")
    if torch is None:  # torch reads this when it is loaded
        if cpus() < (os.cpu_count() or 1):
            os.environ["OMP_NUM_THREADS"] = str(cpus())
    elif torch.get_num_threads() > cpus():
        torch.set_num_threads(cpus())


def _of_machine() -> int | None:
    found = re.search(r"MemAvailable:\s+(\d+) kB", _text(PROC / "meminfo"))
    return 1024 * int(found[1]) if found else None


def _of_groups() -> Iterator[int]:
    for group in _groups("memory"):
        taken = _whole(group / "memory.current", group / "memory.usage_in_bytes")
        # Page cache, which the kernel reclaims before it kills a process.
        idle = re.search(r"^(?:total_)?inactive_file (\d+)$", _total(_text(group / "memory.stat")), re.MULTILINE)
        for limit in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            most = _whole(group / limit)
            if most is not None and taken is not None:
                yield most - max(0, taken - (int(idle[1]) if idle else 0))


def _total(stat: str) -> str:
    """The lines of a memory.stat that count the groups below, too (version 1 has both kinds)."""
    lines = [line for line in stat.splitlines() if line.startswith("total_")]
    return "\n".join(lines) if lines else stat


def _of_process() -> Iterator[int]:
    """Memory remaining under ulimit -v and -d."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    status = _text(PROC / "self/status")
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        taken = re.search(rf"{name}:\s+(\d+) kB", status)
        if most != resource.RLIM_INFINITY and taken:
            yield most - 1024 * int(taken[1])


def _cpu_quotas() -> Iterator[float]:
    for group in _groups("cpu"):
        quota, _, period = _text(group / "cpu.max").strip().partition(" ")
        if not period:
            quota, period = (_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit() and int(period):  # "max" and -1: no limit
            yield int(quota) / int(period)


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, for one controller, each with all above it."""
    for line in _text(PROC / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            roots = [CGROUPS, CGROUPS / "unified"]
        elif controller in controllers.split(","):
            roots = [CGROUPS / controllers, CGROUPS / controller]
        else:
            continue
        for root in dict.fromkeys(roots):
            group = root / path.lstrip("/")
            while group != root and root in group.parents:
                yield group
                group = group.parent
            yield root


def _whole(*places: Path) -> int | None:
    """The number in the first file that contains one; None: no limit ("max")."""
    for place in places:
        text = _text(place).strip()
        if text.isdigit():
            return int(text)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
