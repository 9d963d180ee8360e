"""The shared suite on the Triton kernels, run by Triton's interpreter on CPU tensors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from awsrn_fast import backends, ops

ROOT = Path(__file__).resolve().parents[2]
ROWS = [op for op in ops.ROWS if "triton" in backends.registered(op)]


@pytest.mark.slow
@pytest.mark.parametrize("op", ROWS)
def test_the_suite_passes(op: str) -> None:
    chosen = "triton and cpu and not deterministic"  # the interpreter runs one program after the other
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "", "-k", chosen]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    tests = ROOT / "tests" / "ops" / f"test_{op}.py"
    done = subprocess.run([*command, tests], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:]
    summary = done.stdout.splitlines()[-1]
    assert int(re.search(r"(\d+) passed", summary).group(1)) > 40, summary
    assert "GPU only" not in done.stdout, done.stdout[-8000:]
