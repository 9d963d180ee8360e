from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest

from awsrn_fast.heap import keep_freed_memory

PROGRAM = """
import resource, torch
from awsrn_fast.heap import keep_freed_memory
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
    assert int(faults) * resource.getpagesize() < 12_000_000, "less than the ten turns' first"


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_freed_memory()
