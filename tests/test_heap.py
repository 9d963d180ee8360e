from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest

from awsrn_fast.heap import keep_freed_memory

PROGRAM = """
import resource, torch, awsrn_fast.ops
from awsrn_fast.heap import give_back, keep_freed_memory
print(keep_freed_memory())
for turn in range(12):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a = torch.ones(2_000_000); b = torch.ones(1_000_000); del a, b
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
def test_pages_are_taken_once() -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=clean, check=True)
    said, faults = done.stdout.split()
    assert said == "True"
    # Ten turns of 12 MB. Where blocks land depends on the heap before them, so that a turn or two may still take pages.
    assert int(faults) * resource.getpagesize() < 30_000_000


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_freed_memory()


KEPT = """
import torch
from awsrn_fast.heap import give_back, keep_freed_memory
from awsrn_fast.inference.process_memory import resident
keep_freed_memory()
blocks = [torch.ones(1_000_000) for _ in range(20)]
end = torch.ones(100)  # lest the heap shrinks by itself
del blocks
kept = resident()
print(give_back(), kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
def test_freed_memory_goes_back_when_asked() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    said, given = done.stdout.split()
    assert said == "True"
    assert int(given) > 70_000_000
