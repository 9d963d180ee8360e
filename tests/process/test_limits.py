from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from awsrn_fast import limits

GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch):
    """A machine of 64 CPUs with 100 GiB free, and a function that writes its files."""
    monkeypatch.setattr(limits, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "PROC", tmp_path / "proc")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))

    def write(files: dict[str, object]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    write({"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {100 * GIB // 1024} kB", "proc/self/status": "VmSize: 1 kB"})
    return write


V2 = {"proc/self/cgroup": "0::/a/b"}
V1 = {"proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n1:name=systemd:/docker/x"}
NO_LIMIT = 9223372036854771712


@pytest.mark.parametrize(
    ("files", "gib"),
    [
        ({}, 100),
        (V2, 100),
        (V2 | {"cgroup/a/b/memory.max": "max", "cgroup/a/b/memory.current": GIB}, 100),
        (V2 | {"cgroup/a/b/memory.max": 4 * GIB, "cgroup/a/b/memory.current": GIB}, 3),
        # The group above is the narrower one.
        (V2 | {"cgroup/a/memory.max": 2 * GIB, "cgroup/a/memory.current": GIB, "cgroup/a/b/memory.max": "max"}, 1),
        # In a container the group is the root of what it sees.
        (V2 | {"cgroup/memory.max": 4 * GIB, "cgroup/memory.current": GIB}, 3),
        (V2 | {"cgroup/a/b/memory.high": 3 * GIB, "cgroup/a/b/memory.current": GIB}, 2),
        # Pages of files that were read are taken back before anybody is killed.
        (
            V2
            | {"cgroup/a/b/memory.max": 4 * GIB, "cgroup/a/b/memory.current": 3 * GIB}
            | {"cgroup/a/b/memory.stat": f"anon 1\ninactive_file {2 * GIB}"},
            3,
        ),
        (V2 | {"cgroup/a/b/memory.max": GIB, "cgroup/a/b/memory.current": 2 * GIB}, 0),
        (V1 | {"cgroup/memory/memory.limit_in_bytes": NO_LIMIT, "cgroup/memory/memory.usage_in_bytes": GIB}, 100),
        # The path is the host's, the files are at the root that the container sees.
        (V1 | {"cgroup/memory/memory.limit_in_bytes": 2 * GIB, "cgroup/memory/memory.usage_in_bytes": GIB}, 1),
        (
            V1
            | {"cgroup/memory/docker/x/memory.limit_in_bytes": 4 * GIB}
            | {"cgroup/memory/docker/x/memory.usage_in_bytes": 3 * GIB}
            | {"cgroup/memory/docker/x/memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB}"},
            2,
        ),
    ],
)
def test_memory_is_that_of_the_narrowest_group(machine, files, gib) -> None:
    machine(files)
    assert limits.memory() == gib * GIB


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 64),
        (V2 | {"cgroup/a/b/cpu.max": "max 100000"}, 64),
        (V2 | {"cgroup/a/b/cpu.max": "200000 100000"}, 2),
        (V2 | {"cgroup/a/b/cpu.max": "250000 100000", "cgroup/a/cpu.max": "800000 100000"}, 2),
        (V2 | {"cgroup/cpu.max": "50000 100000"}, 1),
        (V1 | {"cgroup/cpu,cpuacct/cpu.cfs_quota_us": -1, "cgroup/cpu,cpuacct/cpu.cfs_period_us": 100000}, 64),
        (V1 | {"cgroup/cpu/docker/x/cpu.cfs_quota_us": 300000, "cgroup/cpu/docker/x/cpu.cfs_period_us": 100000}, 3),
    ],
)
def test_cpus_are_those_of_the_narrowest_group(machine, files, cpus) -> None:
    machine(files)
    assert limits.cpus() == cpus


def test_cpus_are_those_that_the_process_may_run_on(machine, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    assert limits.cpus() == 2


def test_ulimit_counts() -> None:
    code = "from awsrn_fast import limits; print(limits.memory())"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (8 * GIB, 8 * GIB))

    done = subprocess.run([sys.executable, "-c", code], preexec_fn=limited, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 8 * GIB


def test_threads_are_limited_unless_the_environment_says_how_many(monkeypatch) -> None:
    started = []
    monkeypatch.setattr("torch.set_num_threads", started.append)
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    monkeypatch.setattr(limits, "cpus", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "48")
    limits.limit_threads()
    assert started == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    limits.limit_threads()
    assert started == [2]
