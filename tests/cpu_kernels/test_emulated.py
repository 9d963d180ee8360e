"""The CPU kernels in a program without PyTorch, on this machine and on an emulated ARM processor (tests/emulate.py)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
lacking = [each for each in ("aarch64-linux-gnu-g++", "qemu-aarch64") if not shutil.which(each)]
arm = pytest.mark.skipif(bool(lacking), reason=f"needs {' and '.join(lacking)}")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["here", pytest.param("arm", marks=arm)])
def test_kernels_outside_of_python(where):
    command = [sys.executable, "tests/emulate.py", *(["--here"] if where == "here" else [])]
    tests = ["tests/ops/test_gated_residual.py", "tests/ops/test_conv3x3.py", "-k", "cpu"]
    done = subprocess.run([*command, *tests], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    calls = re.search(r"(\d+) calls were carried out by \S+/emulated/(\w+)/driver", done.stdout)
    assert calls and int(calls[1]) >= 200 and calls[2] == {"here": "here", "arm": "aarch64"}[where]
