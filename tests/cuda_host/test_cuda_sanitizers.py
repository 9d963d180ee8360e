"""CUDA kernels under AddressSanitizer and UndefinedBehaviorSanitizer: global memory's bounds, alignment, overflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import host_build
import pytest
from suite import cases_of

from awsrn_fast import backends, ops

FOLDER = Path(__file__).resolve().parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        environment = host_build.sanitized_environment()
    except FileNotFoundError as missing:
        pytest.skip(f"no {missing}")
    command = [sys.executable, str(FOLDER), "sanitize", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_kernel_is_clean() -> None:
    done = run()
    rows = [op for op in ops.ROWS if "cuda" in backends.registered(op)]
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("clean:") == 4 * sum(len(cases_of(op)) for op in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("none", ""),
        ("short_output", "AddressSanitizer: heap-buffer-overflow"),
        ("unaligned_input", "load of misaligned address"),
    ],
)
def test_planted_faults_are_found(fault: str, message: str) -> None:
    done = run(fault)
    assert message in done.stderr
    assert (done.stdout.strip() == "clean") == (not message)
