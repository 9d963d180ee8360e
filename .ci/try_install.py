"""An installed package at work: imports, every op against its definition, an upscaled picture, five training steps.

``python try_install.py TORCH``, with the version that torch had before the package was installed: it must be the same.
"""

from __future__ import annotations

import subprocess
import sys

import torch
from PIL import Image

import awsrn_fast
from awsrn_fast import native


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", *arguments], check=True)


def main() -> None:
    if torch.__version__ != sys.argv[1]:
        sys.exit(f"torch {sys.argv[1]} became {torch.__version__}")
    print(awsrn_fast.__file__, native.cpu_reason or f"kernels for {native.isa}")
    if native.cpu is None and not native.cpu_reason.startswith("not built"):
        sys.exit(native.cpu_reason)
    run("awsrn_fast.selftest")
    model = awsrn_fast.load("improved-s-x2").fuse()
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 24, 24)).shape == (1, 3, 48, 48)
    Image.new("RGB", (40, 24), (200, 100, 50)).save("photo.png")
    run("awsrn_fast.upscale", "photo.png", "-s", "2", "--overwrite")
    sizes = ["--curriculum", "false", "--patch", "16", "--batch", "2", "--iterations", "5", "--log-every", "1"]
    run("awsrn_fast.train", "--data", "sample", *sizes, "--workers", "0", "--out", f"run-{torch.__version__}")


if __name__ == "__main__":
    main()
