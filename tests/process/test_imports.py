"""What importing the package brings with it: torch is dear enough by itself."""

from __future__ import annotations

import json
import subprocess
import sys

IMPORTED = """import json, sys
{first}
before = set(sys.modules)
{then}
print(json.dumps(sorted(set(sys.modules) - before)))"""

COMPILERS = {"torch._dynamo", "torch._inductor", "torch.onnx", "torch.utils.tensorboard", "sympy", "triton"}
EXTRAS = {"huggingface_hub", "IPython", "matplotlib", "onnx", "onnxscript", "pillow_heif", "scipy", "tensorboard"}
"""What only some users have."""
OF_COMMANDS = {"imagecodecs", "jsonargparse", "rich", "shtab", "tifffile", "yaml"}
"""What only commands, and images of some kinds, need."""


def brought(first: str, then: str) -> set[str]:
    command = [sys.executable, "-c", IMPORTED.format(first=first, then=then)]
    return set(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def test_the_package_alone_does_not_load_torch() -> None:
    assert not brought("pass", "import awsrn_fast") & {"torch", "numpy", "PIL", "rich"}


def test_a_network_needs_nothing_of_commands_extras_and_compilers() -> None:
    modules = brought("import torch", "import awsrn_fast; awsrn_fast.load, awsrn_fast.nn, awsrn_fast.AWSRN")
    assert "awsrn_fast.ops.awms" in modules
    assert not modules & (COMPILERS | EXTRAS | OF_COMMANDS)
    assert not any(name.startswith(("awsrn_fast.train", "awsrn_fast.upscale", "awsrn_fast.losses")) for name in modules)
