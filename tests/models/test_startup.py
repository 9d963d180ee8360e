from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, torch, awsrn_fast
awsrn_fast.load("improved-s-x4").fuse().upscale(torch.zeros(3, 5, 6))
print(*(name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules))
"""


def test_upscaling_does_not_load_torchs_compiler() -> None:
    """It takes a second to import and leaves a folder in TMPDIR."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
